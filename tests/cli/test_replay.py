"""`inbox replay` and `inbox replays`: old events again, by id or by filter, asked for and written down."""

import getpass
import json
from pathlib import Path
from typing import Any

import pytest

from inbox.deliver.queue import Queue
from inbox.store.protocols_actions import ActionStep
from inbox.store.sql.actions import SqliteActing
from inbox.testing import Inbox
from tests.cli.conftest import Cli

NO_WORKSPACE = {"id": "q", "type": "workspace.presence.changed", "timestamp": "2026-01-01T00:00:00Z", "data": 7}


@pytest.fixture
def three(inbox: Inbox) -> Inbox:
    """An inbox with three events of roomz that succeeded, a minute apart, with ids 1 to 3."""
    for _ in range(3):
        inbox.receive("roomz")
        inbox.run()
        inbox.advance(60)
    return inbox


def state(inbox: Inbox) -> list[Any]:
    """Return every event with its deliveries, and every replay."""
    rows = [inbox.event(row["id"]) for row in inbox.events()]
    return [*rows, *inbox.runtime.acting.actions(100)]


def made(inbox: Inbox) -> list[tuple[int, str, str]]:
    """Return (event, handler, status) of the deliveries that replays made, in the order in which they were made."""
    found = []
    for row in inbox.events():
        for delivery in inbox.event(row["id"])["deliveries"]:
            if delivery["replay_id"]:
                found.append((delivery["id"], row["id"], delivery["handler"], delivery["status"]))
    return [(event, handler, status) for _, event, handler, status in sorted(found)]


def waiting(folder: Path) -> int:
    """Return how many wake-ups are in the queue's file."""
    queue = Queue(folder / "queue.db", lambda: None)  # type: ignore[arg-type, return-value]
    try:
        return queue.size()
    finally:
        queue.close()


def test_one_event_runs_again_for_all_its_handlers(three: Inbox, tmp_path: Path, cli: Cli) -> None:
    """A delivery per handler, the queue woken, the worker runs them."""
    assert "1 events, 2 deliveries made\n" == cli("replay", "2").stdout
    assert [(2, "own.one", "pending"), (2, "own.two", "pending")] == made(three)
    assert (1, "processing") == (waiting(tmp_path), three.event(2)["status"])
    three.advance(1e9)
    three.sweep()
    three.run()
    assert "succeeded" == three.event(2)["status"]


def test_several_ids_run_in_the_order_given(three: Inbox, cli: Cli) -> None:
    """Without asking when --yes says so."""
    cli("replay", "3", "1", "--yes", "--handler", "own.one")
    assert [(3, "own.one", "pending"), (1, "own.one", "pending")] == made(three)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--source", "roomz"], [1, 2, 3]),
        (["--source", "open"], []),
        (["--type", "workspace.*"], [1, 2, 3]),
        (["--status", "succeeded"], [1, 2, 3]),
        (["--status", "dead"], []),
        (["--since", "2026-01-01T00:01:00Z"], [2, 3]),
        (["--until", "2026-01-01T00:01:00Z"], [1]),
        (["--source", "roomz", "--since", "2026-01-01T00:01:00Z", "--until", "2026-01-01T00:02:00Z"], [2]),
    ],
)
def test_filters_choose_events_oldest_first(options: list[str], wanted: list[int], three: Inbox, cli: Cli) -> None:
    """The same filters as `inbox events`; all must hold."""
    rows = cli.json("replay", *options, "--yes")
    assert wanted == [row["id"] for row in rows]
    assert sorted([*wanted, *wanted]) == [event for event, _, _ in made(three)]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["1", "--source", "roomz"],
        ["--yes"],
        ["--handler", "own.one"],
        ["x"],
        ["1", "--rate", "0"],
        ["--status", "tired"],
        ["--since", "lately"],
    ],
)
def test_wrong_usage_is_exit_code_2_and_does_nothing(arguments: list[str], three: Inbox, cli: Cli) -> None:
    """Neither ids nor filters, or both, or what does not parse: never "everything"."""
    before = state(three)
    assert "Error: " in cli("replay", *arguments, code=2).stderr
    assert before == state(three)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(three: Inbox, tmp_path: Path, cli: Cli) -> None:
    """No delivery, no entry in replays, no wake-up, no question."""
    before, queued = state(three), waiting(tmp_path)
    assert "3 events, 6 deliveries would be made\n" == cli("replay", "--source", "roomz", "--dry-run").stdout
    rows = cli.json("replay", "1", "2", "--dry-run", "--handler", "own.two")
    assert [(1, 1, ""), (2, 1, "")] == [(row["id"], row["created"], row["problem"]) for row in rows]
    assert (before, queued) == (state(three), waiting(tmp_path))


