"""The overview tells how each source and the whole inbox are, from counts, and what a person should look at."""

from pathlib import Path
from typing import Any

import pytest

from inbox.store.protocols_alarms import Watched
from inbox.testing import NOW, Inbox
from inbox.ui.services.highlights import noteworthy
from inbox.ui.services.overview import overview
from tests.ui.services.conftest import FAILING, receiver_of, refuse, row_of


def source(inbox: Inbox, name: str) -> dict[str, Any]:
    return row_of(overview(inbox.runtime)["sources"], source=name)


def test_counts_of_an_hour_a_day_and_ever(desk: Inbox) -> None:
    """By what became of requests and runs; what is older leaves the hour, then the day, and never the total."""
    desk.receive("roomz")
    desk.receive("open", {"id": "a", "type": "other"})
    desk.receive("open", {"id": "a", "type": "other"})
    desk.receive("open", {"id": "a", "type": "changed"})
    desk.receive("open", b"no json")
    desk.receive("open", FAILING)
    desk.run()
    desk.advance(61)
    desk.sweep()
    desk.run()
    refuse(desk)
    refuse(desk)
    expected = {
        "accepted": 2, "duplicate": 1, "conflict": 1, "quarantined": 1, "refused": 0, "failing": 2, "reasons": {},
    }  # fmt: skip
    counts = source(desk, "open")["counts"]
    assert {"hour": expected, "day": expected, "total": expected} == counts
    refused = source(desk, "roomz")["counts"]["hour"]
    assert (1, 2, {"not_authentic:missing": 2}) == (refused["accepted"], refused["refused"], refused["reasons"])
    desk.advance(2 * 3600)
    counts = source(desk, "open")["counts"]
    assert [0, 2, 2] == [counts[span]["accepted"] for span in ("hour", "day", "total")]
    desk.advance(24 * 3600)
    desk.runtime.watching.watch.roll(desk.clock())
    counts = source(desk, "open")["counts"]
    assert [(0, 0), (0, 0), (2, 2)] == [(counts[span]["accepted"], counts[span]["failing"]) for span in counts]


def test_charts_have_a_number_per_minute_and_hour(desk: Inbox) -> None:
    """The present one is the last, whatever was read before, and also after the minutes were rolled up."""
    for number in range(3):
        for _ in range(number + 1):
            desk.receive("roomz")
        refuse(desk)
        row = source(desk, "roomz")
        assert (60, 24) == (len(row["minutes"]), len(row["hours"]))
        assert number + 1 == row["minutes"][-1]
        assert [1, 2, 3][: number + 1] == [n for n in row["minutes"] if n]
        desk.advance(180)
    desk.advance(2 * 3600)
    row, totals = source(desk, "roomz"), overview(desk.runtime)["totals"]
    assert ([0] * 60, 6) == (row["minutes"], row["hours"][-3])
    assert (3, [3]) == (row["refused_hours"][-3], [n for n in row["refused_hours"] if n])
    assert (0, 6, 3) == (totals["events"]["hour"], totals["events"]["day"], totals["refused"]["day"])
    desk.advance(3 * 3600)
    assert desk.runtime.watching.watch.roll(desk.clock())
    assert 6 == source(desk, "roomz")["hours"][-6]


def test_figures_are_those_that_are_counted(desk: Inbox) -> None:
    """However often one looks, and when: what is kept in memory agrees with what another process reads anew."""
    for step in (0, 30, 61, 119, 240, 700, 3000, 3600, 50, 7200):
        desk.advance(step)
        desk.receive("roomz")
        refuse(desk)
        desk.run()
        fresh = receiver_of(desk)
        found, expected = (overview(runtime) for runtime in (desk.runtime, fresh))
        assert expected["sources"] == found["sources"], step
        assert expected["totals"]["events"] == found["totals"]["events"], step
        fresh.watching.close()
        fresh.close()


def test_clock_that_was_set_back_does_not_confuse(desk: Inbox) -> None:
    """Everything is read again."""
    desk.receive("roomz")
    overview(desk.runtime)
    desk.set_clock(-7200)
    desk.receive("roomz")
    assert 1 == source(desk, "roomz")["minutes"][-1]


def test_time_until_handled(desk: Inbox) -> None:
    """From receipt until the handler was done, per event and handler; neither failures nor replays are in it."""
    first = desk.receive("open", {"id": "g1", "type": "good"})
    desk.advance(4)
    desk.run()
    desk.receive("open", FAILING)
    desk.run()
    desk.advance(500)
    desk.replay(first.id)
    desk.run()
    handled = source(desk, "open")["handled"]
    assert (1, 1) == (handled["hour"]["number"], handled["day"]["number"])
    assert 2.5 < handled["hour"]["p50"] <= handled["hour"]["p99"] <= 5
    assert {"number": 0, "p50": None, "p99": None} == source(desk, "roomz")["handled"]["hour"]


def test_backlog_and_its_oldest(desk: Inbox) -> None:
    """Events that nobody worked on yet, and the one that came first."""
    numbers = [desk.receive("roomz").id for _ in range(3)]
    desk.advance(400)
    row, totals = source(desk, "roomz"), overview(desk.runtime)["totals"]
    assert (3, {"id": numbers[0], "at": NOW, "age": 400.0}) == (row["backlog"], row["oldest"])
    assert (3, 400.0) == (totals["backlog"]["unrouted"], totals["oldest_age"])
    assert [f"Event {numbers[0]} has been waiting for 6 min"] == [text[:34] for text in row["noteworthy"]]
    desk.run()
    row = source(desk, "roomz")
    assert (0, None, []) == (row["backlog"], row["oldest"], row["noteworthy"])


