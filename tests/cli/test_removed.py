"""What is removed from the configuration or from the handlers is still seen, named, and can be ended or run again."""

from pathlib import Path

import pytest

from inbox.core.config.settings import load
from inbox.runtime import Runtime
from inbox.store.protocols import Filter
from inbox.testing import Inbox
from inbox.ui.services import actions
from tests.cli.conftest import HANDLERS, Cli

RENAMED = HANDLERS.replace("def two(", "def new_two(")


@pytest.fixture
def orphans(inbox: Inbox, tmp_path: Path) -> Inbox:
    """Two events whose deliveries to `own.two` were not run before it was renamed."""
    for _ in range(2):
        inbox.receive("roomz")
    inbox.dispatcher.route()
    inbox.queue.lose()
    (tmp_path / "handlers" / "own.py").write_text(RENAMED)
    inbox.reload()
    inbox.run()
    return inbox


def statuses(inbox: Inbox, number: int) -> dict[str, str]:
    return {delivery["handler"]: delivery["status"] for delivery in inbox.event(number)["deliveries"]}


def remove(folder: Path, *sources: str) -> None:
    """Remove sources from inbox.toml."""
    first, *tables = (folder / "inbox.toml").read_text().split("[sources.")
    kept = [table for table in tables if table.partition("]")[0] not in sources]
    (folder / "inbox.toml").write_text("[sources.".join([first, *kept]))


def test_a_removed_source_keeps_its_events(inbox: Inbox, cli: Cli, tmp_path: Path) -> None:
    """It is listed as not configured, with its events, and each can be shown."""
    number = inbox.receive("roomz").id
    remove(tmp_path, "roomz")
    row = next(row for row in cli.json("sources") if row["source"] == "roomz")
    assert ("(not configured)", 1) == (row["provider"], row["events"])
    assert [number] == [event["id"] for event in cli.json("events", "--source", "roomz")]
    assert "workspace.presence.changed" in cli("show", str(number)).stdout


def test_an_event_of_a_removed_source_is_replayed(inbox: Inbox, cli: Cli, tmp_path: Path) -> None:
    """With the payload that is stored."""
    (tmp_path / "handlers" / "own.py").write_text(HANDLERS.replace('{"n": 1}', 'event.payload["type"]'))
    number = inbox.receive("roomz").id
    inbox.run()
    remove(tmp_path, "roomz")
    inbox.runtime.__dict__["sources"] = {}
    assert "2 deliveries made" in cli("replay", str(number)).stdout
    inbox.advance(1e9)
    inbox.sweep()
    inbox.run()
    again = [row for row in inbox.event(number)["deliveries"] if row["replay_id"] and row["handler"] == "own.one"]
    assert [("succeeded", '"workspace.presence.changed"')] == [(row["status"], row["value"]) for row in again]


def test_the_payload_of_a_removed_source_may_be_a_query(inbox: Inbox, tmp_path: Path) -> None:
    """As of a GET request: its handler gets the parameters, not None."""
    remove(tmp_path, "roomz", "open")
    request = inbox.signed("open", b"").replace(method="GET", query="a=1&b=", body=b"")
    assert {"a": "1", "b": ""} == Runtime(load(tmp_path / "inbox.toml")).read("gone", request)


def test_deliveries_of_a_renamed_handler_are_shown_as_orphaned(orphans: Inbox, cli: Cli) -> None:
    """Parked with the reason, under a handler that is gone, with how many wait."""
    assert {"own.one": "succeeded", "own.two": "parked"} == statuses(orphans, 1)
    row = next(row for row in cli.json("handlers") if row["handler"] == "own.two")
    assert ("gone", 2) == (row["state"], row["waiting"])
    assert "removed or not importable" in cli("show", "1").stdout
    assert [1, 2] == sorted(event["id"] for event in cli.json("events", "--status", "processing"))


def test_check_names_a_handler_that_is_gone(orphans: Inbox, cli: Cli) -> None:
    """A warning with the number of its deliveries and what to do; nothing is broken, so the exit code is 0."""
    warnings = [line for line in cli("check").stderr.splitlines() if "is gone" in line]
    assert 1 == len(warnings)
    for part in ("own.two is gone", "2 deliveries wait", "restore it", "`inbox cancel --handler own.two`"):
        assert part in warnings[0]


