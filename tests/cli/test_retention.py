"""`inbox prune`, `keep`, `unkeep`, `kept` and `compact`: what they say, and what an event is afterwards."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from inbox.cli import main
from inbox.testing import NOW, Inbox
from tests.cli.conftest import Cli
from tests.support.stores import refusal

DAY = 86400


@pytest.fixture
def old(inbox: Inbox, tmp_path: Path) -> Inbox:
    """An inbox with three events of long ago, two of them handled, and settings by which bodies go after a day."""
    inbox.receive("roomz")
    inbox.receive("roomz")
    inbox.receive("open", b'{"id": "a", "type": "fail", "why": "x"}')
    inbox.run()
    path = tmp_path / "inbox.toml"
    path.write_text(f"[retention]\nkeep_bodies = {DAY}\n{path.read_text()}")
    main(["clock", "confirm", "--count"], prog_name="inbox", standalone_mode=False)
    return inbox


def test_prune_without_settings_says_so(cli: Cli, inbox: Inbox) -> None:
    """Nothing goes by itself."""
    inbox.receive("roomz")
    assert "Nothing is ever pruned: no setting in [retention] or of a source says so.\n" == cli("prune").stdout


def test_prune_says_what_would_go_and_what_went(cli: Cli, old: Inbox) -> None:
    """The dry run changes nothing; the dead event stays; the event says when its body went."""
    planned = cli("prune", "--dry-run").stdout
    assert "2 rows with about 0.0 MiB would go\n" in planned
    assert cli.json("show", "1")[0]["body"]
    assert {("roomz", "bodies"): 2, ("open", "bodies"): 0} == {
        (row["source"], row["kind"]): row["rows"] for row in cli.json("prune")
    }
    assert "Nothing is old enough, or too much." in cli("prune").stdout
    (row,) = cli.json("show", "1")
    assert (None, "succeeded") == (row["body"], row["status"])
    assert f"(body pruned at {row['body_pruned_at']}: the event cannot be run again)" in cli("show", "1").stdout
    assert "there is no body of an event 1; if there was one, it was pruned" in cli("show", "1", "--raw", code=1).stderr
    assert cli.json("show", "3")[0]["body"]


def test_numbers_are_limits_too(cli: Cli, inbox: Inbox, tmp_path: Path) -> None:
    """The dry run says what is too much of which source, refusals without any other setting; then that is gone."""
    for number in range(3):
        inbox.receive("roomz")
        inbox.runtime.inlet.add_refusal(refusal("open", at=float(number)))
    inbox.run()
    path = tmp_path / "inbox.toml"
    text = path.read_text()
    path.write_text(f"[retention]\nkeep_refusal_count = 1\n{text}")
    (row,) = cli.json("prune", "--dry-run")
    assert ("open", "refusals", "size", 2) == (row["source"], row["kind"], row["by"], row["rows"])
    path.write_text(f"[retention]\nkeep_refusal_count = 1\nkeep_event_count = 2\nkeep_attempt_count = 2\n{text}")
    planned = cli("prune", "--dry-run").stdout
    assert [
        ["open", "refusals", "size", "2"],
        ["roomz", "attempts", "size", "4"],
        ["roomz", "bodies", "size", "1"],
    ] == (sorted(line.split()[:4] for line in planned.splitlines() if " size " in line))
    assert 3 == len(cli.json("events"))
    assert "8 rows with about 0.0 MiB went\n" in cli("prune").stdout
    assert ([3, 2], 1) == ([row["id"] for row in cli.json("events")], len(cli.json("refusals")))
    assert [1, 0] == [len(cli.json("show", id)[0]["deliveries"][0]["runs"]) for id in ("3", "2")]


def test_replay_skips_what_has_no_body_and_says_so(cli: Cli, old: Inbox) -> None:
    """By id and by filter, planned and done; the others run."""
    old.receive("roomz")
    cli("prune", "--json")
    assert "2 without a body: pruned, and lost to handlers" in cli("replay", "1", "2", "--dry-run").stdout
    assert "pruned" == cli.json("replay", "1")[0]["problem"]
    assert "3 events, 2 deliveries made; 2 without a body: pruned" in cli("replay", "--source", "roomz", "--yes").stdout


def test_kept_events_are_not_pruned(cli: Cli, old: Inbox) -> None:
    """By id or filter, with who and why; `show` and `kept` tell, and `prune` how many it skipped."""
    assert "1 events are kept from now on\n" == cli("keep", "1", "--why", "case 7").stdout
    assert "0 events are kept from now on\n" == cli("keep", "1").stdout
    assert "1 events are kept from now on\n" == cli("keep", "--source", "roomz", "--until", "2030-01-01").stdout
    assert [("2", ""), ("1", "case 7")] == [(str(row["id"]), row["why"]) for row in cli.json("kept")]
    assert "since 2026-" in cli("show", "1").stdout
    assert "case 7" in cli("show", "1").stdout
    assert "0 rows with about 0.0 MiB would go; 2 are kept: `inbox kept`" in cli("prune", "--dry-run").stdout
    cli("prune")
    assert cli.json("show", "1")[0]["body"]
    assert "2 events are no longer kept\n" == cli("unkeep", "--source", "roomz").stdout
    assert "2 rows with about 0.0 MiB went\n" in cli("prune").stdout
    assert "Nothing is kept.\n" == cli("kept").stdout
    assert "there is no event 99" in cli("keep", "99", code=1).stderr
    for wrong in (["keep"], ["unkeep"], ["keep", "1", "--source", "roomz"]):
        assert "name events by ID, or by at least one filter, not both" in cli(*wrong, code=2).stderr


def test_compact_makes_an_old_file_give_back(cli: Cli, old: Inbox, tmp_path: Path) -> None:
    """Only while nothing runs; `prune` says when that is worth while."""
    path = tmp_path / "inbox.db"
    assert "a receiver or worker of inbox.db is running: stop it first" in cli("compact", code=1).stderr
    old.receive("open", b'{"id": "large", "type": "t", "x": "' + b"x" * 900_000 + b'"}')
    old.run()
    old.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = NONE")
        for statement in ("VACUUM", "CREATE TABLE gone (a)", "INSERT INTO gone VALUES (randomblob(2000000))"):
            connection.execute(statement)
        connection.execute("DROP TABLE gone")
    assert " MiB of the file are free: used again, or given back by `inbox compact`\n" in cli("prune").stdout
    before = path.stat().st_size
    assert f"{path}: " in cli("compact").stdout
    with closing(sqlite3.connect(path)) as connection:
        assert [(2,)] == connection.execute("PRAGMA auto_vacuum").fetchall()
    assert before - path.stat().st_size > 1_900_000
    assert 4 == len(cli.json("events"))


def test_wrong_retention_is_said_at_start(cli: Cli, inbox: Inbox, tmp_path: Path) -> None:
    """With what is allowed."""
    path = tmp_path / "inbox.toml"
    text = path.read_text()
    for wrong, message in (
        (
            'keep_statuses = ["received"]',
            "retention.keep_statuses: 'received'; allowed: conflict, dead, ignored, quarantined",
        ),
        ("keep_bodies = -1", "retention.keep_bodies: -1.0 is out of range; allowed: 0 to"),
        ("keep_body = 1", "retention.keep_body: unknown setting; allowed: keep_attempt_count, keep_attempts"),
        ("keep_event_count = -1", "retention.keep_event_count: -1 is out of range; allowed: 0 to"),
        ("keep_refusal_count = 0", "retention.keep_refusal_count: 0 is out of range; allowed: 1 to 10000"),
        ("keep_refusal_bytes = 1", "retention.keep_refusal_bytes: 1 is out of range; allowed: 1024 to 67108864"),
    ):
        path.write_text(f"[retention]\n{wrong}\n{text}")
        assert message in cli("prune", code=1).stderr
    assert NOW == inbox.clock()


def test_hold_is_made_listed_and_ended(cli: Cli, inbox: Inbox) -> None:
    """By what cannot change later only; it ends once, and is listed with who ended it."""
    assert "hold 1: 0 events, and those that come, are kept from now on\n" == (
        cli("keep", "--later", "--source", "roomz", "--why", "case 7").stdout
    )
    assert "a hold is by --source" in cli("keep", "--later", "--status", "dead", code=2).stderr
    assert "not both" in cli("unkeep", "--hold", "1", "--source", "roomz", code=2).stderr
    assert "there is no hold 9" in cli("unkeep", "--hold", "9", code=1).stderr
    assert "hold 1 has ended\n" == cli("unkeep", "--hold", "1").stdout
    assert "there is no hold 1" in cli("unkeep", "--hold", "1", code=1).stderr
    (row,) = cli.json("kept", "--holds")
    assert ("roomz", None, "case 7", True) == (row["source"], row["type"], row["why"], bool(row["ended_by"]))
