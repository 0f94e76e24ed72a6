"""The clock is weeks ahead for a while, with real processes: nothing is deleted for it, and people are told."""

import sqlite3
from collections.abc import Callable
from contextlib import closing

from tests.acceptance.test_leases import CLOCK, set_clock
from tests.support.place import Place, eventually

DAY = 86_400.0
QUICK = """
from inbox import Event, handles
from ._noted import noted

@handles("roomz")
@noted
def quick(event: Event) -> None:
    pass
"""
RETENTION = f"""
[retention]
keep_bodies = {30 * DAY}
keep_attempts = {30 * DAY}
keep_events = {30 * DAY}
keep_refusals = {30 * DAY}
"""


def ask(place: Place, sql: str) -> list[tuple[float, ...]]:
    with closing(sqlite3.connect(place.settings.database)) as connection:
        return connection.execute(sql).fetchall()


def laid(place: Place) -> None:
    """Make a place with retention whose processes have a clock that the test sets."""
    folder = place.folder / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CLOCK)
    set_clock(place, 0)
    place.environment["PYTHONPATH"] = str(folder)
    place.only_handler("quick", QUICK)
    place.configure()
    path = place.folder / "inbox.toml"
    text = path.read_text().partition("[retention]")
    rest = text[2].partition("\n[")
    path.write_text(text[0] + RETENTION.strip() + "\n" + (f"\n[{rest[2]}" if rest[1] else ""))


def stored(place: Place) -> list[tuple[float, ...]]:
    return ask(
        place,
        "SELECT (SELECT count(*) FROM bodies), (SELECT count(*) FROM attempts), (SELECT count(*) FROM refusals), "
        "(SELECT count(*) FROM events WHERE pruned_at IS NULL)",
    )


def in_doubt(place: Place) -> Callable[[], bool]:
    return lambda: bool(ask(place, "SELECT 1 FROM elapsed WHERE gap <> 0"))


def test_a_clock_that_is_weeks_ahead_deletes_nothing(place: Place) -> None:
    """While the processes run, over a restart, and with `inbox prune`; when it is right again everything goes on."""
    laid(place)
    place.start()
    numbers = [place.send("roomz")[0]["answer"]["id"] for _ in range(5)]
    for number in numbers:
        place.until_status(number, "succeeded")
    eventually(lambda: ask(place, "SELECT 1 FROM elapsed"), "the clocks were looked at")
    before = stored(place)
    set_clock(place, 40 * DAY)
    eventually(in_doubt(place), "the jump is noticed")
    eventually(lambda: "event=clock.jumped" in place.log_text(), "the log says it")
    assert "Nothing is old enough" in place.inbox("prune").stdout
    assert before == stored(place)
    started = ask(place, "SELECT count(*) FROM alarm_changes WHERE alarm = 'clock' AND what = 'start'")
    assert 0 == place.stop()
    place.start()
    eventually(lambda: place.log_text().count("event=handlers.loaded") >= 2, "the worker is there again")
    assert "Nothing is old enough" in place.inbox("prune").stdout
    assert before == stored(place)
    eventually(
        lambda: ask(place, "SELECT 1 FROM alarm_changes WHERE alarm = 'clock' AND what = 'start'"),
        f"the alarm is raised after two looks, a minute apart; before: {started}",
        180.0,
    )
    assert before == stored(place)
    assert "the clock is in doubt: it jumped by +40 d 0 h" in place.inbox("clock").stdout
    set_clock(place, 0)
    eventually(lambda: not in_doubt(place)(), "the clock is believed again")
    eventually(lambda: "event=clock.returned" in place.log_text(), "the log says it")
    number = place.send("roomz")[0]["answer"]["id"]
    place.until_status(number, "succeeded")
    assert before != stored(place)
    assert 0 == place.stop()


def test_what_is_old_goes_once_the_owner_says_that_the_clock_is_right(place: Place) -> None:
    """The machine was off for forty days, and nobody keeps its clock: the owner says so, and bodies go."""
    laid(place)
    place.start()
    number = place.send("roomz")[0]["answer"]["id"]
    place.until_status(number, "succeeded")
    eventually(lambda: ask(place, "SELECT 1 FROM elapsed"), "the clocks were looked at")
    assert 0 == place.stop()
    set_clock(place, 40 * DAY)
    assert "Nothing is old enough" in place.inbox("prune").stdout
    assert 1 == stored(place)[0][0]
    confirmed = place.inbox("clock", "confirm", "--count").stdout  # forty days, but for the seconds since the last look
    assert "the jump by +40 d 0 h counts" in confirmed or "the jump by +39 d 23 h counts" in confirmed
    assert "1 rows" not in place.inbox("clock").stdout
    place.inbox("prune")
    assert (0, 0) == stored(place)[0][:2]
