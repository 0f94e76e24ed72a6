"""`inbox backup` and `inbox restore` as a person calls them: what they say, and what they refuse."""

import os
import signal
from pathlib import Path

import pytest

from inbox.testing import Inbox
from tests.cli.conftest import Cli


def test_backup_and_restore_say_what_they_did(cli: Cli, inbox: Inbox, tmp_path: Path) -> None:
    """How many events, which is the newest, how large; and what waits."""
    inbox.receive("open", b'{"id": "a", "type": "fail", "why": "x"}')
    inbox.receive("roomz")
    said = cli("backup", "copy.db").stdout
    assert said.startswith("copy.db: 2 events, the newest 2 of 2026-01-01T00:00:00.000Z, 0.")
    assert said.endswith(" MiB; all of it was read, and is whole\n")
    inbox.close()
    for path in tmp_path.glob("inbox.db*"):
        path.unlink()
    said = cli("restore", "copy.db").stdout
    assert f"{tmp_path}/inbox.db: 2 events, the newest 2 of 2026-01-01T00:00:00.000Z, 0." in said
    assert "2 events and 0 deliveries wait; they run when the inbox starts\n" in said
    assert ["2", "1"] == [str(row["id"]) for row in cli.json("events")]


def test_backup_and_restore_refuse(cli: Cli, inbox: Inbox, tmp_path: Path) -> None:
    """To overwrite, with exit code 1 and one line; --force replaces a copy, and nothing replaces the database."""
    inbox.receive("roomz")
    cli("backup", "copy.db")
    assert "inbox: copy.db exists: choose another name, or use --force\n" == cli("backup", "copy.db", code=1).stderr
    cli("backup", "--force", "copy.db")
    assert "is the database itself" in cli("backup", "--force", "inbox.db", code=1).stderr
    inbox.close()
    assert "inbox.db exists: move it away first, with its -wal\n" in cli("restore", "copy.db", code=1).stderr
    assert "does not exist" in cli("restore", "gone.db", code=2).stderr


def test_stopped_backup_leaves_nothing(cli: Cli, inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM, as from a timer that is stopped, removes the part that is there; afterwards it acts as before."""
    inbox.receive("roomz")
    before = signal.getsignal(signal.SIGTERM)

    def stop(*_: object, **__: object) -> None:
        assert list(tmp_path.glob(".copy.db-*"))
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("inbox.store.sqlite.backup._verify", stop)
    assert "" == cli("backup", "copy.db", code=128 + signal.SIGTERM).stdout
    assert [] == list(tmp_path.glob("*copy.db*"))
    assert before == signal.getsignal(signal.SIGTERM)
