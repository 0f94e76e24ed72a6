"""Actions on many events: step by step, by a worker between its batches, and gone on with by whoever comes next."""

import json
from pathlib import Path
from typing import Any

import pytest

from inbox.replay.action_runner import page
from inbox.store.protocols import Filter
from inbox.testing import Inbox
from inbox.ui.services import actions

HANDLERS = """
from inbox import *

@handles("roomz")
def one(event): pass

@handles("roomz")
def two(event): pass
"""


@pytest.fixture
def five(inbox: Inbox, handlers: Path) -> Inbox:
    """Five events that both handlers have handled."""
    (handlers / "own.py").write_text(HANDLERS)
    for _ in range(5):
        inbox.receive("roomz")
    inbox.run()
    return inbox


def begin(inbox: Inbox, kind: Any = "replay", **options: Any) -> int:
    about = {} if options.keys() & {"ids", "wanted"} else {"wanted": Filter()}
    return actions.begin(inbox.runtime, kind, who="ann", why="a test", **about, **options)


def row(inbox: Inbox, number: int) -> dict[str, Any]:
    return inbox.runtime.acting.action(number)


def runs(inbox: Inbox, event_id: int) -> list[tuple[str, int, str]]:
    return [(each["handler"], each["replay_id"], each["status"]) for each in inbox.event(event_id)["deliveries"]]