def test_secret_that_matched_and_last_event(desk: Inbox) -> None:
    """By its number, to the minute."""
    desk.receive("roomz")
    row = source(desk, "roomz")
    assert [{"secret": 1, "last_matched_at": NOW}] == row["secrets"]
    assert ("roomz", "/in/roomz", NOW, True) == (
        row["provider"], row["address"], row["last_event_at"], row["configured"],
    )  # fmt: skip


def test_what_is_gone_from_the_settings_stays_visible(desk: Inbox, tmp_path: Path) -> None:
    """Its events, and calls of addresses that no source has."""
    desk.receive("open", {"id": "a", "type": "x"})
    refuse(desk, "nobody")
    with Inbox(tmp_path, sources={}) as other:
        found = overview(other.runtime)
        other.runtime.watching.close()
    unknown, gone = found["sources"]
    assert (0, "", None, False) == (
        found["totals"]["configured"], unknown["source"], unknown["address"], unknown["configured"],
    )  # fmt: skip
    assert ["Requests to addresses that no source has: 1 in the last hour."] == unknown["noteworthy"]
    assert ("open", None) == (gone["source"], gone["provider"])
    assert gone["noteworthy"][-1].startswith("It is not configured any more: its sender gets 404.")


def test_totals_tell_of_processes_and_room(desk: Inbox) -> None:
    """Whether a worker lives, what is free, and what is wrong, as `/readyz` says it."""
    totals = overview(desk.runtime)["totals"]
    assert (False, "no worker has ever run here") == (
        totals["processes"]["worker"]["alive"], totals["processes"]["worker"]["text"],
    )  # fmt: skip
    assert {"worker": "no worker has ever run here"} == totals["problems"]
    assert 0 < totals["headroom"] < totals["disk_free"]
    desk.runtime.watching.watch.beat("worker", desk.clock(), desk.clock.steady())
    desk.advance(10)
    totals = overview(desk.runtime)["totals"]
    assert {"alive": True, "age": 10.0, "since": NOW, "text": "gives signs of life"} == totals["processes"]["worker"]
    assert {} == totals["problems"]


def test_alarms_that_are_on_are_shown(desk: Inbox) -> None:
    """At their source with what to do, and all of them together; those that are off are not."""
    silent = Watched("silence", "roomz", True, NOW - 60, 0, "last event 9 h 0 min ago")
    book = desk.runtime.watching.alarm_book
    others = [
        Watched("silence", "open", False, NOW, 0, ""),
        Watched("disk", "", True, NOW, 0, "full"),
        Watched("dead", "open", True, NOW, 0, "a handler of the same name"),
    ]
    book.record([silent, *others], [], [], [])
    found = overview(desk.runtime)
    assert ["dead", "disk", "silence"] == sorted(alarm["alarm"] for alarm in found["alarms"])
    (text,) = row_of(found["sources"], source="roomz")["noteworthy"]
    assert text.startswith("Alarm silence: last event 9 h 0 min ago. Ask the sender")
    assert [] == row_of(found["sources"], source="open")["noteworthy"]


def test_refusals_stand_out_with_what_to_do(desk: Inbox) -> None:
    """If they are half of what came: the most frequent reason, and what to change."""
    refuse(desk)
    (text,) = source(desk, "roomz")["noteworthy"]
    assert text.startswith("1 of 1 requests in the last hour were refused, mostly not_authentic (missing). Set the")
    for _ in range(2):
        desk.receive("roomz")
    desk.run()
    assert [] == source(desk, "roomz")["noteworthy"]


@pytest.mark.parametrize(
    ("body", "begins"),
    [
        (FAILING, "Dead: 1. A handler gave up on them. Correct it, then `inbox replay --source open"),
        (b"no json", "Quarantined: 1, of which 1 in the last day"),
    ],
)
def test_what_was_not_handled_stands_out(desk: Inbox, body: Any, begins: str) -> None:
    """Dead and quarantined events, as long as they are."""
    desk.receive("open", body)
    for _ in range(2):
        desk.run()
        desk.advance(61)
        desk.sweep()
    assert source(desk, "open")["noteworthy"][0].startswith(begins)


def test_conflicts_and_held_requests_stand_out() -> None:
    """Both want somebody to decide."""
    none = {"accepted": 1, "duplicate": 0, "conflict": 0, "quarantined": 0, "refused": 0, "failing": 0, "reasons": {}}
    row = {
        "source": "s", "configured": True, "alarms": [], "held": 2, "oldest": None,
        "counts": {span: {**none, "conflict": 1} for span in ("hour", "day", "total")},
        "dead": 0, "quarantined": 0,
    }  # fmt: skip
    assert ["In conflict:", "Refused and"] == [" ".join(text.split()[:2]) for text in noteworthy(row)]


def test_the_overview_never_loads_a_handler(desk: Inbox) -> None:
    """It runs in the receiver's process."""
    runtime = receiver_of(desk)
    overview(runtime)
    assert "registry" not in vars(runtime)
    runtime.watching.close()
    runtime.close()
