"""What a sender's protocol is to the inbox: settings with their defaults, a verifier, and where key and type are.

A provider is a frozen dataclass: its fields are the settings of a `[sources.NAME]` table. It decides nothing about
storage and does no I/O. Next: `inbox.receive.receiver`.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal
from urllib.parse import parse_qsl

from inbox.core.config.retention_settings import REFUSAL_LIMITS
from inbox.core.models import Payload, Request, Secret, Verified
from inbox.verify import event_key
from inbox.verify.schemes.base import ByHead, Verifier

MIB = 1024 * 1024
DAY = 86400.0
KEPT = ("bodies", "body_bytes", "attempts", "attempt_count", "events", "event_count", "event_keys", "refusals")
LONGEST = 36_500 * DAY
"""Seconds: a hundred years. A moment so long from now is still a date."""

UNPUBLISHED = 30 * DAY
"""Seconds for which a sender is taken to send again who does not say; the longest known schedule is of three days."""


@dataclass(frozen=True, kw_only=True)
class Provider:
    """The settings that every source has, whatever its sender.

    secrets      live secrets, newest first; the first one signs what `inbox send` sends
    methods      HTTP methods that are taken
    max_body     bytes
    ack_status   the 2xx that accepted requests are answered with
    on_invalid   "quarantine": store, answer 2xx, do not run; "reject": refuse with 400 or 422 and store nothing
    formats      "annotate": `format` in a schema never rejects; "assert": it does
    event_id     rules for the event key, first hit wins; see `inbox.verify.event_key.RULES`
    event_type   rules for the type, first hit wins
    subject      rule for whom the event is about, so that `inbox erase --subject` finds it
    dedupe_for   seconds in which an equal key is the same event; 0 is for ever
    on_unverified  "hold": keep what is not authentic, as it came, to be verified again; the answer is still 401
    hold_requests, hold_bytes, hold_for
                 at most so many held requests, bytes of them, and seconds
    keep_bodies, keep_body_bytes, keep_attempts, keep_attempt_count, keep_events, keep_event_count, keep_event_keys,
    keep_refusals, keep_refusal_count, keep_refusal_bytes
                 instead of those in [retention]: seconds, bytes and numbers; None is what is set there
    """

    name: ClassVar[str]
    needs_secret: ClassVar[bool] = True
    published: ClassVar[str] = ""
    """The page where the sender documents this."""

    retries_for: ClassVar[float | None] = None
    """For how many seconds the sender may send an event again by itself; None where it does not publish that."""
    deadline: ClassVar[float | None] = None
    """Seconds in which the sender wants its answer, as it publishes them; None if it does not."""

    secrets: tuple[Secret, ...] = ()
    methods: tuple[str, ...] = ("POST",)
    max_body: int = MIB
    ack_status: int = 200
    on_invalid: Literal["quarantine", "reject"] = "quarantine"
    formats: Literal["annotate", "assert"] = "annotate"
    event_id: tuple[str, ...] = ("body",)
    event_type: tuple[str, ...] = ()
    subject: str = ""
    dedupe_for: float = 0.0
    on_unverified: Literal["refuse", "hold"] = "refuse"
    hold_requests: int = 1000
    hold_bytes: int = 16 * MIB
    hold_for: float = 7 * 86400.0
    keep_bodies: float | None = None
    keep_body_bytes: int | None = None
    keep_attempts: float | None = None
    keep_attempt_count: int | None = None
    keep_events: float | None = None
    keep_event_count: int | None = None
    keep_event_keys: float | None = None
    keep_refusals: float | None = None
    keep_refusal_count: int | None = None
    keep_refusal_bytes: int | None = None

    @property
    def verifier(self) -> Verifier:
        """Return the authentication scheme with this source's settings."""
        raise NotImplementedError

    def verify(self, request: Request, *, at: float) -> Verified:
        """Return why the request is believed. Raises NotAuthentic."""
        return self.verifier.verify(request, self.secrets, at=at)

    def verify_head(self, request: Request, *, at: float) -> ByHead:
        """Return why a request is believed, or what decides that with its body. Raises NotAuthentic."""
        return self.verifier.verify_head(request, self.secrets, at=at)

    def redact(self, request: Request) -> Request:
        """Return the request without anything that would let a reader of the store pose as the sender."""
        return self.verifier.redact(request, self.secrets)

    def sign(self, request: Request, *, at: float) -> Request:
        """Return the request as the sender would send it, under the first secret."""
        return self.verifier.sign(request, self.secrets[0] if self.secrets else Secret(b""), at=at)

    def type_of(self, request: Request, payload: Payload) -> str:
        """Return the event's type."""
        return event_key.event_type(self.event_type, request, payload)

    def subject_of(self, request: Request, payload: Payload) -> str | None:
        """Return whom the event is about, None if that is not known."""
        return event_key.find(self.subject, request, payload) if self.subject else None

    def key_of(self, request: Request, payload: Payload, verified: Verified, digest: bytes) -> str:
        """Return the key by which copies of the same event are recognised."""
        return event_key.event_key(self.event_id, request, payload, verified, digest)

    def covers(self, rule: str) -> bool:
        """Tell whether the sender's proof covers what an event_id rule names, or is none that could be relied on."""
        return self.verifier.covers(rule)

    def binds(self, request: Request, payload: Payload, verified: Verified) -> bool:
        """Tell whether the event's key could be changed by somebody who captured the request.

        By changing what the deciding rule finds, or by adding or removing what a rule before it finds.
        """
        if self._covers_all:
            return False
        decided = event_key.deciding_rule(self.event_id, request, payload, verified)
        tried = self.event_id[: self.event_id.index(decided) + 1] if decided in self.event_id else self.event_id
        return not all(map(self.covers, tried))

    @cached_property
    def _covers_all(self) -> bool:
        return all(map(self.covers, self.event_id))

    def query_payload(self, request: Request) -> Payload:
        """Return the data of a request that carries it in its query string."""
        return dict(parse_qsl(request.query, keep_blank_values=True, errors="replace"))

    def sample(self, event_type: str, *, id: str, at: float) -> Payload:
        """Return a payload such as the sender sends, fresh by `id` and `at`; for `inbox send`."""
        return {"id": id, "type": event_type or "test", "timestamp": at}

    def compose(self, payload: bytes, event_type: str, *, id: str, at: float) -> Request:
        """Return a request around these payload bytes, before it is signed."""
        return Request(headers=(("content-type", "application/json"),), body=payload)

    @property
    def horizon(self) -> float:
        """Return for how many seconds a key is needed at least: a copy may come, or be released, for so long."""
        needed = self.dedupe_for or (UNPUBLISHED if self.retries_for is None else max(self.retries_for, DAY))
        return needed + (self.hold_for if self.on_unverified == "hold" else 0.0)

    def check_kept(self) -> None:
        """Raise ValueError if something would be forgotten too early."""
        for name in KEPT:
            if (value := getattr(self, f"keep_{name}")) is not None and not 0 <= value < float("inf"):
                raise ValueError(f"keep_{name} must be 0 (for ever) or positive")
        for name, (low, high) in REFUSAL_LIMITS.items():
            if (value := getattr(self, name)) is not None and not low <= value <= high:
                raise ValueError(f"{name} must be {low} to {high}")
        if self.keep_event_keys and self.keep_event_keys < self.horizon:
            raise ValueError(
                f"keep_event_keys must be 0 (for ever) or at least {self.horizon:.0f}: a copy may come for so long"
            )

    def check(self) -> None:
        """Raise ValueError if the settings do not fit together."""
        self.check_kept()
        if self.needs_secret and not self.secrets:
            raise ValueError('secrets is missing; allowed: a list such as ["env:NAME"]')
        if not 200 <= self.ack_status <= 299:
            raise ValueError("ack_status must be 200 to 299")
        if not 1 <= self.max_body <= 64 * MIB:
            raise ValueError(f"max_body must be 1 to {64 * MIB} bytes")
        if not 0 <= self.dedupe_for <= LONGEST:
            raise ValueError(f"dedupe_for must be 0 (for ever) to {LONGEST:.0f} seconds")
        if self.hold_requests < 1 or self.hold_bytes < 1 or not 0 < self.hold_for <= LONGEST:
            raise ValueError(f"hold_requests, hold_bytes and hold_for must be positive, hold_for at most {LONGEST:.0f}")
        if self.on_unverified == "hold" and self.hold_bytes < self.max_body:
            raise ValueError("hold_bytes must be at least max_body, or the largest requests could not be held")
        if not self.methods or not set(self.methods) <= {"POST", "PUT", "PATCH", "GET", "DELETE"}:
            raise ValueError("methods must be of POST, PUT, PATCH, GET, DELETE")
        for rule in (*self.event_id, *self.event_type, *filter(None, [self.subject])):
            event_key.check_rule(rule)
        if any(rule.startswith("=") for rule in self.event_id):
            raise ValueError("event_id must not be a fixed text: every event would have the same key")
        self.verifier.check(self.secrets)

    def warnings(self) -> tuple[str, ...]:
        """Return what is allowed, but not wise; for `inbox check`."""
        return ()


def encode(payload: Payload) -> bytes:
    """Return the payload as compact JSON."""
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
