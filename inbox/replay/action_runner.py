"""A recorded action on many events → its steps: replay, cancel or ignore, a few events at a time, oldest first.

Each step is one transaction that moves the action's place, so that whoever comes next, after a kill -9 too, goes on
where it ended. Done by the worker between batches, or by a command that waits for it and holds the action meanwhile.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import merge
from itertools import islice
from typing import Any, Protocol

import structlog

from inbox.core.errors import InboxError, NotFound, StoreError
from inbox.replay.planner import Replayed, ReplayPlan, counted
from inbox.store.protocols import Archive, Filter, ReplayResult
from inbox.store.protocols_actions import Acting, ActionKind, ActionStep

log = structlog.get_logger("inbox.replay.action_runner")

AT_ONCE = 50
"""So many events are one step, which is short enough for those who write meanwhile."""

FREED_AT_ONCE = 250
"""So many deliveries are freed at once when a pause has ended."""

STATUSES: Mapping[ActionKind, tuple[str | None, ...]] = {
    "replay": (None,),
    "cancel": ("received", "processing"),
    "ignore": ("quarantined", "conflict"),
}
"""The statuses of events with which there is something to do; None: it does not matter."""


class Prepares(Protocol):
    """What says how events are replayed; `inbox.replay.planner.ReplayPlanner` does."""

    def prepare(
        self, events: Sequence[Mapping[str, Any]], handler: str | None, *, force: bool = False
    ) -> list[ReplayPlan]:
        """Return what is to be made of events."""


class ActionRunner:
    """Does what actions say."""

    def __init__(
        self,
        acting: Acting,
        archive: Archive,
        replayer: Callable[[], Prepares],
        *,
        clock: Callable[[], float],
        steady: Callable[[], float],
    ) -> None:
        self._acting = acting
        self._archive = archive
        self._replayer = replayer
        self._clock = clock
        self._steady = steady

    def left(self) -> bool:
        """Tell whether there is something to do, now or when nobody holds it any more. Raises StoreError."""
        return self._acting.left()

    def some(self) -> float | None:
        """Do one step of what there is; return in how many seconds to come again, None if nothing is left to do.

        An action that cannot be done has failed, visibly, and keeps no other from its turn. Raises StoreError.
        """
        freed = self._acting.free(FREED_AT_ONCE)
        row = self._acting.next(self._steady())
        if row is None:
            return 0.0 if freed else None
        if row["wait"]:
            return 0.0 if freed else float(row["wait"])
        begun, wait = self._steady(), 0.0
        try:
            at_once, wait = pace(row["rate"])
            self.step(row, at_once, hold=wait)
        except StoreError:
            raise
        except Exception as error:
            log.error("action.failed", id=row["id"], kind=row["kind"], exc_info=error)
            self._acting.fail(row["id"], at=self._clock(), error=repr(error))
        return 0.0 if freed else max(0.0, begun + wait - self._steady())

    def step(self, row: Mapping[str, Any], at_once: int, *, hold: float = 0.0) -> list[Replayed] | None:
        """Go one step of an action as it is now (a row of Acting), and hold it so many seconds from its beginning on.

        Returns what became of each event; None if somebody else has gone this step, or the action has ended.
        """
        begun = self._steady()
        place, events, gone = page(self._archive, row, at_once)
        prepared = self._prepare(row, events)
        step = ActionStep(
            action=row["id"],
            begun=row["cursor"],
            ended=place,
            last=len(events) + len(gone) < at_once,
            number=len(events) + len(gone),
            events=[event["id"] for event in events] if row["kind"] != "replay" else (),
            checked=[each.checked for each in prepared if each.checked is not None],
            runs=[(each.replayed.event_id, spec.name, not spec.failure) for each in prepared for spec in each.handlers],
            results=Counter({"pruned": len(gone)})
            + Counter(each.replayed.problem for each in prepared if each.replayed.problem),
        )
        results = self._acting.step(step, at=self._clock(), held_until=begun + hold)
        if results is None:
            return None
        if step.last:
            log.info("action.done", id=row["id"], kind=row["kind"])
        return [*_replayed(prepared, iter(results)), *(Replayed(number, problem="pruned") for number in gone)]

    def _prepare(self, row: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> list[ReplayPlan]:
        if row["kind"] == "replay":
            return self._replayer().prepare(events, row["handler"], force=row["force"])
        return [ReplayPlan(Replayed(event["id"])) for event in events]


def pace(rate: float | None) -> tuple[int, float]:
    """Return how many events to take at once, and how many seconds to wait then, for so many per second."""
    if rate is None:
        return AT_ONCE, 0.0
    at_once = max(1, min(AT_ONCE, int(rate / 10)))
    return at_once, at_once / rate


def selected(row: Mapping[str, Any]) -> tuple[Filter, list[int] | None]:
    """Return which events an action is about: those that a filter finds, or these ids."""
    selection = json.loads(row["selection"])
    if "ids" in selection:
        return Filter(), selection["ids"]
    return Filter(**selection), None


def parts(kind: ActionKind, wanted: Filter) -> list[Filter]:
    """Return the filters that together find what there is to do. Raises InboxError if that can be nothing."""
    allowed = STATUSES[kind]
    if wanted.status is not None and allowed != (None,) and wanted.status not in allowed:
        names = " or ".join(str(name) for name in allowed)
        raise InboxError(f"nothing to {kind} in events that are {wanted.status}: only in those that are {names}")
    return [wanted] if wanted.status is not None else [replace(wanted, status=status) for status in allowed]


def page(archive: Archive, row: Mapping[str, Any], limit: int) -> tuple[int, list[dict[str, Any]], Sequence[int]]:
    """Return the place after the next events of an action, these events, and the ids of those that are gone.

    A place is the id of the last event, or how many of the ids that were named are done, in the order of their naming.
    """
    wanted, ids = selected(row)
    if ids is not None:
        some = ids[row["cursor"] : row["cursor"] + limit]
        events = [event for event in (_event(archive, number) for number in some) if event is not None]
        return row["cursor"] + len(some), events, sorted({*some} - {event["id"] for event in events})
    wanted = replace(wanted, after=row["cursor"], before=row["upto"] + 1)
    pages = [archive.events(part, limit) for part in parts(row["kind"], wanted)]
    events = list(islice(merge(*pages, key=lambda event: event["id"]), limit))
    return events[-1]["id"] if events else row["cursor"], events, ()


def _event(archive: Archive, number: int) -> dict[str, Any] | None:
    try:
        return archive.event(number)
    except NotFound:
        return None


def _replayed(prepared: Sequence[ReplayPlan], results: Iterator[ReplayResult | None]) -> list[Replayed]:
    return [counted(each.replayed, list(islice(results, len(each.handlers)))) for each in prepared]
