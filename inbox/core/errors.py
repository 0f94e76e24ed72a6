"""Every exception this package raises on purpose.

    InboxError
    ├── ConfigError           start-up and `inbox check`: file, key, what is allowed
    ├── Refused               the request is not accepted; the sender is told a code, the owner a diagnosis
    │   ├── UnknownSource
    │   ├── MethodNotAllowed
    │   ├── BodyTooLarge
    │   ├── Incomplete        the connection ended, or the chunks did not, before the body was whole
    │   ├── TooSlow
    │   ├── NotAuthentic
    │   ├── Malformed         only with on_invalid = "reject"; otherwise stored as quarantined
    │   └── Invalid           only with on_invalid = "reject"; otherwise stored as quarantined
    ├── StoreError
    │   ├── StoreUnavailable  locked, full or too slow: nothing was stored, try again later
    │   └── StoreUnusable     not our database, newer than this program, damaged, or older than it was, or
    │       └── StoreChanged  no longer the files that this process opened
    ├── BadName               what somebody or something cannot be called
    ├── BadPassword           too short, or too long
    ├── SearchUnavailable     text cannot be searched for, or not everywhere where it must be
    ├── InTheWay              something that would be overwritten, or somebody who works on it
    ├── Unreadable            something sealed that does not open, or has been changed
    │   └── KeyMissing        the key is not in the file of data keys, or
    │       └── KeyNotSet     not in the settings
    ├── NotFound              an event, handler or delivery that was asked for by name
    │   └── Erased            an event whose content its owner has destroyed
    ├── Retry                 raised by a handler: run me again later
    └── Discard               raised by a handler: do not run me again for this event

The docstring of a class is its default message. HTTP status codes live in `inbox.receive.statuses`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta


class InboxError(Exception):
    """Something went wrong in the inbox."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class ConfigError(InboxError):
    """The configuration is not usable."""

    def __init__(self, where: str, problem: str) -> None:
        self.where = where
        self.problem = problem
        super().__init__(f"{where}: {problem}")


@dataclass(frozen=True, slots=True)
class Violation:
    """One place where a payload breaks its schema: a JSON pointer and what is wrong there."""

    pointer: str
    message: str

    def __str__(self) -> str:
        return f"{self.pointer or '/'}: {self.message}"


class Refused(InboxError):
    """The request is not accepted."""

    code = "refused"

    def __init__(self, diagnosis: str | None = None) -> None:
        super().__init__(diagnosis)
        self.told: dict[str, object] = {}  # what the log says of it besides

    @property
    def diagnosis(self) -> str:
        """What is wrong with the request, for the owner."""
        return str(self)

    @property
    def outline(self) -> str:
        """The diagnosis for the log, which never quotes a body."""
        return self.diagnosis


class UnknownSource(Refused):
    """No source with this name is configured."""

    code = "unknown_source"


class MethodNotAllowed(Refused):
    """This source does not take this HTTP method."""

    code = "method_not_allowed"

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        self.method = method
        self.allowed = tuple(allowed)
        super().__init__(f"{method[:20]} is not allowed here; allowed: {', '.join(allowed)}")


class BodyTooLarge(Refused):
    """The body is larger than this source's max_body."""

    code = "body_too_large"

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the body is larger than max_body = {limit} bytes")


class Incomplete(Refused):
    """The body is not all there: the connection ended in the middle of it."""

    code = "incomplete_body"

    @property
    def outline(self) -> str:
        """See Refused."""
        return str(type(self).__doc__)


class TooSlow(Refused):
    """The body did not come in time."""

    code = "body_too_slow"


class NotAuthentic(Refused):
    """The request does not prove that it comes from the sender.

    `reason` is a short stable word for counting: missing, malformed, mismatch, stale, forbidden. A diagnosis that takes
    long to find is given as a function, which is called when it is first asked for, if `settle` did not forestall it.
    """

    code = "not_authentic"

    def __init__(self, reason: str, diagnosis: str | Callable[[], str]) -> None:
        self.reason = reason
        self._look = diagnosis if callable(diagnosis) else None
        self._diagnosis = "" if callable(diagnosis) else diagnosis
        super().__init__(self._diagnosis or None)

    @property
    def is_settled(self) -> bool:
        """Whether the diagnosis costs nothing."""
        return self._look is None

    def settle(self, diagnosis: str) -> None:
        """Let this be the diagnosis, without looking for another."""
        self._look, self._diagnosis = None, diagnosis

    def __str__(self) -> str:
        if self._look is not None:
            self.settle(self._look())
        return self._diagnosis


class Malformed(Refused):
    """The body is not JSON that can be read in one way only."""

    code = "malformed"

    @property
    def outline(self) -> str:
        """See Refused; `inbox refusals` has what is wrong with it."""
        return str(type(self).__doc__)


class Invalid(Refused):
    """The payload does not match its schema."""

    code = "invalid"

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(str(violation) for violation in violations))

    @property
    def outline(self) -> str:
        """See Refused; what it is that the schema does not allow there is quoted by `inbox refusals` only."""
        return f"it does not match its schema in {len(self.violations)} places"


class StoreError(InboxError):
    """The store failed."""


class StoreUnavailable(StoreError):
    """The store is locked, full or too slow; nothing was stored."""


class StoreUnusable(StoreError):
    """The database is damaged, newer than this program, or not an inbox."""


class StoreChanged(StoreUnusable):
    """The files of the database are no longer those that this process opened: another process can open them."""


class BadName(InboxError):
    """This cannot be a name, or is taken."""


class BadPassword(InboxError):
    """This cannot be a password."""


class SearchUnavailable(InboxError):
    """Text cannot be searched for here."""


class InTheWay(InboxError):
    """Something is there already that must not be overwritten, or somebody works on it."""


class NotFound(InboxError):
    """There is no such thing in this inbox."""


class Erased(NotFound):
    """The event was erased."""


class Unreadable(InboxError):
    """It is sealed, and cannot be opened with the keys that are set."""


class KeyMissing(Unreadable):
    """It is sealed, and the key that opens it is not there."""


class KeyNotSet(KeyMissing):
    """It is sealed, and the master key that is needed is not in inbox.seal_key."""


class Retry(InboxError):
    """The handler asked to be run again.

    `after` is the wait in seconds (a number, or text of one), or a timedelta; what is below 0 is no wait. Without it
    the handler's own backoff applies. The run counts as an attempt. Raises TypeError or ValueError for any other wait.
    """

    after: float | str | timedelta | None = None  # stands also for a subclass that does not call this __init__

    def __init__(self, reason: str | None = None, *, after: float | str | timedelta | None = None) -> None:
        self.after = seconds(after)
        super().__init__(reason)


def seconds(wait: object) -> float | None:
    """Return a wait in seconds, None if there is none. Raises TypeError or ValueError, which say what is allowed."""
    if wait is None:
        return None
    problem: type[Exception] = ValueError
    found = math.nan
    try:
        if not isinstance(wait, bool):
            found = wait.total_seconds() if isinstance(wait, timedelta) else float(wait)  # type: ignore[arg-type]
    except TypeError:
        problem = TypeError
    except (ValueError, OverflowError):
        pass
    if math.isfinite(found):
        return found
    # Raised here, not in an `except`: so the traceback goes on to show what the handler raised.
    raise problem(
        f"Retry: after is {type(wait).__name__}; allowed: seconds (a finite number, or text of one), timedelta"
    )


class Discard(InboxError):
    """The handler has no use for this event."""
