"""Old events → what is to be made of them: for all their handlers or one, also for those that did not exist then.

A quarantined event is checked again first. Writes nothing and runs nothing: `inbox.replay.action_runner` makes
deliveries of it.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from inbox.core.errors import Malformed, StoreError, Violation
from inbox.core.models import HandlerSpec, Request
from inbox.receive.receiver import payload_of
from inbox.store.protocols import Archive, ReplayResult
from inbox.store.protocols_actions import Checked
from inbox.verify.providers.base import Provider
from inbox.verify.schemas import Schemas


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one event: how many deliveries were made, made due at once, or are running already.

    `problem` says why nothing was done: "invalid" (still breaks its schema), "no handler", "pruned" (it has no body any
    more), "failed" (`error` says how), or "".
    """

    event_id: int
    created: int = 0
    expedited: int = 0
    running: int = 0
    problem: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What is to be made of one event: its handlers, its status if it was checked again; `replayed` if nothing."""

    replayed: Replayed
    handlers: Sequence[HandlerSpec] = ()
    checked: Checked | None = None


class ReplayPlanner:
    """Finds out what is to be made of old events."""

    def __init__(
        self,
        archive: Archive,
        sources: Mapping[str, Provider],
        schemas: Schemas,
        handlers: Callable[[], list[HandlerSpec]],
    ) -> None:
        self._archive = archive
        self._sources = sources
        self._schemas = schemas
        self._known = handlers

    def plan(self, event: Mapping[str, Any], handler: str | None, *, force: bool = False) -> Replayed:
        """Return what replaying an event (a row of Archive.events) would come to, without doing it."""
        (prepared,) = self.prepare([event], handler, force=force)
        return replace(prepared.replayed, created=len(prepared.handlers))

    def prepare(
        self, events: Sequence[Mapping[str, Any]], handler: str | None, *, force: bool = False
    ) -> list[ReplayPlan]:
        """Check quarantined events again, and find the handlers of each; one that fails keeps no other from it.

        `force` runs handlers although the payload breaks its schema; they get `payload=None` if it is not JSON.
        Raises StoreError.
        """
        known, prepared = self._known(), []
        for event in events:
            try:
                prepared.append(self._prepare(event, handler, known, force))
            except StoreError:
                raise
            except Exception as error:
                prepared.append(ReplayPlan(Replayed(event["id"], problem="failed", error=str(error))))
        return prepared

    def _prepare(
        self, event: Mapping[str, Any], handler: str | None, known: Sequence[HandlerSpec], force: bool
    ) -> ReplayPlan:
        event_id, event_type, checked = event["id"], event["type"], None
        if event["body_pruned_at"] is not None:
            return ReplayPlan(Replayed(event_id, problem=_gone(event)))
        if _quarantined(event):
            violations, event_type = self._violations(event, force)
            if violations:
                checked = Checked(event_id, event["status"], event_type, _json(violations))
                return ReplayPlan(Replayed(event_id, problem="invalid"), checked=checked)
        specs = choose(known, event["source"], event_type, handler)
        if _quarantined(event):
            checked = Checked(event_id, event["status"] if specs else "unhandled", event_type, None)
        return ReplayPlan(Replayed(event_id, problem="" if specs else "no handler"), specs, checked)

    def _violations(self, event: Mapping[str, Any], force: bool) -> tuple[tuple[Violation, ...], str]:
        """Return what is wrong with a quarantined event's payload today, and its type as it is found today."""
        source = self._sources.get(event["source"])
        if force:
            return (), event["type"]
        if source is None:
            return (
                Violation("", f"the source {event['source']} is not configured, so this cannot be checked"),
            ), event["type"]
        request: Request = self._archive.request(event["id"])
        try:
            payload = payload_of(source, request)
        except Malformed as error:
            return (Violation("", error.diagnosis),), event["type"]
        event_type = source.type_of(request, payload)
        return self._schemas.violations(source.name, event_type, payload, formats=source.formats), event_type


def choose(known: Sequence[HandlerSpec], source: str, event_type: str, handler: str | None) -> list[HandlerSpec]:
    """Return the handlers that match, or the one of them that is named."""
    return [spec for spec in known if spec.match(source, event_type) and handler in (None, spec.name)]


def counted(event: Replayed, results: Sequence[ReplayResult | None]) -> Replayed:
    """Return what became of an event."""
    counts = Counter(results)
    if counts[None]:
        return replace(event, problem="failed", error="it was pruned meanwhile")
    return replace(event, created=counts["created"], expedited=counts["expedited"], running=counts["running"])


def _quarantined(event: Mapping[str, Any]) -> bool:
    """Tell whether an event breaks its schema, or did when it was looked at; it may be ignored meanwhile."""
    return event["status"] == "quarantined" or (event["status"] == "ignored" and event["conflict_of"] is None)


def _json(violations: tuple[Violation, ...]) -> str:
    return json.dumps([{"pointer": item.pointer, "message": item.message} for item in violations])


def _gone(event: Mapping[str, Any]) -> str:
    """Return why an event has no body."""
    return "erased" if event.get("erased_at") is not None else "pruned"
