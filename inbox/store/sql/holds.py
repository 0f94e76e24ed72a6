"""Holds: what must not be pruned or erased, by source, type and time of receipt; also what comes later.

Looked at where something is to go, in the transaction in which it goes; nothing is written when an event comes.
"""

from typing import Any

from inbox.store.protocols import Filter
from inbox.store.sqlite.connection import Connection

TABLES = """
CREATE TABLE holds (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    at       REAL NOT NULL,
    who      TEXT NOT NULL,
    why      TEXT NOT NULL,
    source   TEXT,
    type     TEXT,
    since    REAL,
    until    REAL,
    ended_at REAL,
    ended_by TEXT
) STRICT
"""
_COVERS = """
FROM holds WHERE ended_at IS NULL AND (holds.source IS NULL OR holds.source = events.source)
           AND (holds.type IS NULL OR events.type GLOB holds.type)
           AND (since IS NULL OR events.received_at >= since) AND (until IS NULL OR events.received_at < until)
"""
KEPT = f"(EXISTS (SELECT 1 FROM keeps WHERE event_id = events.id) OR EXISTS (SELECT 1 {_COVERS}))"
"""Whether an event of `events` is kept, one by one or by a hold."""

KEPT_BY = f"""
SELECT at, who, why FROM keeps WHERE event_id = :id
UNION ALL SELECT holds.at, who, why {_COVERS.replace("FROM holds", "FROM events CROSS JOIN holds")} AND events.id = :id
LIMIT 1
"""
"""Since when, by whom and why an event is kept."""


def begin(connection: Connection, wanted: Filter, *, at: float, who: str, why: str) -> int:
    """Hold what a source, type and time match, and return the hold's number. Atomic: one INSERT."""
    sql = "INSERT INTO holds (at, who, why, source, type, since, until) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id"
    values = (at, who, why, wanted.source, wanted.type, wanted.since, wanted.until)
    with connection.write() as raw:
        return int(raw.execute(sql, values).fetchone()["id"])


def end(connection: Connection, hold: int, *, at: float, who: str) -> bool:
    """End a hold, and tell whether it was one. Atomic: one UPDATE; the row stays."""
    sql = "UPDATE holds SET ended_at = ?, ended_by = ? WHERE id = ? AND ended_at IS NULL"
    with connection.write() as raw:
        return raw.execute(sql, (at, who, hold)).rowcount == 1


def all_of_them(connection: Connection) -> list[dict[str, Any]]:
    """Return the holds, also those that have ended, the latest first."""
    return [dict(row) for row in connection.rows("SELECT * FROM holds ORDER BY id DESC")]
