"""Who may read and change what."""

import os
from pathlib import Path

import pytest

from inbox.core.config.settings import load
from inbox.tools.doctor import permissions
from tests.support.machine import levels
from tests.support.place import Place

PROBLEMS = [
    (".env", 0o640, "can be read by other users"),
    (".env", 0o604, "can be read by other users"),
    ("key.pem", 0o640, "can be read by other users"),
    ("inbox.db", 0o644, "everybody can read"),
    ("inbox.db-wal", 0o604, "everybody can read"),
    ("inbox.toml", 0o646, "everybody can change"),
    ("handlers", 0o777, "everybody can change"),
    ("handlers/roomz.py", 0o606, "everybody can change"),
    (".", 0o777, "everybody can replace files"),
]


@pytest.fixture
def folder(place: Place) -> Path:
    """A folder with a database, a private key and a secret in a file, all as they should be."""
    for name in ("inbox.db", "inbox.db-wal", "key.pem", "cert.pem", "secret"):
        (place.folder / name).write_text("s")
        (place.folder / name).chmod(0o600)
    source = '[sources.roomz]\nprovider = "roomz"\nsecrets = ["file:secret"]\n'
    place.configure(server='tls_cert = "cert.pem"\ntls_key = "key.pem"', sources=source)
    return place.folder


def look(folder: Path, user: int | None = None) -> list[permissions.Finding]:
    return list(permissions.look(load(folder / "inbox.toml"), user=os.geteuid() if user is None else user))


def test_what_init_writes_is_fine(folder: Path) -> None:
    """One line says so."""
    assert [("ok", permissions.TIDY)] == [(item.level, item.found) for item in look(folder)]


@pytest.mark.parametrize(("name", "mode", "what"), PROBLEMS)
def test_what_others_can_read_or_change_is_a_problem(name: str, mode: int, what: str, folder: Path) -> None:
    """It says which file, what can be done with it, and the command that ends that."""
    (folder / name).chmod(mode)
    (found,) = look(folder)
    assert ("problem", True, True) == (found.level, what in found.found, str((folder / name).resolve()) in found.advice)


def test_a_database_for_a_group_and_a_secret_in_a_file_are_warnings(folder: Path) -> None:
    """Both can be meant: a group that makes backups, secrets that a container is given."""
    (folder / "inbox.db").chmod(0o640)
    (folder / "secret").chmod(0o644)
    assert [("warning", "access")] * 2 == levels(look(folder))


def test_a_folder_for_everybody_in_which_nobody_can_replace_is_fine(folder: Path) -> None:
    """As /tmp is."""
    folder.chmod(0o1777)
    assert [] == levels(look(folder))


def test_a_database_of_another_user_is_a_warning(folder: Path) -> None:
    """Whoever runs commands as root makes files that the service cannot write."""
    (found,) = look(folder, user=os.geteuid() + 1)
    assert ("warning", True) == (found.level, f"belongs to user {os.geteuid()}, and this is user" in found.found)


def test_settings_that_are_gone_name_no_secrets(tmp_path: Path) -> None:
    """Nothing is looked at, and nothing fails."""
    assert [] == permissions.secret_files(tmp_path / "inbox.toml")
