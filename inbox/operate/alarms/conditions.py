"""Numbers → readings; pure. What is bad at a threshold is good again only well below it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from inbox.core.config.alarm_settings import AlarmSettings
from inbox.core.elapsed import Passed
from inbox.core.histograms import Counts, histogram
from inbox.operate.alarms.hysteresis import Reading
from inbox.operate.alarms.silence import Heard, ago, silent
from inbox.store.protocols_monitor import Looked

OUTCOMES = ("accepted", "duplicate", "conflict", "quarantined")
WINDOW = 900.0
"""Seconds over which rates and answers are looked at."""

REFUSED_AT_LEAST = 10
QUARANTINED_AT_LEAST = 5
SLOW_AT_LEAST = 3
SLOW_SHARE = 0.01

DEAD_WINDOW = 3600.0


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the conditions are applied to.

    recent, hour  counts of the last WINDOW and DEAD_WINDOW seconds
    heard         by source that is configured; None while no receiver listens
    deadlines     seconds, by source that is configured
    """

    at: float
    recent: Counts
    hour: Counts
    looked: Looked
    heard: Mapping[str, Heard | None]
    deadlines: Mapping[str, float]
    min_free_bytes: int
    max_store_bytes: int


def readings(numbers: Numbers, settings: AlarmSettings) -> Iterator[Reading]:
    """Yield what each condition says of each source, handler, process, and of the store."""
    for source in sorted(numbers.deadlines):
        counts = {name: n for (subject, name), n in numbers.recent.items() if subject == source}
        yield _silence(source, numbers, settings)
        yield _refused(source, counts, settings.refused_share)
        yield _quarantined(source, counts, settings.quarantined_share)
        yield _answers(source, counts, numbers.deadlines[source], settings.deadline_share)
    yield from _dead(numbers)
    yield _backlog(numbers.looked, settings.backlog_age)
    yield from _disk(numbers, settings.disk_headroom)
    yield _clock(numbers.looked.passed)
    for role in ("receiver", "worker"):
        yield _process(role, numbers.looked, settings.process_gone)


def _silence(source: str, numbers: Numbers, settings: AlarmSettings) -> Reading:
    heard = numbers.heard.get(source)
    if heard is None:
        return Reading("silence", source, None, "no receiver listens")
    return Reading("silence", source, *silent(heard, numbers.at, settings.silence_after))


def _refused(source: str, counts: Mapping[str, int], limit: float) -> Reading:
    reasons = {name.rpartition(":")[2]: n for name, n in counts.items() if name.startswith("refused:")}
    refused = sum(reasons.values())
    total = refused + sum(counts.get(name, 0) for name in OUTCOMES)
    text = f"{refused} of {total} requests in 15 minutes refused"
    if reasons:
        text += f", mostly {max(reasons, key=lambda reason: reasons[reason])}; `inbox refusals {source}`"
    return Reading("refusals", source, _share(refused, total, limit, REFUSED_AT_LEAST), text)


def _quarantined(source: str, counts: Mapping[str, int], limit: float) -> Reading:
    bad, total = counts.get("quarantined", 0), sum(counts.get(name, 0) for name in OUTCOMES)
    text = f"{bad} of {total} events in 15 minutes quarantined"
    return Reading("quarantine", source, _share(bad, total, limit, QUARANTINED_AT_LEAST), text)


def _share(part: int, total: int, limit: float, at_least: int) -> bool | None:
    if part >= at_least and part >= limit * total:
        return True
    return None if 2 * part >= at_least and 2 * part >= limit * total else False


def _answers(source: str, counts: Mapping[str, int], deadline: float, share: float) -> Reading:
    answers, limit = histogram("answer", counts), deadline * share
    slow = answers.above(limit)
    text = (
        f"{slow} of {answers.number} answers in 15 minutes took more than {limit:g} s; the sender waits {deadline:g} s"
    )
    if slow >= SLOW_AT_LEAST and slow >= SLOW_SHARE * answers.number:
        return Reading("answers", source, True, text)
    return Reading("answers", source, None if slow else False, text)


def _dead(numbers: Numbers) -> Iterator[Reading]:
    dead = {subject: n for (subject, name), n in numbers.hour.items() if name == "ended:dead"}
    for handler in sorted({*numbers.looked.handlers, *dead}):
        number = dead.get(handler, 0)
        text = f"{number} deliveries gave up in the last hour; `inbox events --status dead`"
        yield Reading("dead", handler, number > 0, text)


def _backlog(looked: Looked, limit: float) -> Reading:
    text = f"what could be worked on waits for up to {ago(looked.oldest)}"
    return Reading("backlog", "", _above(looked.oldest, limit, limit / 2), text)


def _disk(numbers: Numbers, headroom: int) -> Iterator[Reading]:
    free = numbers.looked.disk_free - numbers.min_free_bytes
    text = f"{max(0, free) // 2**20} MiB until events are refused to keep min_free_bytes free"
    yield Reading("disk", "", _above(-free, -headroom, -1.25 * headroom), text)
    if numbers.max_store_bytes:
        used = numbers.looked.store["used"] / numbers.max_store_bytes
        yield Reading("store", "", _above(used, 0.9, 0.8), f"the store holds {used:.0%} of max_store_bytes")


def _clock(passed: Passed | None) -> Reading:
    """Tell whether the clock is in doubt, or was in the last hour: a jump that is over may come again."""
    if passed is None or passed.jumped_at is None:
        return Reading("clock", "", False, "the clock goes in step with the time that passes")
    jumped = f"the clock jumped {'ahead' if passed.jump > 0 else 'back'} by {ago(abs(passed.jump))}"
    if not passed.doubtful:
        return Reading("clock", "", True, f"{jumped} and is right again; nothing was deleted for it")
    then = "nothing is deleted for its age now; set the clock right, or say that it is: `inbox clock`"
    return Reading("clock", "", True, f"{jumped}; {then}")


def _above(value: float, bad: float, good: float) -> bool | None:
    return True if value > bad else False if value <= good else None


def _process(role: str, looked: Looked, limit: float) -> Reading:
    """Tell whether a process lives; one that never gave a sign is missed only if it is the worker."""
    if role == "receiver" and role not in looked.processes:
        return Reading("process", role, False, "no receiver has ever run here")
    found = looked.gone(role, limit)
    return Reading("process", role, bool(found), found or "gives signs of life")
