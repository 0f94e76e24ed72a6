"""What every authentication scheme offers: verify(), sign() and redact(), on bytes, without I/O and without a clock.

verify_head() is the first half of verify(), and needs no body: what it refuses is refused before a body is read.

`compare` is the only place in this package where a secret or signature is compared.
"""

import hmac
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NoReturn, Protocol, TypeAlias

from inbox.core.errors import NotAuthentic
from inbox.core.models import REDACTED, Request, Secret, Verified

MAX_TOLERANCE = 30 * 86400
"""Seconds."""

MAX_SIGNATURES = 16
"""Signatures of one request that are examined, so that a stranger cannot make us work."""


ByHead: TypeAlias = Verified | Callable[[Request], Verified]
"""What the headers prove; or, where the body decides, what proves the request when its body is there."""


class Verifier(Protocol):
    """An authentication scheme with its settings, but without its secrets."""

    def verify_head(self, request: Request, secrets: Sequence[Secret], *, at: float) -> ByHead:
        """Return why the request is believed, or what decides that with its body, which is not there yet.

        `at` is the time of receipt. Raises NotAuthentic, with a diagnosis for the owner, if no body could make it
        authentic: its credential is missing or malformed, or wrong where it does not cover the body. Neither this nor
        the second step raises anything else, whatever the request holds.
        """
        ...

    def verify(self, request: Request, secrets: Sequence[Secret], *, at: float) -> Verified:
        """Return why a whole request is believed: both steps at once. Raises NotAuthentic."""
        return proved(self.verify_head(request, secrets, at=at), request)

    def sign(self, request: Request, secret: Secret, *, at: float) -> Request:
        """Return the request with the credentials that the sender would put on it."""
        ...

    def redact(self, request: Request, secrets: Sequence[Secret]) -> Request:
        """Return the request without the credentials that would let a reader of the store pose as the sender."""
        ...

    def covers(self, rule: str) -> bool:
        """Tell whether the credential covers what an event_id rule names (see `inbox.verify.event_key.RULES`).

        True also where a captured request gives its credential away: then nothing in it could be relied on.
        """
        ...

    def check(self, secrets: Sequence[Secret]) -> None:
        """Raise ValueError if one of the secrets cannot be used with this scheme."""
        ...


def proved(found: ByHead, request: Request) -> Verified:
    """Return why a whole request is believed of which this was found by its headers. Raises NotAuthentic."""
    return found if isinstance(found, Verified) else found(request)


def compare(given: bytes, expected: bytes) -> bool:
    """Tell whether two byte strings are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(given, expected)


def any_equal(given: Iterable[bytes], expected: Sequence[bytes]) -> bool:
    """Tell whether one of the byte strings is among those that are expected."""
    return any(compare(item, each) for item in given for each in expected)


def refuse(reason: str, diagnosis: str | Callable[[], str]) -> NoReturn:
    """Raise NotAuthentic; a function finds the diagnosis when it is asked for."""
    raise NotAuthentic(reason, diagnosis)


def header_bytes(request: Request, name: str) -> bytes:
    """Return the header's value as it was on the wire, without white space around it.

    Raises NotAuthentic if the header is missing or empty.
    """
    value = request.header(name)
    if value is None:
        refuse("missing", f"the header {name} is missing")
    wire = value.encode("latin-1", "replace").strip()
    if not wire:
        refuse("missing", f"the header {name} is empty, or is not ASCII")
    return wire


def redact_headers(request: Request, names: Collection[str]) -> Request:
    """Return the request with the values of these headers redacted; names are spelled as `header_name` does."""
    pairs = ((name, REDACTED if name in names else value) for name, value in request.headers)
    return request.replace(headers=tuple(pairs))


def timestamp(text: bytes, at: float, tolerance: float, name: str) -> None:
    """Raise NotAuthentic unless `text` is whole Unix seconds within `tolerance` seconds of `at`, both ways."""
    if not (text.isdigit() and len(text) <= 12):
        refuse("malformed", f"{name} is not a Unix time in whole seconds")
    check_age(int(text), at, tolerance)


def check_age(seconds: float, at: float, tolerance: float) -> None:
    """Raise NotAuthentic if `seconds` is more than `tolerance` away from `at`; exactly `tolerance` passes."""
    age = int(at) - seconds
    if age > tolerance:
        refuse("stale", f"signed {age:.0f} s ago; the tolerance is {tolerance:.0f} s. A late retry, or a wrong clock?")
    if -age > tolerance:
        refuse("stale", f"signed {-age:.0f} s in the future; the tolerance is {tolerance:.0f} s. Is a clock wrong?")


def check_tolerance(tolerance: float) -> None:
    """Raise ValueError unless the tolerance is 1 second to 30 days; not a number would let every age pass."""
    if not 1 <= tolerance <= MAX_TOLERANCE:
        raise ValueError(f"tolerance must be 1 to {MAX_TOLERANCE} seconds")
