"""How the inbox is, at a glance: a row per source with what stands out, and totals. Built on counts, never on events.

Next: `noteworthy` says in sentences what a person should look at.
"""

from collections.abc import Mapping
from typing import Any

from inbox.core.histograms import Counts, histogram
from inbox.operate.alarms.conditions import OUTCOMES
from inbox.operate.health import Limits, verdicts
from inbox.operate.statistics import HOUR, HOURS, MINUTE, MINUTES, Series, first_hour, first_minute
from inbox.runtime import Runtime
from inbox.store.protocols_alarms import Watched
from inbox.store.protocols_monitor import Looked
from inbox.store.protocols_views import Unfinished
from inbox.ui.services.highlights import OF_SOURCES, noteworthy
from inbox.ui.services.sources import sources


def overview(runtime: Runtime) -> dict[str, Any]:
    """Return how each source and the whole inbox are.

    at       Unix seconds
    sources  a row per source that is configured, or that has events or refusals; see `_row`. The source "" stands for
             addresses that no source has
    totals   see `_totals`
    alarms   those that are on: alarm, subject, since, text
    """
    now = runtime.clock()
    watching, views = runtime.watching, runtime.watching.views
    figures = watching.ledger.figures(now)
    parts = _Parts(
        now,
        {span: by_subject(getattr(figures, span)) for span in ("hour", "day", "total")},
        figures.minutes,
        figures.hours,
        views.unfinished(),
        [state for state in watching.alarm_book.states() if state.on],
    )
    looked = watching.watch.look(now, runtime.steady())
    return {
        "at": now,
        "sources": [_row(known, parts) for known in sources(runtime)],
        "totals": _totals(runtime, looked, parts),
        "alarms": [alarm_row(state) for state in parts.alarms],
    }


Grouped = Mapping[str, Mapping[str, int]]


class _Parts:
    """What was read for all sources at once."""

    def __init__(
        self,
        now: float,
        counts: Mapping[str, Grouped],
        minutes: Series,
        hours: Series,
        unfinished: Mapping[str, Unfinished],
        alarms: list[Watched],
    ) -> None:
        self.now = now
        self.counts = counts
        self.minutes = minutes
        self.hours = hours
        self.unfinished = unfinished
        self.alarms = alarms


def _row(known: Mapping[str, Any], parts: _Parts) -> dict[str, Any]:
    """Return the row of a source: what `sources` says of it, and more.

    counts     by "hour", "day" and "total": accepted, duplicate, conflict, quarantined, refused, failing (runs that
               went wrong), and `reasons`: how many refusals by "code:reason". An hour is this minute and the 59 before
               it, a day is this hour and the 23 before it, the total is since this inbox counts
    minutes, refused_minutes, hours, refused_hours
               what came, and what was refused: 60 and 24 numbers, the oldest first; the last is not over
    handled    seconds from receipt until a handler was done, by "hour" and "day": number, p50, p99 (None: no value)
    backlog    events that are received or in work; `oldest` is the first of them: id, at, age; None if there is none
    alarms     those that are on
    noteworthy sentences on what stands out, [] if nothing does
    """
    name = known["source"]
    counts = {span: tally(grouped.get(name, {})) for span, grouped in parts.counts.items()}
    alarms = [state for state in parts.alarms if (state.alarm in OF_SOURCES and state.subject == name)]
    unfinished = parts.unfinished.get(name)
    row = {
        **known,
        "counts": counts,
        **_charts(name, parts),
        "handled": {span: quantiles("handled", parts.counts[span].get(name, {})) for span in ("hour", "day")},
        "backlog": unfinished.number if unfinished is not None else 0,
        "oldest": _oldest(unfinished, parts.now),
        "alarms": [alarm_row(state) for state in alarms],
    }
    return {**row, "noteworthy": noteworthy(row)}


def tally(counts: Mapping[str, int]) -> dict[str, Any]:
    """Return what became of requests and runs, of the counts of a source."""
    reasons = {name.partition(":")[2]: number for name, number in counts.items() if name.startswith("refused:")}
    failing = sum(counts.get(f"failing:{status}", 0) for status in ("dead", "retrying"))
    known = {name: counts.get(name, 0) for name in OUTCOMES}
    return {**known, "refused": sum(reasons.values()), "failing": failing, "reasons": reasons}


