"""Readings → states and changes; pure. One reading never starts or ends an alarm, so that nothing flutters."""

from collections.abc import Iterable
from dataclasses import dataclass

from inbox.store.protocols_alarms import Change, Watched

START_AFTER = 2
END_AFTER = 3
"""Readings in a row, a minute apart."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a condition says of a subject now: bad, good, or (None) neither, which changes nothing."""

    alarm: str
    subject: str
    bad: bool | None
    text: str


@dataclass(frozen=True, slots=True)
class AlarmStep:
    """What is to be kept, what is not watched any more, and what people are to be told."""

    states: tuple[Watched, ...]
    gone: tuple[Watched, ...]
    changes: tuple[Change, ...]


def step(known: Iterable[Watched], readings: Iterable[Reading], at: float) -> AlarmStep:
    """Return what the readings make of what was known. An alarm that is on and is not watched any more ends."""
    before = {(state.alarm, state.subject): state for state in known}
    states, changes = [], []
    for reading in readings:
        state, change = _one(before.pop((reading.alarm, reading.subject), None), reading, at)
        states.append(state)
        changes += [change] if change is not None else []
    ends = [
        Change(state.alarm, state.subject, "end", "no longer watched: not configured any more", at)
        for state in before.values()
        if state.on
    ]
    return AlarmStep(tuple(states), tuple(before.values()), (*changes, *ends))


def _one(known: Watched | None, reading: Reading, at: float) -> tuple[Watched, Change | None]:
    is_on, since = (known.on, known.since) if known is not None else (False, at)
    against = reading.bad is False if is_on else reading.bad is True
    streak = (known.streak if known is not None else 0) + 1 if against else 0
    if streak < (END_AFTER if is_on else START_AFTER):
        return Watched(reading.alarm, reading.subject, is_on, since, streak, reading.text), None
    turned = Watched(reading.alarm, reading.subject, not is_on, at, 0, reading.text)
    return turned, Change(reading.alarm, reading.subject, "end" if is_on else "start", reading.text, at)