def test_the_worker_does_an_action_between_its_batches(five: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step each time, and what comes while it goes on has its turn and is not part of it."""
    monkeypatch.setattr("inbox.replay.action_runner.AT_ONCE", 2)
    number = begin(five, handler="own.one")
    five.dispatcher.work()
    assert ("running", 2, 5) == tuple(row(five, number)[name] for name in ("state", "events", "total"))
    late = five.receive("roomz").id
    five.dispatcher.work()
    assert ("own.one", 0, "succeeded") in runs(five, late)
    five.run()
    assert ("done", 5, 5, {"created": 5}) == tuple(
        row(five, number)[name] for name in ("state", "events", "deliveries", "results")
    )
    for event_id in range(1, 6):
        assert ("own.one", number, "succeeded") in runs(five, event_id)
        assert 3 == len(runs(five, event_id))
    assert [("own.one", 0, "succeeded"), ("own.two", 0, "succeeded")] == runs(five, late)


def test_one_event_goes_the_same_way(five: Inbox) -> None:
    """As many, by id; in the order given, each once."""
    number = begin(five, ids=[3])
    five.run()
    assert ("done", 1, 2) == tuple(row(five, number)[name] for name in ("state", "events", "deliveries"))
    number = begin(five, ids=[4, 1, 4])
    assert ({"ids": [4, 1]}, 2) == (json.loads(row(five, number)["selection"]), row(five, number)["total"])
    five.run()
    assert "done" == row(five, number)["state"]


def test_a_lost_message_is_found_by_the_sweep(five: Inbox) -> None:
    """The row is the job."""
    number = begin(five)
    five.queue.lose()
    five.run()
    assert "waiting" == row(five, number)["state"]
    five.sweep()
    five.run()
    assert "done" == row(five, number)["state"]


def test_what_nobody_holds_any_more_goes_on(five: Inbox) -> None:
    """A command that died had done two of five: the worker does the other three, and none of the two again."""
    number = begin(five, handler="own.one", hold=10.0)
    five.runtime.performer.step(row(five, number), 2, hold=10.0)
    five.sweep()
    five.run()
    assert 2 == row(five, number)["events"]
    five.advance(11.0)
    five.sweep()
    five.run()
    assert ("done", 5, 5) == tuple(row(five, number)[name] for name in ("state", "events", "deliveries"))
    assert [3] * 5 == [len(runs(five, event_id)) for event_id in range(1, 6)]


def test_a_pace_is_kept_by_the_worker(five: Inbox) -> None:
    """An event every two seconds."""
    number = begin(five, rate=0.5)
    done = []
    for _ in range(12):
        five.run()
        done.append(row(five, number)["events"])
        five.advance(1.0)
    assert [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 5] == done
    assert "done" == row(five, number)["state"]


@pytest.mark.parametrize(("takes", "wait"), [(0.0, 2.0), (1.5, 0.5), (5.0, 0.0)])
def test_what_a_step_takes_is_part_of_its_pace(
    five: Inbox, monkeypatch: pytest.MonkeyPatch, takes: float, wait: float
) -> None:
    """Or an action whose steps take long would be slower than it was asked to be."""
    number = begin(five, rate=0.5)

    def slow(*given: Any) -> Any:
        five.clock.now += takes
        return page(*given)

    monkeypatch.setattr("inbox.replay.action_runner.page", slow)
    begun = five.clock.steady()
    assert wait == five.runtime.performer.some()
    assert begun + 2.0 == row(five, number)["held_until"]


def test_actions_take_turns(five: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small one need not wait for the end of a large one."""
    monkeypatch.setattr("inbox.replay.action_runner.AT_ONCE", 1)
    large, small = begin(five), begin(five, ids=[5])
    for _ in range(4):
        five.advance(0.1)
        five.dispatcher.work()
    assert ("running", "done") == (row(five, large)["state"], row(five, small)["state"])


def test_a_stopped_action_stays_where_it_is(five: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it did stays done."""
    monkeypatch.setattr("inbox.replay.action_runner.AT_ONCE", 2)
    number = begin(five)
    five.dispatcher.work()
    assert actions.stop(five.runtime, number, "bob")
    assert not actions.stop(five.runtime, number, "bob")
    five.run()
    assert ("stopped", 2, "stopped by bob") == tuple(row(five, number)[name] for name in ("state", "events", "error"))


def test_an_action_that_cannot_be_done_fails_alone(five: Inbox, logs: list[Any]) -> None:
    """It says why, and the next one is done."""
    broken = begin(five)
    with five.runtime.acting._connection.write() as connection:  # type: ignore[attr-defined]
        connection.execute("UPDATE actions SET selection = '{\"colour\": 1}'")
    whole = begin(five, ids=[1])
    five.run()
    assert ("failed", "done") == (row(five, broken)["state"], row(five, whole)["state"])
    assert "colour" in row(five, broken)["error"]
    assert ["action.failed"] == [entry["event"] for entry in logs if entry["log_level"] == "error"]


def test_what_cannot_be_run_is_counted_with_its_reason(five: Inbox) -> None:
    """Still invalid, without a handler, or pruned; the others run."""
    bad = five.receive("roomz", b"[]").id
    other = five.receive("lemlist").id
    five.run()
    number = begin(five, ids=[1, bad, other])
    with five.runtime.acting._connection.write() as connection:  # type: ignore[attr-defined]
        connection.execute("UPDATE events SET body_pruned_at = 1.0 WHERE id = 1")
    five.run()
    assert {"invalid": 1, "no handler": 1, "pruned": 1} == row(five, number)["results"]
    assert "quarantined" == five.event(bad)["status"]
    number = begin(five, ids=[bad], force=True)
    five.run()
    assert ({"created": 2}, "succeeded") == (row(five, number)["results"], five.event(bad)["status"])


def test_ignored_events_are_checked_again_when_they_are_replayed(five: Inbox) -> None:
    """Still invalid, they stay ignored; a conflict runs."""
    bad = five.receive("roomz", b"[]").id
    request = five.signed("roomz")
    first = five.accept("roomz", request).id
    five.run()
    ignored = begin(five, "ignore", wanted=Filter(source="roomz"))
    five.run()
    assert ({"ignored": 1}, "ignored", "succeeded") == (
        row(five, ignored)["results"],
        five.event(bad)["status"],
        five.event(first)["status"],
    )
    number = begin(five, wanted=Filter(status="ignored"))
    five.run()
    assert ({"invalid": 1}, "ignored") == (row(five, number)["results"], five.event(bad)["status"])


def test_cancel_by_filter_ends_what_waits(five: Inbox, handlers: Path) -> None:
    """Of these events and for this handler; what is named otherwise, or has ended, stays."""
    for _ in range(3):
        five.receive("roomz")
    five.dispatcher.route()
    number = begin(five, "cancel", wanted=Filter(source="roomz", after=6), handler="own.two")
    assert 2 == row(five, number)["total"]
    while row(five, number)["state"] != "done":
        five.runtime.performer.some()
    assert 2 == row(five, number)["deliveries"]
    assert ["pending", "cancelled", "cancelled"] == [runs(five, n)[1][2] for n in (6, 7, 8)]
    assert "cancelled by ann: a test" == five.event(8)["deliveries"][1]["error"]
    five.run()
    assert ["succeeded"] * 3 == [five.event(n)["status"] for n in (6, 7, 8)]


def test_a_pause_ends_in_steps(five: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are accepted and routed meanwhile; after it all that waited is handled, and the pause is gone."""
    monkeypatch.setattr("inbox.replay.action_runner.FREED_AT_ONCE", 2)
    assert actions.pause(five.runtime, "handler", "own.two", who="ann", why="moving")
    for _ in range(5):
        five.receive("roomz")
    five.run()
    assert {"own.two": 5} == five.runtime.archive.backlog()
    (pause,) = actions.pauses(five.runtime)
    assert ("handler", "own.two", "ann", "moving", 5, None) == tuple(
        pause[name] for name in ("kind", "name", "who", "why", "waiting", "ended_at")
    )
    assert 0 == five.sweep()
    actions.resume(five.runtime, "handler", "own.two", who="bob")
    five.run()
    assert ({}, []) == (five.runtime.archive.backlog(), actions.pauses(five.runtime))
    assert ["succeeded"] * 10 == [event["status"] for event in five.events()]
