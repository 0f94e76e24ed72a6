"""The clock is set while work is in progress: nothing is lost, doubled or put off for long."""

from pathlib import Path
from typing import Any

import pytest

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