def quantiles(what: str, counts: Mapping[str, int]) -> dict[str, Any]:
    """Return number, median and 99th percentile of durations, of the counts of a source or handler."""
    found = histogram(what, counts)
    return {"number": found.number, "p50": found.quantile(0.5), "p99": found.quantile(0.99)}


def alarm_row(state: Watched) -> dict[str, Any]:
    """Return an alarm as a row."""
    return {"alarm": state.alarm, "subject": state.subject, "since": state.since, "text": state.text}


def _charts(name: str, parts: _Parts) -> dict[str, list[int]]:
    minutes = [first_minute(parts.now) + MINUTE * number for number in range(MINUTES)]
    hours = [first_hour(parts.now) + HOUR * number for number in range(HOURS)]
    found = {}
    for prefix, kind in (("", "events"), ("refused_", "refused")):
        by_minute, by_hour = parts.minutes.get((name, kind), {}), parts.hours.get((name, kind), {})
        found[f"{prefix}minutes"] = [by_minute.get(minute, 0) for minute in minutes]
        found[f"{prefix}hours"] = [by_hour.get(hour, 0) for hour in hours]
    return found


def _oldest(unfinished: Unfinished | None, now: float) -> dict[str, Any] | None:
    if unfinished is None:
        return None
    age = max(0.0, now - unfinished.oldest_at)
    return {"id": unfinished.oldest_id, "at": unfinished.oldest_at, "age": age}


def _totals(runtime: Runtime, looked: Looked, parts: _Parts) -> dict[str, Any]:
    """Return how the whole inbox is.

    configured   how many sources are configured
    events, refused
                 of all sources: by "hour" and "day" how many, `minutes` and `hours` as in a row
    backlog      unrouted events; deliveries that are due, later, running, parked, paused
    oldest_age   seconds for which the oldest that could be worked on waits
    processes    by role: `alive`, `age` of the last sign of life and `since` when without a gap, None if there was none
    disk_free, headroom
                 bytes free on the disk, and bytes until events are refused
    store        bytes: used, free, log; `max_store_bytes` is the limit, 0 if there is none
    problems     what `/readyz` would say of disk, backlog and worker, but for what is good
    """
    settings = runtime.settings
    limits = Limits(
        backlog_age=settings.alarms.backlog_age,
        process_gone=settings.alarms.process_gone,
        min_free_bytes=settings.inbox.min_free_bytes,
        max_store_bytes=settings.inbox.max_store_bytes,
    )
    problems = verdicts(looked, limits)
    return {
        "configured": len(runtime.sources),
        "events": _sums("events", parts),
        "refused": _sums("refused", parts),
        "backlog": dict(looked.backlog),
        "oldest_age": looked.oldest,
        "processes": {role: _process(looked, role, limits.process_gone) for role in ("receiver", "worker")},
        "disk_free": looked.disk_free,
        "headroom": max(0, looked.disk_free - limits.min_free_bytes),
        "store": {**looked.store, "max_store_bytes": limits.max_store_bytes},
        "problems": {name: text for name, text in problems.items() if text != "ok"},
    }


def _sums(kind: str, parts: _Parts) -> dict[str, Any]:
    minutes = [found for (_, name), found in parts.minutes.items() if name == kind]
    hours = [found for (_, name), found in parts.hours.items() if name == kind]
    minute, hour = first_minute(parts.now), first_hour(parts.now)
    by_minute = [sum(found.get(minute + MINUTE * n, 0) for found in minutes) for n in range(MINUTES)]
    by_hour = [sum(found.get(hour + HOUR * n, 0) for found in hours) for n in range(HOURS)]
    return {"hour": sum(by_minute), "day": sum(by_hour), "minutes": by_minute, "hours": by_hour}


def _process(looked: Looked, role: str, limit: float) -> dict[str, Any]:
    alive = looked.processes.get(role)
    age = alive.age if alive is not None and alive.age != float("inf") else None
    return {
        "alive": not looked.gone(role, limit),
        "age": age,
        "since": alive.since if alive is not None and age is not None else None,
        "text": looked.gone(role, limit) or "gives signs of life",
    }


def by_subject(counts: Counts) -> Grouped:
    """Return counts by name, by subject."""
    found: dict[str, dict[str, int]] = {}
    for (subject, name), number in counts.items():
        found.setdefault(subject, {})[name] = number
    return found
