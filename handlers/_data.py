"""What the handlers here share: files under the folder INBOX_DATA (default: `data`), and reading what may be partial.

Worker processes run handlers side by side, at least once and in any order, so a write replaces a whole row or file
and carries its own version. Files whose name starts with `_` are helpers, not handlers.
"""

import csv
import fcntl
import json
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from inbox import Discard

_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def folder(*parts: str) -> Path:
    """Return a folder under INBOX_DATA, which is made if need be."""
    path = Path(os.environ.get("INBOX_DATA") or "data", *parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def database(name: str, table: str) -> Iterator[Database]:
    """Open `<name>.db` with this table (CREATE TABLE IF NOT EXISTS …); every statement commits by itself.

    One process at a time gets in: the lock keeps two from switching a new file to WAL at once, which SQLite answers
    with "database is locked" however long one is willing to wait. Readers never wait.
    """
    with (folder() / f".{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with closing(sqlite3.connect(folder() / f"{name}.db", timeout=10, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(table)
            yield Database(connection, execute_plugins=False)


def write(path: Path, content: bytes) -> None:
    """Replace a file: readers find the old content or the new one, also after a power cut."""
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with new.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def members(payload: Any, *path: str) -> dict[str, Any]:
    """Return the JSON object at this place. Raises Discard if there is none."""
    for name in path:
        payload = payload.get(name) if isinstance(payload, dict) else None
    if not isinstance(payload, dict):
        raise Discard(f"there is no object at /{'/'.join(path)}")
    return payload


def text(value: Any) -> str | None:
    """Return a text or whole number as text that can be stored, None for anything else and for an empty text."""
    if type(value) not in (str, int):
        return None
    return str(value).encode("utf-8", "replace").decode() or None


def as_json(value: Any) -> str:
    """Return JSON text that can be stored."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    """Return a table with one column per key, as Excel reads it: UTF-8 with a mark; nested values are JSON."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(_cell(name) for name in columns)
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return buffer.getvalue().encode("utf-8-sig", "replace")


def _cell(value: Any) -> str:
    """Return text that a spreadsheet does not run: https://owasp.org/www-community/attacks/CSV_Injection."""
    shown = "" if value is None else value if isinstance(value, str) else as_json(value)
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def instant(value: Any, default: datetime) -> str:
    """Return an ISO 8601 time as UTC text that sorts as the times do; `default` (aware) if it is none."""
    try:
        at = datetime.fromisoformat(value)
        at = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        at = default
    return at.isoformat(timespec="microseconds")
