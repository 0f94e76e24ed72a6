"""`inbox admin`: passwords and tokens; neither can be read anywhere afterwards."""

import sqlite3
from pathlib import Path

import pytest

from inbox.testing import Inbox
from inbox.ui.services import accounts
from tests.cli.conftest import Cli

GOOD = "correct horse battery"


def everything(folder: Path) -> bytes:
    """Return all bytes of the database."""
    return b"".join(path.read_bytes() for path in folder.glob("inbox.db*"))


def test_set_password_turns_the_pages_on(inbox: Inbox, cli: Cli, tmp_path: Path) -> None:
    """From stdin; only a memory-hard hash of it is kept."""
    assert "Nobody can log in: `inbox admin set-password`.\n" == cli("admin", "list").stdout
    assert "admin can log in at /inbox/ of 127.0.0.1:8000.\n" == cli("admin", "set-password", text=GOOD + "\n").stdout
    assert accounts.is_on(inbox.runtime)
    assert GOOD.encode() not in everything(tmp_path)
    ((kept,),) = sqlite3.connect(tmp_path / "inbox.db").execute("SELECT password FROM users").fetchall()
    assert kept.startswith("$argon2id$v=19$m=47104,t=1,p=1$")
    assert [{"kind": "user", "name": "admin", "since": "2026-01-01T00:00:00.000Z", "last_used_at": None}] == [
        {**row, "since": "2026-01-01T00:00:00.000Z"} for row in cli.json("admin", "list")
    ]


@pytest.mark.parametrize(
    ("arguments", "text", "problem"),
    [
        (["set-password"], "short\n", "inbox: a password has 15 to 1024 characters\n"),
        (["set-password"], "", "inbox: a password has 15 to 1024 characters\n"),
        (["set-password", "--user", "a b"], GOOD, "inbox: 'a b' is no name"),
        (["remove-user", "nobody"], "", "inbox: there is no user nobody; `inbox admin list` names all\n"),
        (["remove-token", "ci"], "", "inbox: there is no token ci; `inbox admin list` names all\n"),
        (["add-token", "-"], "", "inbox: '-' is no name"),
    ],
)
def test_mistakes_change_nothing(inbox: Inbox, cli: Cli, arguments: list[str], text: str, problem: str) -> None:
    """They exit 1 with what is allowed."""
    assert problem in cli("admin", *arguments, code=1, text=text).stderr
    assert [] == cli.json("admin", "list")


def test_token_is_printed_once(inbox: Inbox, cli: Cli, tmp_path: Path) -> None:
    """It works until it is removed; the database does not have it."""
    token = cli("admin", "add-token", "ci").stdout.strip()
    assert ("ci", True) == (accounts.token(inbox.runtime, token), token.startswith("wit_"))
    assert token.encode() not in everything(tmp_path)
    assert "there is a token ci already" in cli("admin", "add-token", "ci", code=1).stderr
    assert "The token ci is ended.\n" == cli("admin", "remove-token", "ci").stdout
    assert accounts.token(inbox.runtime, token) is None


def test_removed_user_cannot_log_in(inbox: Inbox, cli: Cli) -> None:
    """The last one turns the pages off."""
    for user in ("admin", "other"):
        cli("admin", "set-password", "--user", user, text=GOOD)
    assert "other cannot log in any more.\n" == cli("admin", "remove-user", "other").stdout
    assert "admin cannot log in any more. The pages are off.\n" == cli("admin", "remove-user", "admin").stdout
    assert accounts.log_in(inbox.runtime, "admin", GOOD) is None


def test_login_needs_the_right_password(inbox: Inbox, cli: Cli) -> None:
    """However a keyboard composes it; a wrong one, none, or one of nobody does not."""
    cli("admin", "set-password", text="passw\u00f6rd of the owner")
    started = accounts.log_in(inbox.runtime, "admin", "passwo\u0308rd of the owner")
    assert started is not None
    assert (login := accounts.login(inbox.runtime, started.secret)) is not None
    assert ("admin", 43_200.0) == (login.user, started.seconds)
    wrong = [("admin", GOOD), ("admin", ""), ("nobody", GOOD), ("admin", "x" * 2000)]
    assert [None] * 4 == [accounts.log_in(inbox.runtime, user, password) for user, password in wrong]
    accounts.log_out(inbox.runtime, started.secret)
    assert accounts.login(inbox.runtime, started.secret) is None
