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
    assert (
        "inbox.db belongs to inbox.database: choose another name, even with --force"
        in cli("backup", "--force", "inbox.db", code=1).stderr
    )
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


OWN = {
    "inbox.db": "inbox.database",
    "sub/../inbox.db": "inbox.database",
    "link.db": "inbox.database",
    "hard.db": "inbox.database",
    "folder/inbox.db": "inbox.database",
    "inbox.db-wal": "inbox.database",
    "inbox.db-journal": "inbox.database",
    "inbox.db-lock": "inbox.database",
    ".inbox.db-marker": "inbox.database",
    ".inbox.db-running": "inbox.database",
    "queue.db": "inbox.queue",
    "keys.db": "inbox.key_file",
    "keys.db-wal": "inbox.key_file",
    "inbox.toml": "inbox.toml itself",
    ".env": "the inbox (.env)",
    "handlers/mine.py": "in the folder that inbox.handlers names",
    "schemas/new/mine.json": "in the folder that inbox.schemas names",
    "secret.txt": "sources.filed.secrets",
}


@pytest.mark.parametrize("option", [[], ["--keys"]])
@pytest.mark.parametrize("target", OWN)
def test_no_copy_replaces_what_belongs_to_the_inbox(
    cli: Cli, inbox: Inbox, tmp_path: Path, target: str, option: list[str]
) -> None:
    """Whatever --force says, and however the file is spelled; every byte and every name stays."""
    inbox.receive("roomz")
    inbox.close()
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.db").symlink_to("inbox.db")
    (tmp_path / "hard.db").hardlink_to(tmp_path / "inbox.db")
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "handlers" / "mine.py").write_text("mine = 1\n")
    (tmp_path / "secret.txt").write_text("a secret")
    with (tmp_path / "inbox.toml").open("a") as settings:
        settings.write('\n[sources.filed]\nprovider = "hmac"\nheader = "X-Signature"\nsecrets = ["file:secret.txt"]\n')
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    said = cli("backup", *option, "--force", target, code=1)
    assert ("", True) == (said.stdout, said.stderr.startswith(f"inbox: {target} "))
    assert OWN[target] in said.stderr
    assert "even with --force" in said.stderr
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_copy_of_keys_that_fails_leaves_the_one_before(cli: Cli, inbox: Inbox, tmp_path: Path) -> None:
    """A copy of the data keys gets its name when all of it is written."""
    settings = tmp_path / "inbox.toml"
    (tmp_path / "seal").write_text("11" * 32)
    settings.write_text('[inbox]\nseal_key = ["file:seal"]\n' + settings.read_text())
    cli("check")
    cli("backup", "--keys", "copy.db")
    before = (tmp_path / "copy.db").read_bytes()
    (tmp_path / "keys.db").write_bytes(b"SQLite format 3\0" + (tmp_path / "keys.db").read_bytes()[16:4096])
    assert "inbox: " in cli("backup", "--keys", "--force", "copy.db", code=1).stderr
    assert before == (tmp_path / "copy.db").read_bytes()
    assert [] == list(tmp_path.glob(".copy.db-*"))
