"""`inbox doctor`: a list with levels, an exit code, and nothing left behind."""

import json
from pathlib import Path

import pytest

from inbox.testing import Inbox
from tests.cli.conftest import Cli

PRODUCT = {"settings", "database", "backlog", "access", "clock", "space"}
"""Subjects that do not depend on the machine that the test runs on."""


def private(folder: Path) -> None:
    """Give the files the permissions that they have when the command makes them."""
    for path in folder.glob("inbox.db*"):
        path.chmod(0o600)


def test_after_init_nothing_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    """Each thing that was looked at is in the list, and no file is made."""
    monkeypatch.chdir(tmp_path)
    cli("init")
    before = sorted(tmp_path.iterdir())
    found = cli.json("doctor")
    assert {"level", "subject", "found", "advice"} == set(found[0])
    assert {"sqlite", "settings", "receiver", "fsync", "space", "access", "database", "clock"} <= {
        f["subject"] for f in found
    }
    assert [] == [item for item in found if item["level"] != "ok" and item["subject"] in PRODUCT]
    assert "there is none yet: the first start makes" in next(f["found"] for f in found if f["subject"] == "database")
    assert before == sorted(tmp_path.iterdir())


def test_an_empty_folder_is_told_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    """One sentence, and the command that helps; the rest is looked at all the same."""
    monkeypatch.chdir(tmp_path)
    printed = cli("doctor", code=1).stdout
    assert f"problem  settings: {tmp_path / 'inbox.toml'}: not found; `inbox init` writes one" in printed
    assert "\n         → `inbox init` writes a folder that works\n" in printed
    assert "clock: it is " in printed
    assert [] == list(tmp_path.iterdir())


def test_a_problem_is_exit_code_1_also_with_json(inbox: Inbox, tmp_path: Path, cli: Cli) -> None:
    """An event waits since the first of January."""
    inbox.receive("roomz")
    private(tmp_path)
    found = json.loads(cli("doctor", "--json", code=1).stdout)
    assert ["backlog"] == [item["subject"] for item in found if item["level"] == "problem"]
    assert "problem  backlog: 1 events were not routed" in cli("doctor", code=1).stdout


def test_an_event_from_the_future_is_a_problem_of_the_clock(inbox: Inbox, tmp_path: Path, cli: Cli) -> None:
    """Somebody set the clock back."""
    inbox.clock.now = 4_000_000_000.0
    inbox.receive("open", {"id": "1", "type": "t"})
    private(tmp_path)
    found = json.loads(cli("doctor", "--json", code=1).stdout)
    assert ["clock"] == [item["subject"] for item in found if item["level"] == "problem"]


def test_a_database_that_is_none_is_a_problem(inbox: Inbox, tmp_path: Path, cli: Cli) -> None:
    """It is told once per look, never with a traceback."""
    (tmp_path / "inbox.db").write_text("text" * 2000)
    private(tmp_path)
    found = json.loads(cli("doctor", "--json", code=1).stdout)
    assert {"settings", "database"} == {item["subject"] for item in found if item["level"] == "problem"}


def test_settings_without_handlers_do_not_stop_the_rest(inbox: Inbox, tmp_path: Path, cli: Cli) -> None:
    """The missing folder is one problem, of the settings."""
    inbox.receive("open", {"id": "1", "type": "t"})
    (tmp_path / "inbox.toml").write_text('[inbox]\nhandlers = "gone"\n')
    found = json.loads(cli("doctor", "--json", code=1).stdout)
    problems = [(item["subject"], item["found"]) for item in found if item["level"] == "problem"]
    assert ("settings", f"inbox.toml: inbox.handlers: {tmp_path / 'gone'} is not a folder") == problems[0]
    assert "clock" in {item["subject"] for item in found}
