"""Settings → what may be deleted, and deleting it in small steps that leave the store to the others in between.

Nothing goes unless a setting says so, and never what waits, runs, or is kept with `inbox keep`. While the clock is in
doubt (`inbox.store.timekeeper`) nothing goes for its age. Decides what and how fast; `inbox.store.protocols_retention`
finds and deletes.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import structlog

from inbox.core.config.retention_settings import RetentionSettings
from inbox.core.errors import StoreError
from inbox.store.protocols import EVENT_STATUSES
from inbox.store.protocols_retention import Keeping, Kind, What
from inbox.verify.providers.base import UNPUBLISHED, Provider

log = structlog.get_logger("inbox.operate.retention")

LOOK = 500
"""Rows that are looked at in one go, without a lock."""

STEP_ROWS, STEP_BYTES = 50, 256 * 1024
"""What goes in one transaction: so much is overwritten and written to the log while the receiver waits."""

GIVE_BACK = 16
"""Pages that are given back in one transaction."""

LOOK_AGAIN = 60
"""Runs of the worker after which one looks at everything again, also at what stayed so far."""

PRUNE_SECONDS, GIVE_BACK_SECONDS = 40.0, 10.0
"""For how long the worker does each, once a minute."""

SLACK = 1024 * 1024
"""Free bytes that stay in the file, for what comes next."""

LEAST_PAUSE = 0.02
_WORKED_ON = ("received", "processing")
_WANTED = (
    *("keep_bodies", "keep_body_bytes", "keep_attempts", "keep_attempt_count"),
    *("keep_events", "keep_event_count", "keep_refusals"),
)

By = Literal["age", "size"]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went, or would go, of one kind and source: rows, about how many bytes, and how many stay for being kept.

    by  whether for its age, or because the source has too much of it
    """

    source: str
    kind: Kind
    by: By
    rows: int = 0
    bytes: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True)
class _Task:
    """What may go of one source and kind; with `limit` only the oldest, until no more than so many bytes are left."""

    what: What
    by: By = "age"
    limit: int | None = None


