"""A request → an event on disk, or a refusal. The whole way of an HTTP request is `Receiver.flow`.

It does no I/O itself, so that threads and an event loop can both go it. Never imports handler code, never waits for
the queue, and never answers before the store has committed. Next: the store's row is found by
`inbox.deliver.dispatcher` in the worker, which the wake-up only makes quicker.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple, TypeAlias

import structlog

from inbox.core.errors import (
    InboxError,
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
from inbox.core.models import REDACTED, Headers, Held, NewEvent, Payload, Refusal, Request, Stored, Verified
from inbox.receive.diagnosis_limit import NOT_LOOKED_FOR, Diagnoses
from inbox.store.protocols import Inlet
from inbox.store.timekeeper import Timekeeper
from inbox.verify.event_key import content_digest, network, printable, request_id
from inbox.verify.providers.base import Provider
from inbox.verify.schemas import NOT_IN_TIME, Schemas, parse
from inbox.verify.schemes.base import ByHead, proved

log = structlog.get_logger("inbox.receive.receiver")

MAX_REFUSED_HEADERS = 40
MAX_REFUSED_TEXT = 300
MAX_PARAMETERS = 1000
"""Of a query; reading it takes a microsecond each, several times."""
ALWAYS_REDACTED = frozenset(
    {"authorization", "proxy-authorization", "cookie", "token", "x-token", "api-key", "x-api-key"}
)

MAX_UNPROVEN_VALUES = 500_000
"""JSON values of a body that nothing proves; as objects they take some 40 MB."""


class ReadBody(NamedTuple):
    """A step of `Receiver.flow`: fetch the whole body; throw BodyTooLarge if it is longer than `limit` bytes.

    `proven` tells that the headers have proved who sends.
    """

    limit: int
    proven: bool


Read = Callable[[ReadBody], bytes]
"""Returns the whole body. Raises BodyTooLarge as soon as it is known to be longer than the limit."""


class Aside(NamedTuple):
    """A step of `Receiver.flow`: call what may take long where others need not wait for it; send what it returns."""

    source: str
    work: Callable[[], Any]


Flow: TypeAlias = Generator[ReadBody | Aside | NewEvent | Refusal, Any, "Answer"]
"""ReadBody is sent the body, a NewEvent what `Inlet` says of it, a Refusal whether it was kept; errors are thrown."""


class Answer(NamedTuple):
    """What an accepted request is answered with; type, key and size are for the log."""

    status: str
    id: int
    http_status: int
    type: str = ""
    key: str = ""
    size: int = 0


class Receiver:
    """Accepts requests for the configured sources."""

    def __init__(
        self,
        sources: Mapping[str, Provider],
        schemas: Schemas,
        inlet: Inlet,
        wake: Callable[[int], None],
        clock: Callable[[], float],
        timekeeper: Timekeeper,
    ) -> None:
        self._sources = sources
        self._schemas = schemas
        self._inlet = inlet
        self._wake = wake
        self._clock = clock
        self._diagnoses = Diagnoses()
        self._timekeeper = timekeeper

    def flow(self, name: str, request: Request) -> Flow:
        """Take a request, whose body is not there yet, for the source `name`: the whole way, step by step.

        Each step asks for what only its surroundings can do, and goes on with what it is sent. Returns an Answer.
        Raises Refused (nothing is stored but the refusal) or StoreUnavailable (nothing is stored at all).
        """
        at = self._clock()
        source = self._sources.get(name)
        try:
            if source is None:
                raise UnknownSource(f"no source is called {printable(name, 100)!r}; `inbox sources` lists them")
            if request.method not in source.methods:
                raise MethodNotAllowed(request.method, source.methods)
            if request.query.count("&") >= MAX_PARAMETERS:
                raise Malformed(f"the query has more than {MAX_PARAMETERS} parameters")
            found = _by_head(source, request, at)
            body = yield ReadBody(source.max_body, isinstance(found, Verified))
            request = Request(
                request.method, request.path, request.query, request.headers, body, request.remote, request.id
            )
            event = yield from self._event(name, source, request, at, found)
            return self.stored(source, event, (yield event))
        except Refused as refused:
            refused.__traceback__ = refused.__context__ = None  # they hold the body and what was parsed of it
            if isinstance(refused, NotAuthentic) and not refused.is_settled:
                yield from self._diagnose(name, refused, at)
            refusal = self._refusal(name if source is not None else "", source, request, refused, at)
            refused.told = {"source": refusal.source, "reason": refusal.reason, "size": refusal.size}
            try:
                kept = yield refusal
            except StoreError as error:
                refused.told["not_recorded"] = str(error)
                kept = False
            if refusal.held is not None:
                refused.told["held"] = kept
            raise

    def accept(
        self, name: str, request: Request, read: Read, enter: Callable[[NewEvent], None] = lambda event: None
    ) -> Answer:
        """Take a request and wait until it is stored. Raises what `flow` and the two functions do.

        `read` fetches the body; `enter` is told of the event before it waits for the store.
        """
        flow = self.flow(name, request)
        step = partial(next, flow)
        while True:
            try:
                need = step()
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            try:
                if isinstance(need, ReadBody):
                    step = partial(flow.send, read(need))
                    continue
                if isinstance(need, NewEvent):
                    enter(need)
                step = partial(flow.send, need.work() if isinstance(need, Aside) else self._put(need))
            except InboxError as error:
                step = partial(flow.throw, error)

    def ingest(self, name: str, source: Provider, request: Request, at: float) -> Answer:
        """Verify, read, check and store a whole request that came at the time `at`, long ago.

        Raises Refused and StoreError.
        """
        event = self.event(name, source, request, at)
        if source.dedupe_for:
            event = replace(event, dedupe_until=at + source.dedupe_for)
        answer = self.stored(source, event, self._inlet.add_event(event))
        fields = {"source": name, "id": answer.id, "type": event.type, "key": event.key}
        log.info("event." + answer.status, request=request.id or None, **fields)
        return answer

    def request_id(self) -> str:
        """Return an id for a request that comes now."""
        return request_id(self._clock())

    def event(self, name: str, source: Provider, request: Request, at: float) -> NewEvent:
        """Return what a whole request says, to be stored. Raises Refused."""
        steps = self._event(name, source, request, at)
        try:
            aside = next(steps)
            while True:
                aside = steps.send(aside.work())
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def stored(self, source: Provider, event: NewEvent, stored: Stored) -> Answer:
        """Wake the queue for an event that is on disk, and return what its sender is answered."""
        if stored.wake:
            self._wake(stored.id)
        return Answer(stored.outcome, stored.id, source.ack_status, event.type, event.key, len(event.request.body))

    def _put(self, item: NewEvent | Refusal) -> Stored | bool:
        return self._inlet.add_event(item) if isinstance(item, NewEvent) else self._inlet.add_refusal(item)

    def source(self, name: str) -> Provider:
        """Return a configured source. Raises UnknownSource."""
        try:
            return self._sources[name]
        except KeyError:
            raise UnknownSource(f"no source is called {name}; configured: {', '.join(self._sources)}") from None

    def probe(self) -> None:
        """Raise StoreError unless something can be written durably."""
        self._inlet.probe()

    def _event(
        self, name: str, source: Provider, request: Request, at: float, found: ByHead | None = None
    ) -> Generator[Aside, Any, NewEvent]:
        verified = proved(found or source.verify_head(request, at=at), request)
        redacted = source.redact(request)
        payload, violations = self._content(source, redacted, verified)
        event_type = source.type_of(redacted, payload)
        if not violations:
            size = len(request.body)
            pending = self._schemas.pending(source.name, event_type, payload, size, formats=source.formats)
            violations = () if pending is None else self._judged(source, (yield Aside(name, pending)))
        digest = content_digest(redacted)
        headers = redact_headers(redacted.headers)
        return NewEvent(
            source=name,
            key=source.key_of(redacted, payload, verified, digest),
            type=event_type,
            received_at=at,
            request=redacted if headers is redacted.headers else redacted.replace(headers=headers),
            body_digest=digest if redacted is request and request.method == "POST" else sha256(request.body).digest(),
            content_digest=digest,
            verified_by=str(verified),
            violations=violations,
            dedupe_since=self._timekeeper.day(at) - source.dedupe_for if source.dedupe_for else None,
            bound=source.binds(redacted, payload, verified),
            subject=source.subject_of(redacted, payload),
            secret=verified.secret,
        )

    def _content(self, source: Provider, request: Request, verified: Verified) -> tuple[Payload, tuple[Violation, ...]]:
        """Return the payload; a body that is not JSON gives None and the reason as a violation.

        Raises Incomplete for one that came in chunks under a credential that does not cover it: servers do not say
        whether the last chunk came, but the front part of a JSON object is never JSON.
        """
        try:
            return payload_of(source, request, MAX_UNPROVEN_VALUES if verified.secret is None else None), ()
        except Malformed as error:
            if request.header("transfer-encoding") is not None and not verified.whole:
                raise Incomplete(f"{error.diagnosis}; it came in chunks, the last of which may be missing") from None
            if source.on_invalid == "reject":
                raise
            return None, (Violation("", error.diagnosis),)

    def _judged(self, source: Provider, violations: tuple[Violation, ...]) -> tuple[Violation, ...]:
        """Return the violations. Raises Invalid if the source rejects such requests.

        An event that was not checked in time is never refused: nobody knows that anything is wrong with it.
        """
        if violations and source.on_invalid == "reject" and not violations[0].message.startswith(NOT_IN_TIME):
            raise Invalid(violations)
        return violations

    def _diagnose(self, name: str, refused: NotAuthentic, at: float) -> Generator[Aside, Any, None]:
        """Have the cause looked for, unless that was done often enough for this source in this second."""
        if self._diagnoses.may(name, at):
            yield Aside(name, lambda: refused.diagnosis)
        else:
            refused.settle(NOT_LOOKED_FOR)

    def _refusal(self, name: str, source: Provider | None, request: Request, refused: Refused, at: float) -> Refusal:
        """Return what is to be remembered of a request that was refused."""
        reason = refused.reason if isinstance(refused, NotAuthentic) else refused.code
        visible = source.redact(request.replace(body=b"", query="")) if source is not None else request
        return Refusal(
            source=name,
            at=at,
            code=refused.code,
            reason=reason,
            diagnosis=printable(refused.diagnosis, 2000),
            method=printable(request.method, 20),
            remote=printable(request.remote, 100),
            headers=bounded_headers(visible.headers),
            size=len(request.body),
            held=self._held(source, request, refused, at),
            request_id=request.id,
        )

    def _held(self, source: Provider | None, request: Request, refused: Refused, at: float) -> Held | None:
        """Return the request as it is to be kept, if the source keeps what is not authentic."""
        if source is None or source.on_unverified != "hold" or not isinstance(refused, NotAuthentic):
            return None
        passed, address = self._timekeeper.now(), network(request.remote)
        return Held(request, at + source.hold_for, source.hold_requests, source.hold_bytes, passed, address)


def _by_head(source: Provider, request: Request, at: float) -> ByHead | None:
    """Return what the headers tell. Raises NotAuthentic if no body could help.

    None where the request is to be held: with its body, when that is there.
    """
    try:
        return source.verify_head(request, at=at)
    except NotAuthentic:
        if source.on_unverified == "hold":
            return None
        raise


def payload_of(source: Provider, request: Request, most: int | None = None) -> Payload:
    """Return what a (redacted) request says: its JSON body, or its query where that carries the data.

    Raises Malformed, also for a body that may have more than `most` values.
    """
    if request.method in ("GET", "DELETE") and not request.body:
        return source.query_payload(request)
    return parse(request.body, most=most)


def redact_headers(headers: Headers) -> Headers:
    """Return the headers without those that carry credentials whatever the source."""
    if ALWAYS_REDACTED.isdisjoint(dict(headers)):
        return headers
    return tuple((name, REDACTED if name in ALWAYS_REDACTED else value) for name, value in headers)


def bounded_headers(headers: Headers) -> Headers:
    """Return redacted headers of a refused request: a stranger decides on their number and length, so both are cut."""
    kept = redact_headers(headers)[:MAX_REFUSED_HEADERS]
    return tuple((printable(name, MAX_REFUSED_TEXT), printable(value, MAX_REFUSED_TEXT)) for name, value in kept)
