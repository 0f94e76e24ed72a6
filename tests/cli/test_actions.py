"""`inbox ignore`, `cancel`, `actions`, `pause`, `resume`, and a replay that is left to the worker or broken off."""

import getpass
from typing import Any

import pytest

from inbox.store.sql.actions import SqliteActing
from inbox.testing import Inbox
from inbox.tools.doctor.database import pauses
from tests.cli.conftest import Cli

ME = getpass.getuser()


@pytest.fixture
def three(inbox: Inbox) -> Inbox:
    """Three events that were handled."""
    for _ in range(3):
        inbox.receive("roomz")
    inbox.run()
    return inbox


def later(inbox: Inbox) -> None:
    """Let the worker find by itself what was begun; the command's clock is that of this machine."""
    inbox.advance(1e10)
    inbox.sweep()
    inbox.run()


def test_a_replay_in_the_background_is_done_by_the_worker(three: Inbox, cli: Cli) -> None:
    """The command says which action it is, that no worker runs, and ends; the list has its progress."""
    result = cli("replay", "--source", "roomz", "--yes", "--background", "--why", "the CRM was down")
    assert "action 1 was begun: 3 events; `inbox actions` tells how far it is\n" == result.stdout
    assert "done when `inbox run` or `inbox worker` runs" in result.stderr
    (row,) = cli.json("actions")
    assert ("replay", "waiting", 0, 3, ME, "the CRM was down") == tuple(
        row[name] for name in ("kind", "state", "events", "total", "who", "why")
    )
    later(three)
    (row,) = cli.json("actions")
    assert ("done", 3, {"created": 6}) == tuple(row[name] for name in ("state", "events", "results"))
    printed = cli("actions").stdout
    assert "3/3" in printed
    assert "6 created" in printed


@pytest.mark.parametrize("option", ["--json", "--dry-run"])
def test_the_background_tells_no_more_than_its_number(three: Inbox, cli: Cli, option: str) -> None:
    """What became of each event only the foreground knows."""
    assert "--background" in cli("replay", "1", "--background", option, code=2).stderr
    assert [] == cli.json("actions")


