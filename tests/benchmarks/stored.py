"""Looks into an inbox's database from outside, without the inbox's own code."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def rows(database: Path, sql: str) -> list[Any]:
    """Return what a query finds."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(sql).fetchall()


def stored_events(database: Path) -> int:
    """Return how many events are stored."""
    return int(rows(database, "SELECT count(*) FROM events")[0][0])


def unfinished(database: Path) -> int:
    """Return how many events are received or in work."""
    return int(rows(database, "SELECT count(*) FROM events WHERE status IN ('received', 'processing')")[0][0])
