"""Silence, learned by hour of the week, on made-up histories of eight weeks that end on a Monday."""

from collections.abc import Callable

import pytest

from inbox.operate.alarms.silence import HOUR, WEEK, Heard, ago, silent

DAY = 24 * HOUR
MONDAY = 1_767_571_200.0
"""2026-01-05T00:00:00Z, a Monday."""

FLOOR = 7200.0


def office(day: int, hour: int) -> int:
    """Twenty events an hour from 8 to 18, Monday to Friday."""
    return 20 if day < 5 and 8 <= hour < 18 else 0


def always(day: int, hour: int) -> int:
    """One hundred events an hour, day and night."""
    return 100


def rare(day: int, hour: int) -> int:
    """One event on Mondays at 9."""
    return 1 if (day, hour) == (0, 9) else 0


def nightly(day: int, hour: int) -> int:
    """A batch of 500 at 3 in the night."""
    return 500 if hour == 3 else 0


def history(pattern: Callable[[int, int], int], until: float, weeks: int = 8) -> dict[int, int]:
    """Return what came before `until` by hour."""
    begin = int(MONDAY) - weeks * WEEK
    hours = {begin + n * HOUR: pattern(n // 24 % 7, n % 24) for n in range((weeks + 1) * 7 * 24)}
    return {hour: number for hour, number in hours.items() if number and hour < until}


def found(pattern: Callable[[int, int], int], last: float, now: float, **options: float | int) -> bool:
    """Tell whether the source is silent at `now` if its last event came at `last` (both seconds after that Monday)."""
    hours = history(pattern, MONDAY + last, int(options.get("weeks", 8)))
    heard = Heard(hours, MONDAY + last, float(options.get("since", 0.0)))
    return silent(heard, MONDAY + now, float(options.get("floor", FLOOR)))[0]


FRIDAY_EVENING = -3 * DAY + 18 * HOUR


@pytest.mark.parametrize(
    ("pattern", "last", "now", "expected"),
    [
        (office, FRIDAY_EVENING, -3 * DAY + 23 * HOUR, False),  # Friday night
        (office, FRIDAY_EVENING, -1 * DAY + 12 * HOUR, False),  # Sunday noon
        (office, FRIDAY_EVENING, 3 * HOUR, False),  # Monday, 3 in the night
        (office, FRIDAY_EVENING, 8.9 * HOUR, False),  # Monday, somewhat late
        (office, FRIDAY_EVENING, 10 * HOUR, True),  # Monday at 10
        (office, FRIDAY_EVENING, 13 * HOUR, True),
        (office, 10 * HOUR, 11.9 * HOUR, False),  # the floor
        (office, 10 * HOUR, 13 * HOUR, True),  # in the middle of the day
        (always, 0.0, 1.9 * HOUR, False),
        (always, 0.0, 3 * HOUR, True),
        (rare, -WEEK + 9 * HOUR, 20 * HOUR, False),  # too few to tell
        (nightly, -DAY + 4 * HOUR, 2 * HOUR, False),
        (nightly, -DAY + 4 * HOUR, 4.5 * HOUR, False),  # an hour late: summer time
        (nightly, -DAY + 4 * HOUR, 5.5 * HOUR, True),
    ],
)
def test_source_is_silent_when_it_never_is_at_this_hour(
    pattern: Callable[[int, int], int], last: float, now: float, expected: bool
) -> None:
    """What is quiet at this time of the week every week is not silent; what is not, is."""
    assert expected == found(pattern, last, now)


@pytest.mark.parametrize(("weeks", "expected"), [(0, False), (3, False), (4, True)])
def test_silence_is_learned_in_three_whole_weeks(weeks: int, expected: bool) -> None:
    """Before that nothing is said, and the text tells how much is known."""
    assert expected == found(office, FRIDAY_EVENING, 12 * HOUR, weeks=weeks)
    text = silent(Heard(history(office, MONDAY, 2), MONDAY + FRIDAY_EVENING, 0.0), MONDAY + 12 * HOUR, FLOOR)[1]
    assert "last event 2 d 18 h ago; 1 of 3 weeks known" == text


def test_one_odd_week_is_forgiven_and_two_are_not() -> None:
    """A holiday does not end learning; a source that is often quiet is left alone."""
    hours = history(office, MONDAY)
    for weeks, expected in ((1, True), (2, False)):
        for week in range(1, weeks + 1):
            for hour in range(24):
                hours.pop(int(MONDAY) - week * WEEK + hour * HOUR, None)
        assert expected == silent(Heard(hours, MONDAY + FRIDAY_EVENING, 0.0), MONDAY + 10 * HOUR, FLOOR)[0]


def test_summer_time_does_not_cry_wolf() -> None:
    """Office hours that begin or end an hour off, against UTC, are no silence."""
    assert not found(office, FRIDAY_EVENING, 9.2 * HOUR)  # begins at 9 instead of 8
    assert not found(office, -3 * DAY + 17 * HOUR, 8.9 * HOUR)  # ended at 17 instead of 18


def test_time_when_nobody_listened_is_no_silence() -> None:
    """After a receiver that was off for a day, the quiet time begins when it came back."""
    assert not found(always, -DAY, 6 * HOUR, since=MONDAY + 5 * HOUR)
    assert found(always, -DAY, 8 * HOUR, since=MONDAY + 5 * HOUR)


@pytest.mark.parametrize(("floor", "expected"), [(0.0, False), (7200.0, True), (6 * 3600.0, False)])
def test_owner_sets_the_floor(floor: float, expected: bool) -> None:
    """Never before that; 0 is never."""
    assert expected == found(always, 0.0, 5 * HOUR, floor=floor)


def test_source_that_never_sent_is_not_silent() -> None:
    """There is nothing to compare with."""
    assert (False, "no event yet; 0 of 3 weeks known") == silent(Heard({}, None, 0.0), MONDAY, FLOOR)


@pytest.mark.parametrize(
    ("seconds", "text"), [(59, "0 min"), (3599, "59 min"), (3660, "1 h 1 min"), (90_000, "1 d 1 h")]
)
def test_ago(seconds: float, text: str) -> None:
    """Time spans are for people."""
    assert text == ago(seconds)
