"""Old events → new work: for all their handlers or one, also for handlers that did not exist when they came.

A quarantined event is checked again first. Decides nothing about how a handler runs: it makes deliveries and wakes
the queue, as routing does.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from inbox.errors import Malformed, StoreError, Violation
from inbox.ingest import payload_of
from inbox.models import HandlerSpec, Request
from inbox.providers.base import Provider
from inbox.store.base import Archive, Filter, ReplayResult
from inbox.validation import Schemas

PAGE = 500


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


class Replayer:
    """Replays events of an archive under one entry in `replays`."""

    def __init__(
        self,
        archive: Archive,
        sources: Mapping[str, Provider],
        schemas: Schemas,
        handlers: Callable[[], list[HandlerSpec]],
        wake: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._archive = archive
        self._sources = sources
        self._schemas = schemas
        self._known = handlers
        self._wake = wake
        self._clock = clock

    def select(self, wanted: Filter) -> Iterator[dict[str, Any]]:
        """Yield the matching events, oldest first, as they are now; none that comes later."""
        newest = self._archive.events(replace(wanted, after=None), 1)
        last = newest[0]["id"] if newest else 0
        after = wanted.after or 0
        while page := self._archive.events(replace(wanted, after=after, before=last + 1), PAGE):
            yield from page
            after = page[-1]["id"]

    def start(self, *, who: str, why: str, selection: Mapping[str, Any], handler: str | None) -> int:
        """Record the replay and return its id."""
        return self._archive.add_replay(
            at=self._clock(), who=who, why=why, selection=json.dumps(selection), handler=handler
        )

    def end(self, replay_id: int, *, events: int, deliveries: int) -> None:
        """Record what the replay came to."""
        self._archive.end_replay(replay_id, at=self._clock(), events=events, deliveries=deliveries)

    def plan(self, event: Mapping[str, Any], handler: str | None, *, force: bool = False) -> Replayed:
        """Return what `replay` would do with an event, without doing it."""
        if event["body_pruned_at"] is not None:
            return Replayed(event["id"], problem=_gone(event))
        if self._violations(event, force)[0]:
            return Replayed(event["id"], problem="invalid")
        names = choose(self._known(), event["source"], event["type"], handler)
        return Replayed(event["id"], created=len(names), problem="" if names else "no handler")

    def replay(self, event: Mapping[str, Any], handler: str | None, replay_id: int, *, force: bool = False) -> Replayed:
        """Make new work of an event (a row of Archive.events) and wake the queue.

        `force` runs handlers although the payload breaks its schema; they get `payload=None` if it is not JSON.
        """
        return self._make([self._prepare(event, handler, self._known(), force)], replay_id)[0]

    def replay_all(
        self, events: Sequence[Mapping[str, Any]], handler: str | None, replay_id: int, *, force: bool = False
    ) -> list[Replayed]:
        """Do what `replay` does for several events, in one transaction; one that fails keeps no other from it.

        Raises StoreError.
        """
        known, prepared = self._known(), []
        for event in events:
            try:
                prepared.append(self._prepare(event, handler, known, force))
            except StoreError:
                raise
            except Exception as error:
                prepared.append((Replayed(event["id"], problem="failed", error=str(error)), []))
        return self._make(prepared, replay_id)

    def _prepare(
        self, event: Mapping[str, Any], handler: str | None, known: Sequence[HandlerSpec], force: bool
    ) -> tuple[Replayed, list[HandlerSpec]]:
        """Check a quarantined event again, and return its handlers, or why it has none to run."""
        event_id, event_type = event["id"], event["type"]
        if event["body_pruned_at"] is not None:
            return Replayed(event_id, problem=_gone(event)), []
        if event["status"] == "quarantined":
            violations, event_type = self._violations(event, force)
            if violations:
                self._archive.settle(event_id, status="quarantined", type=event_type, violations=_json(violations))
                return Replayed(event_id, problem="invalid"), []
        specs = choose(known, event["source"], event_type, handler)
        if event["status"] == "quarantined":
            status = "quarantined" if specs else "unhandled"
            self._archive.settle(event_id, status=status, type=event_type, violations=None)
        return Replayed(event_id, problem="" if specs else "no handler"), specs

    def _make(self, prepared: Sequence[tuple[Replayed, list[HandlerSpec]]], replay_id: int) -> list[Replayed]:
        wanted = [(event.event_id, spec.name, not spec.failure) for event, specs in prepared for spec in specs]
        if not wanted:
            return [event for event, _ in prepared]
        results = iter(self._archive.replay_all(wanted, replay_id=replay_id, at=self._clock()))
        done = [counted(event, list(islice(results, len(specs)))) for event, specs in prepared]
        self._wake()
        return done

    def _violations(self, event: Mapping[str, Any], force: bool) -> tuple[tuple[Violation, ...], str]:
        """Return what is wrong with a quarantined event's payload today, and its type as it is found today."""
        source = self._sources.get(event["source"])
        if event["status"] != "quarantined" or force:
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


def _json(violations: tuple[Violation, ...]) -> str:
    return json.dumps([{"pointer": item.pointer, "message": item.message} for item in violations])


def _gone(event: Mapping[str, Any]) -> str:
    """Return why an event has no body."""
    return "erased" if event.get("erased_at") is not None else "pruned"
