"""What lies at the queue's path: whether it is a queue, can be made or replaced, or belongs to another program.

Looks only, with nothing of huey, so that commands start quickly. Next: `inbox.deliver.queue_storage`.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from inbox.deliver.wakeup_pipe import WakeupPipe

TABLES = {
    "kv": {"queue", "key", "value"},
    "schedule": {"id", "queue", "data", "timestamp"},
    "task": {"id", "queue", "data", "priority"},
    "counter": {"queue", "key", "value"},
}
"""The columns of huey's tables."""

CORE = frozenset(("kv", "schedule", "task"))
"""The tables that every version of huey makes."""


class NotAQueue(sqlite3.DatabaseError):
    """The file is the database of another program."""


class Outdated(sqlite3.DatabaseError):
    """The file is the queue of another version of huey."""


def pipe_at(path: Path) -> WakeupPipe:
    """Return the wake-up pipe of the queue at `path`."""
    return WakeupPipe(path.with_name(f"{path.name}-bell"))


def problem_with(path: Path) -> str:
    """Return why the queue at `path` cannot be used, "" if it can be used, made or replaced. Changes nothing."""
    try:
        return _in_place(path) or _in_folder(path)
    except OSError as error:
        return f"{path} cannot be reached: {error.strerror}"


def _in_place(path: Path) -> str:
    """Return why what is at the path cannot be used or replaced. Raises OSError."""
    if path.is_dir():
        return f"{path} is a folder" if any(path.iterdir()) else ""
    if not path.exists():
        return ""
    if not path.is_file():
        return f"{path} is not a file"
    if not os.access(path, os.R_OK):
        return f"{path} cannot be read by this user"
    foreign = _foreign(path)
    return f"{path} {foreign}" if foreign else ""


def _in_folder(path: Path) -> str:
    """Return why no file can be made there. Raises OSError."""
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return ""
    return f"{folder} is not a folder in which this user may make files"


def check_tables(connection: sqlite3.Connection) -> None:
    """Raise NotAQueue or Outdated if the database has other tables than a queue; it may have none."""
    found = _tables(connection)
    if others := found.keys() - TABLES.keys():
        raise NotAQueue(f"is another program's database: it has the table {min(others)}")
    if any(found[name] != TABLES[name] for name in found):
        raise Outdated("has tables of another version") if found.keys() >= CORE else NotAQueue("has other columns")


def _foreign(path: Path) -> str:
    """Return why the file is not a queue; "" also if it is no database, which is set aside. Reads nothing but it."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            check_tables(connection)
    except NotAQueue as error:
        return str(error)
    except sqlite3.Error:
        return ""
    return ""


def is_closed_queue(path: Path) -> bool:
    """Tell whether the file is a queue that this user can read, and it or its log is not theirs to write."""
    files = [
        file for file in (path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm"))) if file.exists()
    ]
    closed = any(not os.access(file, os.R_OK | os.W_OK) for file in files)
    return closed and os.access(path, os.R_OK) and not _foreign(path)


def _tables(connection: sqlite3.Connection) -> dict[str, set[str]]:
    """Return the columns of each table."""
    sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    names = [row[0] for row in connection.execute(sql).fetchall()]
    columns = "SELECT name FROM pragma_table_info(?)"
    return {name: {row[0] for row in connection.execute(columns, (name,))} for name in names}
