"""`--text` and `--handler`: what is found, what is said about what is not, and what is not done without knowing all."""

from pathlib import Path

import pytest

from inbox.testing import Inbox
from tests.cli.conftest import Cli


@pytest.fixture
def filled(inbox: Inbox) -> Inbox:
    """Three events, two of which say "anna"; one of them has a delivery, and all are indexed."""
    inbox.receive("open", {"id": "1", "type": "fail", "why": "Anna, anna@example.com"})
    inbox.receive("open", {"id": "2", "type": "user", "name": "Anna Müller"})
    inbox.receive("open", {"id": "3", "type": "user", "name": "Bob"})
    inbox.run()
    inbox.index()
    return inbox


def test_events_are_listed_by_text_and_handler(cli: Cli, filled: Inbox) -> None:
    """Both narrow down what the other filters mean."""
    assert [2, 1] == [row["id"] for row in cli.json("events", "--text", "anna")]
    assert [2] == [row["id"] for row in cli.json("events", "--text", '"anna muller"')]
    assert [1] == [row["id"] for row in cli.json("events", "--text", "ann*", "--handler", "own.fail")]
    assert [1] == [row["id"] for row in cli.json("events", "--handler", "own.fail", "--status", "dead")]
    assert [] == cli.json("events", "--handler", "own.one")


def test_what_is_not_indexed_is_said(cli: Cli, filled: Inbox) -> None:
    """On stderr, so that JSON stays JSON; and changing everything that is found is refused then."""
    filled.receive("open", {"id": "4", "type": "user", "name": "Anna"})
    done = cli("events", "--text", "anna", "--json")
    assert "not searched: 1 events are not indexed yet" in done.stderr
    for command in (("replay", "--yes"), ("keep",), ("unkeep",)):
        refused = cli(*command, "--text", "anna", code=1)
        assert "1 events that the other filters mean are not indexed yet" in refused.stderr
    assert "1 events" in cli("replay", "--yes", "--text", "anna", "--type", "fail").stdout


def test_found_events_are_kept_and_replayed(cli: Cli, filled: Inbox) -> None:
    """All that has the text, no others."""
    assert "2 events are kept" in cli("keep", "--text", "anna").stdout
    assert {1, 2} == {row["id"] for row in cli.json("kept")}
    assert "1 events are no longer kept" in cli("unkeep", "--text", "anna", "--handler", "own.fail").stdout
    assert [2] == [row["id"] for row in cli.json("kept")]
    assert [1, 2] == [row["id"] for row in cli.json("replay", "--yes", "--text", "anna")]
    assert "anna" in cli.json("replays")[0]["selection"]


def test_switched_off_it_says_so(cli: Cli, filled: Inbox) -> None:
    """Instead of finding nothing."""
    path = Path("inbox.toml")
    path.write_text(path.read_text() + "\n[search]\nenabled = false\n")
    for command in ("events", "replay", "keep"):
        assert "search is off" in cli(command, "--text", "anna", code=1).stderr
    assert [1] == [row["id"] for row in cli.json("events", "--handler", "own.fail")]
