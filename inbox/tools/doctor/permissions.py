"""Who may read secrets and events, who may change what runs here, and whether this user may write."""

import os
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inbox.core.config.settings import FILE, Settings
from inbox.tools.doctor.finding import Finding, ok, problem, warning

READ = stat.S_IRGRP | stat.S_IROTH
TIDY = "only the owner can read secrets and keys"


def look(settings: Settings, *, user: int) -> Iterator[Finding]:
    """Yield findings about files and folders; `user` is the number of the user that asks."""
    found = [*_secrets(settings), *_database(settings.database, user), *_keys(settings), *_code(settings)]
    yield from found or [ok("access", TIDY)]


def _secrets(settings: Settings) -> Iterator[Finding]:
    """Yield secrets and private keys that others can read, or could replace."""
    places = [settings.folder / ".env"]
    places += [settings.folder / settings.server.tls_key] if settings.server.tls_key else []
    for path in places:
        if _mode(path) & READ:
            yield problem(
                "access",
                f"{path} can be read by other users ({_octal(path)}): it holds secrets",
                f"chmod 600 {path}",
            )
    for path in secret_files(settings.folder / FILE):
        if _mode(path) & READ:
            yield warning(
                "access",
                f"{path} can be read by other users ({_octal(path)}): it is a secret of a source",
                f"chmod 600 {path}, unless a container of its own is all that sees it",
            )


def secret_files(path: Path) -> list[Path]:
    """Return the files that `file:PATH` names anywhere in the settings."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return []
    named = [text.removeprefix("file:") for text in _texts(document) if text.startswith("file:")]
    return [path.parent / name for name in dict.fromkeys(named)]


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a TOML document."""
    if isinstance(value, str):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(child)


def _database(path: Path, user: int) -> Iterator[Finding]:
    if _mode(path.parent) & stat.S_IWOTH and not _mode(path.parent) & stat.S_ISVTX:
        yield problem("access", f"everybody can replace files in {path.parent}", f"chmod o-w {path.parent}")
    for file in (path, path.with_name(f"{path.name}-wal")):
        if _mode(file) & stat.S_IROTH:
            yield problem(
                "access", f"everybody can read {file} ({_octal(file)}): it has the events", f"chmod 600 {file}"
            )
        elif _mode(file) & stat.S_IRGRP:
            yield warning("access", f"a group can read {file} ({_octal(file)}): it has the events", f"chmod 600 {file}")
    if not path.exists():
        return
    if path.stat().st_uid != user:
        text = f"{path} belongs to user {path.stat().st_uid}, and this is user {user}"
        yield warning("access", text, "run all of inbox as one user, or new files will belong to another one")
    if not os.access(path, os.R_OK | os.W_OK):
        yield problem("access", f"user {user} may not write {path}", "run as the user that owns it, or chown it")


def _keys(settings: Settings) -> Iterator[Finding]:
    """Yield whether others can read the file of data keys."""
    path = settings.path(settings.inbox.key_file)
    if settings.inbox.seal_key and _mode(path) & READ:
        text = f"{path} can be read by other users ({_octal(path)}): it has the keys of sealed events"
        yield problem("access", text, f"chmod 600 {path}")


def _code(settings: Settings) -> Iterator[Finding]:
    """Yield what decides which code runs here, and can be changed by everybody."""
    folder = settings.path(settings.inbox.handlers)
    for path in (settings.folder / FILE, folder, *sorted(folder.glob("*.py"))):
        if _mode(path) & stat.S_IWOTH:
            yield problem("access", f"everybody can change {path}, which decides what runs here", f"chmod o-w {path}")


def _mode(path: Path) -> int:
    """Return the permissions of a file, none if it is not there."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0


def _octal(path: Path) -> str:
    return f"mode {_mode(path):04o}"
