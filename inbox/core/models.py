"""The nouns: request, event, handler, delivery; frozen, without I/O and clock. Times are Unix seconds (float, UTC)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from inbox.core.errors import Violation
from inbox.core.handles import Handles

REDACTED = "[redacted]"  # stands in the place of a secret in everything that is stored or shown

Payload = Any  # decoded JSON: dict, list, str, int, float, bool or None
Headers = tuple[tuple[str, str], ...]


class Secret:
    """Bytes that never show: `repr`, `str` and formatting give a placeholder. `==` is for configurations only."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes | str) -> None:
        self._value = value.encode() if isinstance(value, str) else value

    def reveal(self) -> bytes:
        """Return the bytes; the only way to them."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value


def header_name(name: str) -> str:
    """Return the one spelling used here: lower case, dashes.

    WSGI turns both `api_key` and `Api-Key` into HTTP_API_KEY, so the two cannot be told apart and must not be.
    """
    return name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request as received.

    path     what follows `/in/<source>/`, percent-decoded, "" if nothing does
    query    the raw query string, without "?"
    headers  (name, value) with names spelled as `header_name` does; values as Latin-1 text, as WSGI has them
    body     the raw bytes
    remote, id  the client's address, and ours for the request (`Inbox-Request-Id`); "" if unknown
    """

    method: str = "POST"
    path: str = ""
    query: str = ""
    headers: Headers = ()
    body: bytes = b""
    remote: str = ""
    id: str = field(default="", compare=False)

    def header(self, name: str) -> str | None:
        """Return the value of the header, None if it is not there."""
        wanted = header_name(name)
        return next((value for key, value in self.headers if key == wanted), None)

    def with_headers(self, headers: Mapping[str, str]) -> "Request":
        """Return this request with these headers set (added or replaced)."""
        new = {header_name(name): value for name, value in headers.items()}
        return self.replace(headers=(*(pair for pair in self.headers if pair[0] not in new), *new.items()))

    def replace(self, **changes: Any) -> "Request":
        """Return a copy with these fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Verified:
    """Why a request is believed: the scheme, which of the live secrets matched (0 is the first), and a key.

    `key` is an identity that the credential itself carries (a token's digest), None where it has none. `whole` says
    that the credential covers the body, so that none of it is missing.
    """

    scheme: str
    secret: int | None = None
    key: str | None = None
    whole: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return self.scheme if self.secret is None else f"{self.scheme}, secret {self.secret + 1}"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An authentic request on its way into the store; secrets are already redacted.

    `body_digest` is of the body as received, `content_digest` of what is stored. From `dedupe_since` to `dedupe_until`
    an equal key counts as the same event (None: no limit). `bound`: the sender's proof does not cover the key, so the
    same content under another key, maybe a captured request, is a conflict. `subject`: whom it is about.
    """

    source: str
    key: str
    type: str
    received_at: float
    request: Request
    body_digest: bytes
    content_digest: bytes
    verified_by: str
    violations: tuple[Violation, ...] = ()
    dedupe_since: float | None = None
    dedupe_until: float | None = None
    bound: bool = False
    subject: str | None = None
    secret: int | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a NewEvent: "accepted", "quarantined", "duplicate" or "conflict", and the row's id.

    `wake` is true when the event still has to be routed, also for a duplicate of one that nobody routed.
    """

    outcome: str
    id: int
    wake: bool


@dataclass(frozen=True, slots=True)
class Held:
    """A refused request as it came, to be verified again: until `expires_at`, within its source's limits."""

    request: Request
    expires_at: float
    max_requests: int
    max_bytes: int
    passed: float = float("-inf")  # the known time now (see `elapsed`): what has expired by then makes room
    network: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was not accepted, as it is remembered. Holds the body only in `held`."""

    source: str
    at: float
    code: str
    reason: str
    diagnosis: str
    method: str
    remote: str
    headers: Headers
    size: int | None
    held: Held | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """A handler as it is remembered in the store: enough to route to it without importing it.

    `name` is unique and stable, `module.function` by default; `failure` is the traceback of a module that did not
    import, "" when it did.
    """

    name: str
    module: str
    marks: tuple[Handles, ...]
    failure: str = ""

    def match(self, source: str, type: str) -> bool:
        """Tell whether an event of this source and type is for this handler."""
        return any(mark.match(source, type) for mark in self.marks)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this worker holds until `lease_until`, and the event it is for."""

    id: int
    token: str
    handler: str
    attempt: int
    crashes: int
    created_at: float
    is_replay: bool
    event_id: int
    source: str
    type: str
    key: str
    received_at: float
    request: Request


@dataclass(frozen=True)
class Event:
    """What a handler gets.

    id               the row in the inbox, as in `inbox show ID`
    payload          decoded JSON, None if the body is not JSON (only after `inbox replay --force`)
    request          the request as stored: method, headers, query, body bytes, with secrets redacted
    received_at      aware datetime, UTC
    idempotency_key  the same for every attempt and replay of this event for this handler
    attempt          1 for the first run of this delivery
    """

    id: int
    source: str
    type: str
    key: str
    payload: Payload
    request: Request
    received_at: datetime
    handler: str = ""
    attempt: int = 1
    is_replay: bool = False
    still_mine: Callable[[], bool] = field(default=lambda: True, repr=False, compare=False)
    """Ask the store whether this worker still holds the delivery; worth asking before an irreversible step."""

    @property
    def idempotency_key(self) -> str:
        """Return 32 hex digits made of source, event key, event id and handler name.

        The id tells events apart whose keys are equal: conflicts, and those beyond the sender's dedupe window.
        """
        return sha256("\0".join((self.source, self.key, str(self.id), self.handler)).encode()).hexdigest()[:32]

    @property
    def body(self) -> bytes:
        """Return the raw body, with secrets redacted."""
        return self.request.body


def utc(seconds: float) -> datetime:
    """Return Unix seconds as an aware datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def iso(seconds: float) -> str:
    """Return Unix seconds as ISO 8601 text in UTC with milliseconds, as in `2026-01-31T09:00:00.000Z`."""
    return utc(seconds).isoformat(timespec="milliseconds").replace("+00:00", "Z")
