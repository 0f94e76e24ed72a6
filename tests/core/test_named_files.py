"""Database, queue and keys need files of their own, also through links and in what SQLite and locks put beside them."""

import os
from pathlib import Path

import pytest

from inbox.core.config.settings import load
from inbox.core.errors import ConfigError

SHARED = [
    ('queue = "inbox.db"', "inbox.queue", "inbox.database"),
    ('queue = "./data/../inbox.db"', "inbox.queue", "inbox.database"),
    ('queue = "inbox.db-wal"', "inbox.queue", "inbox.database"),
    ('queue = "inbox.db-lock"', "inbox.queue", "inbox.database"),
    ('queue = ".inbox.db-running"', "inbox.queue", "inbox.database"),
    ('queue = ".inbox.db-supervisor"', "inbox.queue", "inbox.database"),
    ('queue = "keys.db"', "inbox.queue", "inbox.key_file"),
    ('key_file = "inbox.db"', "inbox.key_file", "inbox.database"),
    ('key_file = "queue.db-bell"', "inbox.queue", "inbox.key_file"),
    ('database = "sqlite:///queue.db"', "inbox.queue", "inbox.database"),
    ('queue = "inbox.toml"', "inbox.queue", "inbox.toml"),
    ('queue = ".env"', "inbox.queue", ".env"),
    ('queue = "handlers"', "inbox.queue", "inbox.handlers"),
    ('key_file = "schemas"', "inbox.key_file", "inbox.schemas"),
    ('queue = "key.pem"\n[server]\ntls_cert = "key.pem"\ntls_key = "key.pem"', "inbox.queue", "server.tls_cert"),
    ('queue = "symbolic"', "inbox.queue", "inbox.database"),
    ('queue = "hard"', "inbox.queue", "inbox.database"),
    ('queue = "elsewhere/inbox.db"', "inbox.queue", "inbox.database"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a database, and links to the database and to the folder."""
    (tmp_path / "inbox.db").write_bytes(b"")
    (tmp_path / "symbolic").symlink_to("inbox.db")
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    os.link(tmp_path / "inbox.db", tmp_path / "hard")
    return tmp_path


@pytest.mark.parametrize(("text", "first", "second"), SHARED)
def test_two_settings_with_one_file_are_an_error(folder: Path, text: str, first: str, second: str) -> None:
    """The message names both, and the file is as it was."""
    (folder / "inbox.toml").write_text(f"[inbox]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load(folder / "inbox.toml", {})
    assert {first, second} <= set(str(caught.value).replace(":", " ").replace(";", " ").split())
    assert "each needs a file of its own" in str(caught.value)
    assert b"" == (folder / "inbox.db").read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        "",
        'queue = "run/queue.db"\nkey_file = "other/inbox.db"',
        'database = "sqlite:///hard"\nqueue = "hard2"',
        '[server]\ntls_cert = "both.pem"\ntls_key = "both.pem"',
        'handlers = "code"\nschemas = "code"',
        'queue = "a/loop"',
    ],
)
def test_different_files_are_no_error(folder: Path, text: str) -> None:
    """Also the same name in another folder, a certificate with its key, and a link that leads nowhere."""
    (folder / "a").symlink_to("a")
    (folder / "inbox.toml").write_text(f"[inbox]\n{text}\n")
    assert folder == load(folder / "inbox.toml", {}).folder
