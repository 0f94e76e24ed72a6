"""Points in time as people write them."""

import contextlib
import time
from datetime import datetime

import click
import pytest

from inbox.cli.params_times import Moment


def convert(text: object) -> float:
    return Moment().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5d", 129600), ("1w", 604800), (" 2 h ", 7200), ("0s", 0)],
)
def test_how_long_ago(text: str, seconds: float) -> None:
    """A number and a unit count back from now."""
    before = time.time()
    found = convert(text)
    assert before - seconds <= found <= time.time() - seconds


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-01-31", datetime(2026, 1, 31)),  # noqa: DTZ001
        ("2026-01-31T09:00", datetime(2026, 1, 31, 9)),  # noqa: DTZ001
        ("2026-01-31 09:00:30", datetime(2026, 1, 31, 9, 0, 30)),  # noqa: DTZ001
        ("2026-01-31T09:00Z", datetime.fromisoformat("2026-01-31T09:00+00:00")),
        ("2026-01-31T09:00:00.250+02:00", datetime.fromisoformat("2026-01-31T07:00:00.250+00:00")),
    ],
)
def test_a_date_or_time_is_local_unless_it_says_otherwise(text: str, wanted: datetime) -> None:
    """ISO 8601, as lists print it and as people type it."""
    assert wanted.timestamp() == convert(text)


def test_what_is_converted_already_stays() -> None:
    """Click converts defaults a second time."""
    assert 12.5 == convert(12.5)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01", "2026-02-30", "2", "-2h", "2x", "h", "1e3s", "2h ago", "٣h٣", "24:00"]
)
def test_anything_else_is_wrong_usage(text: str) -> None:
    """The message repeats the text and says what is allowed."""
    with pytest.raises(click.BadParameter) as caught:
        convert(text)
    assert f"{text!r} is no time; allowed: 2026-01-31, 2026-01-31T09:00, 30m, 2h, 7d" == caught.value.message


@pytest.mark.parametrize("text", ["0001-01-01T00:00+23:59", "9999-12-31T23:59-23:59", f"{'9' * 400}w"])
def test_times_beyond_all_events_do_not_crash(text: str) -> None:
    """The ends of the calendar are far away, not a traceback."""
    with contextlib.suppress(click.BadParameter):
        assert isinstance(convert(text), float)