class Pruner:
    """Prunes a store by the settings of its sources.

    passed  Unix seconds as far as time has surely passed, None while that is in doubt: then nothing goes for its age
    clock   the time of day, only to write down when something went
    """

    def __init__(
        self,
        store: Keeping,
        defaults: RetentionSettings,
        sources: Mapping[str, Provider],
        *,
        passed: Callable[[], float | None],
        clock: Callable[[], float],
        steady: Callable[[], float],
        pause: Callable[[float], object],
    ) -> None:
        self._store = store
        self._defaults = defaults
        self._sources = sources
        self._passed = passed
        self._clock = clock
        self._steady = steady
        self._pause = pause
        self._runs = 0
        self._seen: dict[tuple[Kind, str], int] = {}
        """Up to which id everything was looked at by earlier runs: what stayed is not looked at again for a while."""

    @property
    def wanted(self) -> bool:
        """Tell whether any setting lets anything go."""
        return any(
            getattr(settings, name) for settings in (self._defaults, *self._sources.values()) for name in _WANTED
        )

    def plan(self) -> Iterator[Pruned]:
        """Yield what would go now, changing nothing. What goes only after something else is not counted yet."""
        counted: dict[tuple[Kind, str], set[int]] = defaultdict(set)
        for task in self._tasks(self._passed()):
            pages, there = list(self._pages(task, {})), counted[task.what.kind, task.what.source]
            may = {id: size for ids, _ in pages for id, size in ids if id not in there}
            there.update(may)
            kept = sum(kept for _, kept in pages)
            yield Pruned(task.what.source, task.what.kind, task.by, len(may), sum(may.values()), kept)

    def run(self, seconds: float | None = None) -> Iterator[Pruned]:
        """Let go what may, and yield how much that was; ends early after about so many seconds."""
        end = float("inf") if seconds is None else self._steady() + seconds
        for task in self._tasks(self._passed()):
            done = Pruned(task.what.source, task.what.kind, task.by)
            for may, kept in self._pages(task, self._seen):
                done = replace(done, kept=done.kept + kept)
                for step in _steps(may):
                    rows = self._paced(partial(self._store.prune, task.what, [id for id, _ in step], self._clock()))
                    done = replace(done, rows=done.rows + rows, bytes=done.bytes + sum(size for _, size in step))
                    if self._steady() >= end:
                        break
                if self._steady() >= end:
                    break
            if done.rows:
                what = {"source": done.source, "kind": done.kind, "by": done.by}
                log.info("retention.pruned", **what, rows=done.rows, kept=done.kept)
            yield done
            if self._steady() >= end:
                return

    def for_a_while(self) -> None:
        """Prune and give back for less than a minute; a store that is locked or full is left for the next one."""
        try:
            if self._runs % LOOK_AGAIN == 0:
                self._seen.clear()
            self._runs += 1
            for _ in self.run(PRUNE_SECONDS):
                pass
            if given := self.give_back(GIVE_BACK_SECONDS):
                log.info("retention.given_back", bytes=given)
        except StoreError as error:
            log.warning("retention.not_pruned", error=str(error), then="the next minute tries again")

    def give_back(self, seconds: float | None = None) -> int:
        """Give free space back to the file system, and return how many bytes that was; 0 if the file cannot."""
        end = float("inf") if seconds is None else self._steady() + seconds
        before = self._store.space()
        if not before.in_steps:
            return 0
        now = before
        while now.free > SLACK and self._steady() < end:
            self._paced(partial(self._store.give_back, GIVE_BACK))
            now = self._store.space()
        return max(0, before.total - now.total)

    def _paced(self, step: Callable[[], int]) -> int:
        begun = self._steady()
        found = step()
        self._pause(max(LEAST_PAUSE, self._defaults.pause * (self._steady() - begun)))
        return found

    def _pages(self, task: _Task, seen: dict[tuple[Kind, str], int]) -> Iterator[tuple[list[tuple[int, int]], int]]:
        """Yield (ids and bytes of) what may go, page by page, oldest first, and how many are kept."""
        place = (task.what.kind, task.what.source)
        excess = None if task.limit is None else self._store.body_bytes(task.what.source) - task.limit
        after = seen.get(place, 0)
        while excess is None or excess > 0:
            page = self._store.look(task.what, after, LOOK)
            if page.last is None or not page.older:
                return
            begun, after, may = after, page.last, list(page.may)
            if excess is not None:
                may, excess = _oldest(may, excess)
            yield may, page.kept
            if excess is None:
                seen[place] = begun  # the page before this one: here some may be too young only today

    def _tasks(self, now: float | None) -> list[_Task]:
        names = [*self._sources, *(name for name in self._store.sources() if name not in self._sources)]
        return [task for name in names for task in self._tasks_of(name, now)]

    def _tasks_of(self, name: str, now: float | None) -> Iterator[_Task]:
        """Yield what may go of a source, in the order in which it goes."""
        statuses = tuple(s for s in EVENT_STATUSES if s not in (*_WORKED_ON, *self._defaults.keep_statuses))
        keep = {kind: self._setting(name, f"keep_{kind}") for kind in ("attempts", "events", "event_keys", "refusals")}
        bodies = [age for age in (self._setting(name, "keep_bodies"), keep["events"]) if age]
        ages: dict[Kind, float] = {
            "bodies": min(bodies, default=0.0),
            "attempts": keep["attempts"],
            "events": keep["events"],
            "event_keys": max(keep["event_keys"], self._horizon(name), keep["events"]) if keep["event_keys"] else 0.0,
            "refusals": keep["refusals"],
        }
        for kind, age in ages.items():
            if age and now is not None:
                yield _Task(What(kind, name, now - age, statuses))
            if kind == "bodies" and (limit := self._setting(name, "keep_body_bytes")):
                yield _Task(What(kind, name, float("inf"), statuses), "size", int(limit))
            if upto := self._beyond(kind, name):
                yield _Task(What(kind, name, float("inf"), statuses, upto), "size")

    def _beyond(self, kind: Kind, name: str) -> int:
        """Return up to which id there is too much of a source, 0 for nowhere. A body goes before its event."""
        if kind == "event_keys":
            return 0
        if kind == "refusals":
            count, size = self._defaults.refusal_limits(self._sources.get(name))
            return max(self._store.beyond("refusals", name, count), self._store.beyond_bytes(name, size))
        of: Literal["attempts", "events"] = "attempts" if kind == "attempts" else "events"
        count = int(self._setting(name, f"keep_{of.removesuffix('s')}_count"))
        return self._store.beyond(of, name, count) if count else 0

    def _setting(self, source: str, setting: str) -> float:
        return float(self._defaults.of(self._sources.get(source), setting))

    def _horizon(self, source: str) -> float:
        provider = self._sources.get(source)
        return provider.horizon if provider is not None else UNPUBLISHED


def _steps(items: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Cut into steps that are small in rows and in bytes; a row that is too large is a step of its own."""
    step: list[tuple[int, int]] = []
    size = 0
    for item in items:
        if step and (len(step) == STEP_ROWS or size + item[1] > STEP_BYTES):
            yield step
            step, size = [], 0
        step.append(item)
        size += item[1]
    if step:
        yield step


def _oldest(items: list[tuple[int, int]], excess: int) -> tuple[list[tuple[int, int]], int]:
    """Return the first of them that together have so many bytes, and how many bytes are still too many."""
    chosen = []
    for item in items:
        if excess <= 0:
            break
        chosen.append(item)
        excess -= item[1]
    return chosen, excess
