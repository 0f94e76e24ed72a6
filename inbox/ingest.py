"""A request → an event on disk, or a refusal. The whole way of an HTTP request is `Receiver.accept`.

Never imports handler code, never waits for the queue, and never answers before the store has committed. Next: the
store's row is found by `inbox.delivery` in the worker, which the wake-up only makes quicker.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

import structlog

from inbox.errors import (
    Incomplete,
    Invalid,
    Malformed,
    MethodNotAllowed,
    NotAuthentic,
    Refused,
    StoreError,
    UnknownSource,
    Violation,
)
from inbox.identity import content_digest, printable
from inbox.models import REDACTED, Headers, Held, NewEvent, Payload, Refusal, Request, Stored, Verified
from inbox.providers.base import Provider
from inbox.store.base import Inlet
from inbox.validation import Schemas, parse

log = structlog.get_logger("inbox.ingest")

MAX_REFUSED_HEADERS = 40
MAX_REFUSED_TEXT = 300
ALWAYS_REDACTED = frozenset(
    {"authorization", "proxy-authorization", "cookie", "token", "x-token", "api-key", "x-api-key"}
)

Read = Callable[[int], bytes]
"""Returns the whole body. Raises BodyTooLarge as soon as it is known to be longer than so many bytes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an accepted request is answered with."""

    status: str
    id: int
    http_status: int


class Receiver:
    """Accepts requests for the configured sources."""

    def __init__(
        self,
        sources: Mapping[str, Provider],
        schemas: Schemas,
        inlet: Inlet,
        wake: Callable[[int], None],
        clock: Callable[[], float],
    ) -> None:
        self._sources = sources
        self._schemas = schemas
        self._inlet = inlet
        self._wake = wake
        self._clock = clock

    def accept(self, name: str, request: Request, read: Read) -> Answer:
        """Take a request for the source `name`; its body is fetched with `read`.

        Raises Refused (nothing is stored but the refusal) or StoreUnavailable (nothing is stored at all).
        """
        at = self._clock()
        source = self._sources.get(name)
        try:
            if source is None:
                raise UnknownSource(f"no source is called {printable(name)[:100]!r}; `inbox sources` lists them")
            if request.method not in source.methods:
                raise MethodNotAllowed(request.method, source.methods)
            request = request.replace(body=read(source.max_body))
            return self.ingest(name, source, request, at)
        except Refused as refusal:
            self._remember(name if source is not None else "", source, request, refusal, at)
            raise

    def ingest(self, name: str, source: Provider, request: Request, at: float, *, late: bool = False) -> Answer:
        """Verify, read, check and store a whole request that came at the time `at`, long ago if it is `late`.

        Raises Refused and StoreError.
        """
        verified = source.verify(request, at=at)
        event = self._event(name, source, request, verified, at)
        if late and source.dedupe_for:
            event = replace(event, dedupe_until=at + source.dedupe_for)
        stored = self._inlet.add_event(event)
        if stored.wake:
            self._wake_up(stored)
        log.info("event." + stored.outcome, source=name, id=stored.id, type=event.type, key=event.key)
        return Answer(stored.outcome, stored.id, source.ack_status)

    def source(self, name: str) -> Provider:
        """Return a configured source. Raises UnknownSource."""
        try:
            return self._sources[name]
        except KeyError:
            raise UnknownSource(f"no source is called {name}; configured: {', '.join(self._sources)}") from None

    def probe(self) -> None:
        """Raise StoreError unless something can be written durably."""
        self._inlet.probe()

    def _event(self, name: str, source: Provider, request: Request, verified: Verified, at: float) -> NewEvent:
        redacted = source.redact(request)
        payload, violations = self._content(source, redacted, verified)
        event_type = source.type_of(redacted, payload)
        if not violations:
            violations = self.check(source, event_type, payload)
        digest = content_digest(redacted)
        return NewEvent(
            source=name,
            key=source.key_of(redacted, payload, verified, digest),
            type=event_type,
            received_at=at,
            request=redacted.replace(headers=redact_headers(redacted.headers)),
            body_digest=sha256(request.body).digest(),
            content_digest=digest,
            verified_by=str(verified),
            violations=violations,
            dedupe_since=at - source.dedupe_for if source.dedupe_for else None,
            bound=source.binds(redacted, payload, verified),
        )

    def _content(self, source: Provider, request: Request, verified: Verified) -> tuple[Payload, tuple[Violation, ...]]:
        """Return the payload; a body that is not JSON gives None and the reason as a violation.

        Raises Incomplete for one that came in chunks under a credential that does not cover it: servers do not say
        whether the last chunk came, but the front part of a JSON object is never JSON.
        """
        try:
            return payload_of(source, request), ()
        except Malformed as error:
            if request.header("transfer-encoding") is not None and not verified.whole:
                raise Incomplete(f"{error.diagnosis}; it came in chunks, the last of which may be missing") from None
            if source.on_invalid == "reject":
                raise
            return None, (Violation("", error.diagnosis),)

    def check(self, source: Provider, event_type: str, payload: Payload) -> tuple[Violation, ...]:
        """Return where the payload breaks its schema. Raises Invalid if the source rejects such requests."""
        violations = self._schemas.violations(source.name, event_type, payload, formats=source.formats)
        if violations and source.on_invalid == "reject":
            raise Invalid(violations)
        return violations

    def _wake_up(self, stored: Stored) -> None:
        try:
            self._wake(stored.id)
        except Exception as error:
            log.warning("queue.wake_failed", id=stored.id, error=repr(error), then="the sweep finds the event")

    def _remember(self, name: str, source: Provider | None, request: Request, refused: Refused, at: float) -> None:
        reason = refused.reason if isinstance(refused, NotAuthentic) else refused.code
        log.warning(
            "request.refused",
            source=name,
            code=refused.code,
            reason=reason,
            diagnosis=refused.diagnosis,
            remote=request.remote,
        )
        visible = source.redact(request.replace(body=b"")) if source is not None else request
        refusal = Refusal(
            source=name,
            at=at,
            code=refused.code,
            reason=reason,
            diagnosis=printable(refused.diagnosis)[:2000],
            method=printable(request.method)[:20],
            remote=printable(request.remote)[:100],
            headers=bounded_headers(visible.headers),
            size=len(request.body),
            held=_held(source, request, refused, at),
        )
        try:
            kept = self._inlet.add_refusal(refusal)
        except StoreError as error:
            log.warning("refusal.not_recorded", source=name, error=str(error))
            kept = False
        if refusal.held is not None:
            log.warning("request.held" if kept else "request.not_held", source=name)


def _held(source: Provider | None, request: Request, refused: Refused, at: float) -> Held | None:
    """Return the request as it is to be kept, if the source keeps what is not authentic."""
    if source is None or source.on_unverified != "hold" or not isinstance(refused, NotAuthentic):
        return None
    return Held(request, at + source.hold_for, source.hold_requests, source.hold_bytes)


def payload_of(source: Provider, request: Request) -> Payload:
    """Return what a (redacted) request says: its JSON body, or its query where that carries the data.

    Raises Malformed.
    """
    if request.method in ("GET", "DELETE") and not request.body:
        return source.query_payload(request)
    return parse(request.body)


def redact_headers(headers: Headers) -> Headers:
    """Return the headers without those that carry credentials whatever the source."""
    return tuple((name, REDACTED if name in ALWAYS_REDACTED else value) for name, value in headers)


def bounded_headers(headers: Headers) -> Headers:
    """Return redacted headers of a refused request: a stranger decides on their number and length, so both are cut."""
    kept = redact_headers(headers)[:MAX_REFUSED_HEADERS]
    return tuple((printable(name)[:MAX_REFUSED_TEXT], printable(value)[:MAX_REFUSED_TEXT]) for name, value in kept)
