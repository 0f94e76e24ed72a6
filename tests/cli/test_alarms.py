"""`inbox alarms`: what is watched and what was told, and whether telling works."""

import sys
from pathlib import Path

import pytest

from inbox.store.protocols_alarms import Change, Watched
from inbox.testing import NOW, Inbox
from tests.cli.conftest import Cli


@pytest.fixture
def told(inbox: Inbox) -> Inbox:
    """An inbox with an alarm that is on, one that is off, and a message that could not be sent."""
    book = inbox.runtime.watching.alarm_book
    on = Watched("silence", "roomz", True, NOW, 0, "last event 3 h ago")
    off = Watched("disk", "", False, NOW, 0, "900 MiB")
    start = Change("silence", "roomz", "start", "last event 3 h ago", NOW)
    book.record([off, on], [], [start], ["email", "webhook"])
    email, webhook = book.take_notices(NOW, 9)
    book.told(email.id, NOW)
    book.told(webhook.id, NOW, error="example.com answered 500", again_at=NOW + 60)
    book.close()
    return inbox


def test_alarms_that_are_on_come_first(told: Inbox, cli: Cli) -> None:
    """As a table and as JSON."""
    assert [("silence", "roomz", "on"), ("disk", "", "off")] == [
        (row["alarm"], row["subject"], row["state"]) for row in cli.json("alarms")
    ]
    assert ("2026-01-01T00:00:00.000Z", "last event 3 h ago") == (
        cli.json("alarms")[0]["since"],
        cli.json("alarms", "--limit", "1")[0]["text"],
    )
    lines = cli("alarms").stdout.splitlines()
    assert (["alarm", "subject", "state", "since", "text"], "silence") == (lines[0].split(), lines[1].split()[0])


def test_history_says_who_was_told(told: Inbox, cli: Cli) -> None:
    """And what went wrong."""
    (row,) = cli.json("alarms", "--history")
    assert ("start", [("email", "sent"), ("webhook", "waiting")]) == (
        row["what"],
        [(item["way"], item["state"]) for item in row["told"]],
    )
    assert "webhook waiting (example.com answered 500)" in " ".join(cli("alarms", "--history").stdout.split())


def test_nothing_watched_yet_says_what_to_do(inbox: Inbox, cli: Cli) -> None:
    """An empty list is no puzzle."""
    assert "Nothing was looked at yet: start `inbox run`.\n" == cli("alarms").stdout
    assert "No alarm has started or ended.\n" == cli("alarms", "--history").stdout
    assert [] == cli.json("alarms")


def test_test_message_reports_each_way(inbox: Inbox, cli: Cli, tmp_path: Path) -> None:
    """Exit 0 if all got through, 1 if one did not or there is none."""
    assert "Nobody would be told" in cli("alarms", "test", code=1).stdout
    page = tmp_path / "page.py"
    page.write_text("import pathlib, sys; pathlib.Path('got').write_text(sys.stdin.read())")
    toml = tmp_path / "inbox.toml"
    settings = toml.read_text()
    toml.write_text(f'{settings}\n[alarms]\ncommand = ["{sys.executable}", "{page}"]\n')
    assert [{"way": "command", "state": "sent", "error": ""}] == cli.json("alarms", "test")
    assert '"type": "inbox.alarm.test"' in (tmp_path / "got").read_text()
    toml.write_text(f'{settings}\n[alarms]\ncommand = ["/no/such/program"]\n')
    assert "/no/such/program cannot be run" in cli("alarms", "test", code=1).stdout
