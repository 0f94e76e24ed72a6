"""Is a source silent? Learned from its own history by hour of the week; pure.

A source is silent if the same hours of the week had events in every week that is known but one. A week is forgiven (a
holiday, an outage of ours). Only whole hours are looked at, and not the first and last of the quiet time: summer time
moves office hours by one. Time during which nobody could have received anything is not silence.
"""

from collections.abc import Mapping
from dataclasses import dataclass

HOUR = 3600
WEEK = 7 * 24 * HOUR
WEEKS = 8
"""How many weeks are looked at."""

KNOWN_WEEKS = 3
"""How many there have to be."""

EXPECTED = 12.0
"""Events that the quiet time has in a usual week: with these, chance alone is silent once in 160,000 times (e^-12)."""

AT_LEAST = 6.0
"""Events that it has in each of them."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What is known of a source: events by hour (Unix seconds), when the last came (None: never).

    `since` is when somebody began to listen without a gap.
    """

    hours: Mapping[int, int]
    last: float | None
    since: float


def silent(heard: Heard, now: float, floor: float) -> tuple[bool, str]:
    """Return whether the source is silent, and why; never before `floor` seconds have been quiet. 0 is never."""
    begin = max(heard.since, heard.last if heard.last is not None else 0.0)
    quiet = now - begin
    said = "no event yet" if heard.last is None else f"last event {ago(now - heard.last)} ago"
    if not floor or quiet < floor:
        return False, said
    weeks = _weeks(heard.hours, begin + HOUR, now - HOUR)
    if len(weeks) < KNOWN_WEEKS:
        return False, f"{said}; {len(weeks)} of {KNOWN_WEEKS} weeks known"
    usual = sorted(weeks)[1:] if len(weeks) > KNOWN_WEEKS else weeks
    mean = sum(usual) / len(usual)
    if mean < EXPECTED or min(usual) < AT_LEAST:
        return False, f"{said}; usual: {mean:.0f} events by now"
    return True, f"{said}; in this part of the week there are usually {mean:.0f} events by now"


def ago(seconds: float) -> str:
    """Return a time span for people."""
    minutes = int(seconds // 60)
    days, hours = minutes // 1440, minutes % 1440 // 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def _weeks(hours: Mapping[int, int], begin: float, end: float) -> list[int]:
    """Return how many events each known week had between the same two moments."""
    first_hour, last_hour = -int(-begin // HOUR) * HOUR, int(end // HOUR) * HOUR
    if not hours or last_hour < first_hour:
        return []
    known = min(hours)
    shifts = [week * WEEK for week in range(1, WEEKS + 1) if first_hour - week * WEEK >= known]
    return [sum(hours.get(hour - shift, 0) for hour in range(first_hour, last_hour, HOUR)) for shift in shifts]
