"""The clock is set while work is in progress: nothing is lost, doubled or put off for long."""

from pathlib import Path
from typing import Any

import pytest

from inbox.core.errors import NotAuthentic
from inbox.core.models import Request
from inbox.testing import Inbox

HOUR = 3600.0
FIRST_FAILS = """
from inbox import *
@handles("roomz", backoff=0)
def one(event):
    if event.attempt == 1:
        raise Retry(after=120)
"""
OUTSIDE = """
import builtins
from inbox import *
@handles("roomz")
def one(event):
    return [builtins.meanwhile(), event.still_mine()]
"""


def write(handlers: Path, code: str) -> None:
    (handlers / "own.py").write_text(code)


def delivery(inbox: Inbox) -> dict[str, Any]:
    (found,) = inbox.event(1)["deliveries"]
    return dict(found)


def results(inbox: Inbox) -> list[str]:
    return [run["result"] for run in delivery(inbox)["runs"]]


def claimed(inbox: Inbox) -> None:
    """Have a delivery claimed by a worker that dies."""
    inbox.receive("roomz")
    inbox.dispatcher.route()
    at, steady = inbox.clock(), inbox.clock.steady()
    assert inbox.dispatcher._work.claim(1, token="gone", worker="w", at=at, lease=30.0, steady=steady) is not None
    inbox.queue.lose()


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_running_delivery_is_not_taken_over_when_the_clock_is_set(
    inbox: Inbox, handlers: Path, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker sweeps and tries while the handler runs: the lease holds, and the outcome counts."""
    write(handlers, OUTSIDE)

    def meanwhile() -> int:
        inbox.set_clock(jump)
        inbox.sweep()
        inbox.run()
        return len(inbox.event(1)["deliveries"][0]["runs"])

    monkeypatch.setattr("builtins.meanwhile", meanwhile, raising=False)
    inbox.receive("roomz")
    inbox.run()
    assert (["succeeded"], "[1, true]", 0) == (
        results(inbox), delivery(inbox)["value"], delivery(inbox)["crashes"],
    )  # fmt: skip


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_crash_is_noticed_after_one_lease_although_the_clock_is_set(
    inbox: Inbox, handlers: Path, jump: float
) -> None:
    """Neither at once nor an hour later."""
    write(handlers, 'from inbox import *\n@handles("roomz")\ndef one(event): pass')
    claimed(inbox)
    inbox.set_clock(jump)
    inbox.advance(29)
    inbox.sweep()
    inbox.run()
    assert ["running"] == results(inbox)
    inbox.advance(1)
    inbox.sweep()
    inbox.run()
    assert ["crashed", "succeeded"] == results(inbox)


def test_a_lease_ends_when_the_machine_starts_anew(inbox: Inbox, handlers: Path) -> None:
    """The steady clock begins again at 0: what was claimed later than now was claimed before."""
    write(handlers, 'from inbox import *\n@handles("roomz")\ndef one(event): pass')
    claimed(inbox)
    inbox.clock.jumped = inbox.clock.now - 5.0
    assert 1 == inbox.sweep()
    inbox.run()
    assert ["crashed", "succeeded"] == results(inbox)


def test_a_retry_comes_after_its_pause_although_the_clock_is_set_back(
    inbox: Inbox, handlers: Path, logs: list[Any]
) -> None:
    """The pause begins again with the next sweep, and is no hour longer; the log says so once."""
    write(handlers, FIRST_FAILS)
    inbox.receive("roomz")
    inbox.run()
    inbox.queue.lose()
    inbox.advance(60)
    inbox.set_clock(-HOUR)
    for expected in (["retry"], ["retry", "succeeded"]):
        inbox.sweep()
        inbox.advance(60)
        inbox.run()
        assert expected == results(inbox)
    assert 1 == [entry["event"] for entry in logs].count("clock.set_back")


def test_what_waits_to_run_at_once_does_so_although_the_clock_is_set_back(inbox: Inbox, handlers: Path) -> None:
    """A delivery that was made and not yet claimed, whose wake-up is lost."""
    write(handlers, 'from inbox import *\n@handles("roomz")\ndef one(event): pass')
    inbox.receive("roomz")
    inbox.dispatcher.route()
    inbox.queue.lose()
    inbox.set_clock(-HOUR)
    inbox.sweep()
    inbox.run()
    assert ["succeeded"] == results(inbox)


def test_the_clock_goes_to_and_fro_and_every_event_is_handled_once(inbox: Inbox, handlers: Path) -> None:
    """Events come at every hour that the clock shows, with failures in between."""
    write(handlers, FIRST_FAILS)
    for jump in (HOUR, -HOUR, -HOUR, HOUR, HOUR):
        inbox.receive("roomz")
        inbox.run()
        inbox.set_clock(jump)
        inbox.queue.lose()
        inbox.sweep()
        inbox.run()
    for _ in range(4):
        inbox.advance(60)
        inbox.sweep()
        inbox.run()
    assert [["retry", "succeeded"]] * 5 == [
        [run["result"] for run in inbox.event(event["id"])["deliveries"][0]["runs"]] for event in inbox.events()
    ]


def test_small_corrections_of_the_clock_change_nothing(inbox: Inbox, handlers: Path, logs: list[Any]) -> None:
    """Less than a second, as between two processes."""
    write(handlers, FIRST_FAILS)
    inbox.receive("roomz")
    inbox.run()
    before = delivery(inbox)["due_at"]
    inbox.set_clock(-0.5)
    inbox.sweep()
    assert before == delivery(inbox)["due_at"]
    assert "clock.set_back" not in [entry["event"] for entry in logs]


DAY = 24 * HOUR
WEEK_OLD = """
from inbox import *
@handles("roomz", max_age=7 * 86400)
def one(event):
    raise Retry(after=60)
"""


@pytest.mark.parametrize("jump", [40 * DAY, -40 * DAY])
@pytest.mark.parametrize("looked", [True, False])
def test_a_delivery_is_not_given_up_for_its_age_because_the_clock_was_set(
    inbox: Inbox, handlers: Path, jump: float, looked: bool
) -> None:
    """max_age counts the time that passed, also in the seconds before the jump is noticed; then it is used up."""
    write(handlers, WEEK_OLD)
    inbox.receive("roomz")
    inbox.run()
    inbox.set_clock(jump)
    if looked:
        inbox.runtime.watching.timekeeper.look()
    for _ in range(3):
        inbox.advance(61)
        inbox.sweep()
        inbox.run()
    assert "retrying" == delivery(inbox)["status"]
    inbox.set_clock(-jump)
    inbox.sweep()
    inbox.advance(8 * DAY)
    inbox.sweep()
    inbox.run()
    assert ("dead", "retry") == (delivery(inbox)["status"], results(inbox)[-1])


def test_a_delivery_made_by_a_clock_that_stood_in_the_past_is_not_too_old(inbox: Inbox, handlers: Path) -> None:
    """As a machine without a battery makes it, before its clock is set."""
    write(handlers, WEEK_OLD)
    inbox.runtime.watching.timekeeper.look()
    inbox.set_clock(-400 * DAY)
    inbox.receive("roomz")
    inbox.run()
    inbox.runtime.watching.timekeeper.look()
    inbox.set_clock(400 * DAY)
    inbox.advance(61)
    inbox.sweep()
    inbox.run()
    assert ("retrying", 2) == (delivery(inbox)["status"], len(results(inbox)))


@pytest.mark.parametrize("looked", [True, False])
def test_a_copy_is_one_although_the_clock_was_set(tmp_path: Path, looked: bool) -> None:
    """A captured request of a source with a window runs no second time while the clock is weeks ahead."""
    sources = {"open": {"provider": "unsigned", "event_id": ["json:/id"], "dedupe_for": HOUR}}
    with Inbox(tmp_path, sources=sources) as inbox:
        request = inbox.signed("open", b'{"id": "one"}')
        assert "accepted" == inbox.accept("open", request).status
        inbox.set_clock(40 * DAY)
        if looked:
            inbox.runtime.watching.timekeeper.look()
        assert "duplicate" == inbox.accept("open", request).status
        inbox.set_clock(-40 * DAY)
        assert "duplicate" == inbox.accept("open", request).status
        inbox.advance(HOUR + 1)
        assert "accepted" == inbox.accept("open", request).status


@pytest.mark.parametrize("looked", [True, False])
def test_held_requests_stay_although_the_clock_was_set(tmp_path: Path, logs: list[Any], looked: bool) -> None:
    """Neither the sweep nor the next request that is to be held takes their place."""
    sources = {"roomz": {"provider": "roomz", "on_unverified": "hold", "hold_requests": 1, "secrets": ["other"]}}
    with Inbox(tmp_path, sources=sources) as inbox:
        wrong = Request(body=b"{}")

        def refused() -> None:
            with pytest.raises(NotAuthentic):
                inbox.accept("roomz", wrong)

        def there() -> list[int]:
            return [row["id"] for row in inbox.runtime.archive.list_held("roomz")]

        refused()
        inbox.set_clock(40 * DAY)
        if looked:
            inbox.runtime.watching.timekeeper.look()
        inbox.sweep()
        refused()
        assert ([1], 0) == (there(), [entry["event"] for entry in logs].count("held.expired"))
        inbox.set_clock(-40 * DAY)
        inbox.advance(7 * DAY + 1)
        inbox.sweep()
        assert [] == there()
        refused()
        assert [2] == there()


def test_the_log_says_what_the_clock_did(inbox: Inbox, logs: list[Any]) -> None:
    """Once each: what happened, by how much, and what follows."""
    keeper = inbox.runtime.watching.timekeeper
    for jump in (0.0, 40 * DAY, 0.0, -40 * DAY, 0.0):
        inbox.set_clock(jump)
        inbox.advance(60)
        keeper.look()
    said = [(entry["event"], entry["seconds"]) for entry in logs if entry["event"].startswith("clock.")]
    assert [("clock.jumped", 40 * DAY), ("clock.returned", 40 * DAY)] == said
    assert "nothing is deleted for its age" in next(e["then"] for e in logs if e["event"] == "clock.jumped")