def test_one_event_is_replayed_without_a_question(three: Inbox, cli: Cli) -> None:
    """It was named; two are asked about."""
    assert "again?" not in cli("replay", "1").stderr


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_several_events_are_asked_about(answer: str, three: Inbox, cli: Cli) -> None:
    """The number is in the question, and no is the default, also where nobody can answer."""
    before = state(three)
    result = cli("replay", "--source", "roomz", code=1, text=answer)
    assert "Run 3 events again? [y/N]:" in result.stderr
    assert before == state(three)


def test_yes_is_an_answer(three: Inbox, cli: Cli) -> None:
    """Then it runs."""
    assert "3 events, 6 deliveries made\n" == cli("replay", "--source", "roomz", text="y\n").stdout


def test_a_paced_replay_does_all_of_it_in_order(three: Inbox, cli: Cli) -> None:
    """--rate spreads the events; none is skipped and the order stays."""
    cli("replay", "--source", "roomz", "--yes", "--rate", "50", "--handler", "own.one")
    assert [1, 2, 3] == [event for event, _, _ in made(three)]


def test_an_unknown_handler_is_an_error(three: Inbox, cli: Cli) -> None:
    """A typing error must not look like a success."""
    before = state(three)
    result = cli("replay", "1", "--handler", "own.on", code=1)
    assert "inbox: there is no handler own.on; `inbox handlers` lists them\n" == result.stderr
    assert before == state(three)


def test_an_unknown_id_stops_everything_before_it_starts(three: Inbox, cli: Cli) -> None:
    """Nothing is half done, and nothing is written down."""
    before = state(three)
    assert "inbox: there is no event 99\n" == cli("replay", "1", "99", "--yes", code=1).stderr
    assert before == state(three)


def test_a_handler_that_did_not_exist_can_have_old_events(three: Inbox, tmp_path: Path, cli: Cli) -> None:
    """Written today, run on yesterday's events, alone."""
    (tmp_path / "handlers" / "new.py").write_text("from inbox import handles\n@handles('*')\ndef late(event): pass\n")
    cli("replay", "--source", "roomz", "--yes", "--handler", "new.late")
    assert [(number, "new.late", "pending") for number in (1, 2, 3)] == made(three)


def test_who_replayed_what_and_why_is_written_down(three: Inbox, cli: Cli) -> None:
    """Newest first, with the selection and what it came to."""
    cli("replay", "1", "--why", "the CRM was down", "--handler", "own.one")
    cli("replay", "--source", "roomz", "--since", "2026-01-01T00:01:00Z", "--yes")
    by_filter, by_id = cli.json("replays")
    assert (getpass.getuser(), "the CRM was down", "own.one", 1, 1) == tuple(
        by_id[key] for key in ("who", "why", "handler", "events", "deliveries")
    )
    assert ({"ids": [1]}, "roomz", (2, 4)) == (
        json.loads(by_id["selection"]),
        json.loads(by_filter["selection"])["source"],
        (by_filter["events"], by_filter["deliveries"]),
    )
    assert by_id["ended_at"] >= by_id["at"]
    assert "the CRM was down" in cli("replays").stdout
    assert [by_filter["id"]] == [row["id"] for row in cli.json("replays", "--limit", "1")]