def test_a_replay_that_is_interrupted_is_stopped(three: Inbox, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C: what was done stays done and the worker does not go on."""
    _break_off(monkeypatch, KeyboardInterrupt())
    cli("replay", "--source", "roomz", "--yes", code=1)
    later(three)
    (row,) = cli.json("actions")
    assert ("stopped", 1, f"stopped by {ME}") == tuple(row[name] for name in ("state", "events", "error"))


def test_a_replay_that_broke_off_goes_on(three: Inbox, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's end in the middle leaves the rest to the worker, each event once."""
    _break_off(monkeypatch, SystemExit(9))
    cli("replay", "--source", "roomz", "--yes", "--handler", "own.one", code=9)
    assert ("running", 1) == tuple(cli.json("actions")[0][name] for name in ("state", "events"))
    later(three)
    (row,) = cli.json("replays")
    assert ("done", 3, 3) == tuple(row[name] for name in ("state", "events", "deliveries"))
    assert [3] * 3 == [len(three.event(number)["deliveries"]) for number in (1, 2, 3)]


def _break_off(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let a command end in this way after the first of its steps of one event."""
    monkeypatch.setattr("inbox.cli.replay.AT_ONCE", 1)
    step, gone = SqliteActing.step, []

    def breaking(acting: SqliteActing, *arguments: Any, **options: Any) -> Any:
        if len(gone) == 1:
            gone.append(2)
            raise error
        gone.append(1)
        return step(acting, *arguments, **options)

    monkeypatch.setattr(SqliteActing, "step", breaking)


def test_an_action_is_stopped_by_its_number(three: Inbox, cli: Cli) -> None:
    """Once; what has ended, or never was, is an error."""
    cli("replay", "--source", "roomz", "--yes", "--background")
    assert "action 1 stopped after 0 of 3 events\n" == cli("actions", "--stop", "1").stdout
    assert "action 1 has ended: it is stopped" in cli("actions", "--stop", "1", code=1).stderr
    assert "there is no action 9" in cli("actions", "--stop", "9", code=1).stderr


def test_ignore_asks_and_says_what_it_did(inbox: Inbox, cli: Cli) -> None:
    """Quarantined events and conflicts are ignored, others are not, and are counted."""
    numbers = [inbox.receive("roomz", b"[%d]" % n).id for n in range(3)]
    good = inbox.receive("roomz").id
    assert "Ignore 3 events? [y/N]:" in cli("ignore", "--source", "roomz", text="n\n", code=1).stderr
    assert [] == cli.json("actions")
    printed = cli("ignore", str(numbers[0]), str(good), "--yes", "--why", "a test of theirs").stdout
    assert "1 events ignored; 1 neither quarantined nor in conflict\n" == printed
    assert "2 events ignored\n" == cli("ignore", "--status", "quarantined", "--yes").stdout
    assert sorted(numbers) == sorted(row["id"] for row in cli.json("events", "--status", "ignored"))
    assert "name events by ID, or by at least one filter" in cli("ignore", code=2).stderr
    assert "action 3 was begun" in cli("ignore", str(good), "--background").stdout


def test_cancel_takes_filters(inbox: Inbox, cli: Cli) -> None:
    """What waits of the events that match; the question says of how many."""
    for _ in range(3):
        inbox.receive("roomz")
    inbox.dispatcher.route()
    question = "Cancel what waits of 3 events? [y/N]:"
    assert question in cli("cancel", "--source", "roomz", text="n\n", code=1).stderr
    assert "3 deliveries cancelled\n" == cli("cancel", "--source", "roomz", "--handler", "own.one", "--yes").stdout
    assert "nothing to cancel in events that are dead" in cli("cancel", "--status", "dead", "--yes", code=1).stderr
    assert "name events by ID" in cli("cancel", "1", "--source", "roomz", "--handler", "own.one", code=2).stderr


def test_pause_and_resume(inbox: Inbox, cli: Cli) -> None:
    """What is paused is listed, shown with its event, told by the doctor, and runs after it is resumed."""
    _ = inbox.dispatcher
    assert "the handler own.one is paused\n" == cli("pause", "handler", "own.one", "--why", "moving").stdout
    assert "the handler own.one was paused already\n" == cli("pause", "handler", "own.one").stdout
    number = inbox.receive("roomz").id
    inbox.run()
    (row,) = cli.json("pause")
    assert ("handler", "own.one", ME, "moving", 1) == tuple(
        row[name] for name in ("kind", "name", "who", "why", "waiting")
    )
    assert "own.one: pending, paused" in cli("show", str(number)).stdout
    assert {"own.one": True, "own.two": False, "own.fail": False} == {
        row["handler"]: row["paused"] for row in cli.json("handlers")
    }
    (told,) = pauses(inbox.runtime)
    assert ("warning", "`inbox resume handler own.one`") == (told.level, told.advice)
    assert told.found.endswith(f"by {ME}; 1 deliveries wait")
    assert "the handler own.one is resumed\n" == cli("resume", "handler", "own.one").stdout
    later(inbox)
    assert "succeeded" == inbox.event(number)["status"]
    assert "Nothing is paused." in cli("pause").stdout


def test_a_wrong_name_is_refused_with_those_that_are_there(inbox: Inbox, cli: Cli) -> None:
    """And one that is missing is asked for."""
    _ = inbox.dispatcher
    assert "there is no handler own.on; there are: own.fail, own.one, own.two" in (
        cli("pause", "handler", "own.on", code=1).stderr
    )
    assert "there is no source acme; there are: open, roomz" in cli("pause", "source", "acme", code=1).stderr
    assert "which source?" in cli("pause", "source", code=2).stderr
    assert "the source open is not paused; paused: nothing" in cli("resume", "source", "open", code=1).stderr
