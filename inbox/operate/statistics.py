"""Counts as an owner reads them: the last hour by minute, the last day by hour, and for ever; quick.

Minutes that are over are read once and kept, as nearly nothing is added to them; the present ones are read each time.
What is counted late, as when held requests are released, is seen within REREAD seconds.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from inbox.core.histograms import Counts
from inbox.store.protocols_views import Minute, Views

MINUTE = 60
HOUR = 3600
MINUTES = 60
HOURS = 24
SETTLED = 120
"""Seconds after which a minute is over for good, but for what is counted late."""

REREAD = 600
"""Seconds after which everything is read again."""

OUTCOMES = ("accepted", "duplicate", "conflict", "quarantined")

Series: TypeAlias = Mapping[tuple[str, str], Mapping[int, int]]
"""By subject and kind ("events", "refused"): how many in the minute or hour that begins at these Unix seconds."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What was counted.

    hour, day, total  counts of this minute and the 59 before it, of this hour and the 23 before it, and of all time
    minutes, hours    what came and what was refused, in each of these
    """

    hour: Counts
    day: Counts
    total: Counts
    minutes: Series
    hours: Series


@dataclass(slots=True)
class _Cache:
    """What is over: until `until`, as read at `at`."""

    at: float
    until: int
    by_minute: dict[int, Counts]
    by_hour: dict[int, Counter[tuple[str, str]]]
    total: Counter[tuple[str, str]]
    hour: Counter[tuple[str, str]] = field(default_factory=Counter)
    day: Counter[tuple[str, str]] = field(default_factory=Counter)
    minutes: Series = field(default_factory=dict)
    hours: Series = field(default_factory=dict)


class Statistics:
    """Reads the counts of one store; for any number of threads."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._known: _Cache | None = None
        self._mutex = threading.Lock()

    def figures(self, now: float) -> Totals:
        """Return what was counted until now. Raises StoreUnavailable."""
        with self._mutex:
            known = self._known
            if known is None or not 0 <= now - known.at < REREAD or first_hour(now) != first_hour(known.at):
                known = self._known = self._read(now)
            recent = _by_minute(self._views.minutes(known.until))
            _settle(known, recent, now)
            return _figures(known, recent)

    def _read(self, now: float) -> _Cache:
        until = int((now - SETTLED) // MINUTE) * MINUTE
        minutes, hours, total = self._views.counted(first_minute(now), first_hour(now), until)
        known = _Cache(now, until, _by_minute(minutes), {}, Counter(total))
        for hour, counts in _by_minute(hours).items():
            known.by_hour[hour] = Counter(counts)
            known.day.update(counts)
        for counts in known.by_minute.values():
            known.hour.update(counts)
        known.minutes, known.hours = _series(known.by_minute), _series(known.by_hour)
        return known


def first_minute(now: float) -> int:
    """Return when the first of the last 60 minutes began."""
    return int(now // MINUTE) * MINUTE - (MINUTES - 1) * MINUTE


def first_hour(now: float) -> int:
    """Return when the first of the last 24 hours began."""
    return int(now // HOUR) * HOUR - (HOURS - 1) * HOUR


def _settle(known: _Cache, recent: dict[int, Counts], now: float) -> None:
    """Add minutes that are over by now to what is known, and let go of those that are more than an hour old."""
    until = int((now - SETTLED) // MINUTE) * MINUTE
    for minute in sorted(minute for minute in recent if minute < until):
        counts = recent.pop(minute)
        known.by_minute[minute] = counts
        for sums in (known.hour, known.day, known.total, known.by_hour.setdefault(minute - minute % HOUR, Counter())):
            sums.update(counts)
    for minute in [minute for minute in known.by_minute if minute < first_minute(now)]:
        known.hour.subtract(known.by_minute.pop(minute))
    if until > known.until:
        known.until = until
        known.minutes, known.hours = _series(known.by_minute), _series(known.by_hour)


def _figures(known: _Cache, recent: Mapping[int, Counts]) -> Totals:
    hour, day, total = Counter(known.hour), Counter(known.day), Counter(known.total)
    by_hour: dict[int, Counter[tuple[str, str]]] = defaultdict(Counter)
    for minute, counts in recent.items():
        for sums in (hour, day, total, by_hour[minute - minute % HOUR]):
            sums.update(counts)
    minutes, hours = _added(known.minutes, _series(recent)), _added(known.hours, _series(by_hour))
    return Totals(dict(hour), dict(day), dict(total), minutes, hours)


def _series(counts: Mapping[int, Mapping[tuple[str, str], int]]) -> Series:
    found: defaultdict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for begin, numbers in counts.items():
        for (subject, name), number in numbers.items():
            if name in OUTCOMES:
                found[subject, "events"][begin] += number
            elif name.startswith("refused:"):
                found[subject, "refused"][begin] += number
    return dict(found)


def _added(one: Series, other: Series) -> Series:
    return {key: Counter(one.get(key, {})) + Counter(other.get(key, {})) for key in {**one, **other}}


def _by_minute(rows: Iterable[Minute]) -> dict[int, Counts]:
    found: dict[int, Counts] = {}
    for at, subject, name, number in rows:
        found.setdefault(at, {})[subject, name] = number
    return found