def test_a_quarantined_event_that_is_still_invalid_does_not_run(inbox: Inbox, cli: Cli) -> None:
    """It is counted, stays quarantined, and the owner is told where to look."""
    number = inbox.receive("roomz", NO_WORKSPACE).id
    printed = cli("replay", str(number)).stdout
    assert "1 events, 0 deliveries made; 1 still invalid (`inbox show ID` says where)\n" == printed
    assert ("quarantined", []) == (inbox.event(number)["status"], made(inbox))
    assert "invalid" == cli.json("replay", str(number))[0]["problem"]
    assert "invalid" == cli.json("replay", str(number), "--dry-run")[0]["problem"]


def test_force_runs_it_anyway(inbox: Inbox, cli: Cli) -> None:
    """The owner knows better than the schema."""
    number = inbox.receive("roomz", NO_WORKSPACE).id
    assert "1 events, 2 deliveries made\n" == cli("replay", str(number), "--force").stdout
    assert [(number, "own.one", "pending"), (number, "own.two", "pending")] == made(inbox)


def test_a_quarantined_event_runs_when_the_schema_is_mended(inbox: Inbox, tmp_path: Path, cli: Cli) -> None:
    """All that were quarantined, in one go."""
    number = inbox.receive("roomz", NO_WORKSPACE).id
    for path in (tmp_path / "schemas" / "roomz").glob("*.json"):
        path.write_text("true")
    assert "1 events, 2 deliveries made\n" == cli("replay", "--status", "quarantined").stdout
    assert ("processing", []) == (inbox.event(number)["status"], inbox.event(number)["violations"])


def test_an_event_without_a_handler_is_counted(inbox: Inbox, cli: Cli) -> None:
    """Nothing is made of it, and that is said."""
    number = inbox.receive("open", {"id": "1", "type": "other"}).id
    assert "1 events, 0 deliveries made; 1 without a handler that matches\n" == cli("replay", str(number)).stdout


def test_work_that_waits_is_made_due_and_not_doubled(inbox: Inbox, cli: Cli) -> None:
    """An event whose first deliveries have not run yet."""
    inbox.receive("roomz")
    inbox.dispatcher.route()
    assert "1 events, 0 deliveries made; 2 made due at once\n" == cli("replay", "1").stdout
    (row,) = cli.json("replay", "1")
    assert {"id": 1, "created": 0, "expedited": 2, "running": 0, "problem": ""} == row


def test_one_bad_event_does_not_break_the_rest(three: Inbox, cli: Cli) -> None:
    """What cannot be read is named and counted, the others run, and the exit code says that something failed."""
    bad = three.receive("roomz", NO_WORKSPACE).id
    last = three.receive("roomz").id
    three.run()
    with three.runtime.archive._connection.write() as connection:  # type: ignore[attr-defined]
        connection.execute("DELETE FROM bodies WHERE event_id = ?", (bad,))
    for options in (["--dry-run"], []):
        result = cli("replay", "--source", "roomz", "--yes", "--handler", "own.one", *options, code=1)
        assert f"inbox: event {bad}: " in result.stderr
        assert "5 events, 4 deliveries" in result.stdout
        assert result.stdout.endswith("; 1 failed\n")
    assert [1, 2, 3, last] == [event for event, _, _ in made(three)]
    assert (5, 4) == tuple(cli.json("replays")[0][key] for key in ("events", "deliveries"))


def test_many_events_are_a_few_transactions(three: Inbox, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few events each, so that nobody who writes meanwhile waits for long; the JSON has all of them."""
    for _ in range(6):
        three.receive("roomz")
    three.run()
    monkeypatch.setattr("inbox.cli.replay.AT_ONCE", 4)
    sizes, step = [], SqliteActing.step

    def counting(acting: SqliteActing, one: ActionStep, **options: Any) -> Any:
        sizes.append(len(one.runs))
        return step(acting, one, **options)

    monkeypatch.setattr(SqliteActing, "step", counting)
    rows = cli.json("replay", "--source", "roomz", "--yes", "--handler", "own.one")
    assert [4, 4, 1] == sizes
    assert [1, 2, 3, 4, 5, 6, 7, 8, 9] == [row["id"] for row in rows]
