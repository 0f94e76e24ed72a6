"""Files that belong to the inbox itself: no command writes its output over one of them, whatever it is told."""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inbox.core.config.settings import FILE, Settings, locate
from inbox.core.errors import InTheWay

_ENDINGS = ("", "-wal", "-shm", "-journal", "-lock", "-bell", ".damaged")
_HIDDEN = ("running", "supervisor", "marker")
_PREFIXES = ("sqlite:///", "file:")


def refuse_own(settings: Settings, target: Path) -> None:
    """Raise InTheWay if `target` is a file that the settings name, lies beside one, or in a folder that they name.

    Symbolic links are followed, and hard links to such a file are found.
    """
    real = Path(os.path.realpath(target))
    for what, path in _named(settings):
        own = Path(os.path.realpath(path))
        if own in real.parents and own.is_dir():
            raise InTheWay(f"{target} is in the folder that {what} names: choose another place, even with --force")
        beside = [own.with_name(own.name + ending) for ending in _ENDINGS]
        beside += [own.with_name(f".{own.name}-{ending}") for ending in _HIDDEN]
        if real in beside or any(_same(each, target) for each in beside):
            raise InTheWay(f"{target} belongs to {what}: choose another name, even with --force")


def _same(left: Path, right: Path) -> bool:
    try:
        return left.samefile(right)
    except OSError:
        return False


def _named(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Yield each path that belongs to the inbox, and what names it."""
    inbox, file = settings.inbox, locate(os.environ)
    yield f"{FILE} itself", file
    for name in (".env", "app.py"):
        yield f"the inbox ({name})", settings.folder / name
    yield "inbox.database", settings.database
    for name in ("queue", "key_file", "handlers", "schemas"):
        yield f"inbox.{name}", settings.path(getattr(inbox, name))
    for key, value in _texts(tomllib.loads(file.read_text("utf-8"))):
        for prefix in _PREFIXES:
            value = value.removeprefix(prefix)
        if value and "\0" not in value and (path := settings.folder / value) != settings.folder and path.is_file():
            yield key, path


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text in the settings, and the setting that it is in."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(item, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key)
    elif isinstance(value, str):
        yield key, value