def test_a_handler_that_comes_back_gets_its_deliveries(orphans: Inbox, cli: Cli, tmp_path: Path) -> None:
    """Under its old name, and check has nothing to say any more."""
    (tmp_path / "handlers" / "own.py").write_text(HANDLERS)
    orphans.reload()
    orphans.run()
    assert {"own.one": "succeeded", "own.two": "succeeded"} == statuses(orphans, 1)
    assert "is gone" not in cli("check").stderr


def test_the_work_of_a_renamed_handler_moves_to_its_new_name(orphans: Inbox, cli: Cli) -> None:
    """As check says: replay for the new name, cancel the old; the event has then succeeded."""
    cli("replay", "--status", "processing", "--handler", "own.new_two", "--yes")
    cancelled = cli("cancel", "--handler", "own.two", "--why", "it has a new name", "--yes")
    assert "2 deliveries cancelled\n" == cancelled.stdout
    orphans.advance(1e9)
    orphans.sweep()
    orphans.run()
    assert {"own.one": "succeeded", "own.two": "cancelled", "own.new_two": "succeeded"} == statuses(orphans, 1)
    assert ["succeeded"] * 2 == [event["status"] for event in orphans.events()]
    assert "is gone" not in cli("check").stderr


def test_who_cancelled_and_why_is_shown(orphans: Inbox, cli: Cli) -> None:
    """In the place of the error, with the time."""
    cli("cancel", "1", "--handler", "own.two", "--why", "a test")
    (delivery,) = [row for row in cli.json("show", "1")[0]["deliveries"] if row["handler"] == "own.two"]
    assert delivery["error"].startswith("cancelled by ")
    assert delivery["error"].endswith(": a test")
    assert delivery["finished_at"] is not None
    assert "parked" == statuses(orphans, 2)["own.two"]


def test_a_cancelled_delivery_can_be_replayed(orphans: Inbox, cli: Cli, tmp_path: Path) -> None:
    """Nothing is final."""
    cli("cancel", "1")
    (tmp_path / "handlers" / "own.py").write_text(HANDLERS)
    orphans.reload()
    assert 1 == orphans.replay(1, "own.two").created
    orphans.run()
    assert "succeeded" == statuses(orphans, 1)["own.two"]


def test_what_runs_or_has_ended_is_not_cancelled(inbox: Inbox, cli: Cli) -> None:
    """The worker that runs it decides."""
    inbox.receive("roomz")
    inbox.dispatcher.route()
    at, steady = inbox.clock(), inbox.clock.steady()
    inbox.dispatcher._work.claim(1, token="t", worker="w", at=at, lease=30.0, steady=steady)
    inbox.dispatcher.work()
    assert "0 deliveries cancelled\n" == cli("cancel", "1").stdout
    assert {"own.one": "running", "own.two": "succeeded"} == statuses(inbox, 1)


def test_cancel_asks_and_wants_to_know_what(orphans: Inbox, cli: Cli) -> None:
    """No answer, no ids and no handler: nothing happens; an unknown id is an error."""
    cli("cancel", code=2)
    assert "Cancel 2 deliveries to own.two?" in cli("cancel", "--handler", "own.two", text="n\n", code=1).stderr
    assert "there is no event 99" in cli("cancel", "1", "99", code=1).stderr
    assert "parked" == statuses(orphans, 1)["own.two"]


def test_many_deliveries_are_cancelled_in_parts(orphans: Inbox) -> None:
    """So that no writer waits for long."""
    runtime = orphans.runtime
    number = actions.begin(runtime, "cancel", who="me", why="", wanted=Filter(), handler="own.two")
    counts = []
    while runtime.acting.action(number)["state"] != "done":
        runtime.performer.step(runtime.acting.action(number), 1)
        counts.append(runtime.acting.action(number)["deliveries"])
    assert [1, 2, 2] == counts
