"""The alarms in the SQLite store."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from inbox.store.protocols_alarms import AlarmNotice, Change, Watched
from inbox.store.sqlite.connection import Connection

TABLES = """
CREATE TABLE alarms (
    alarm     TEXT NOT NULL,
    subject   TEXT NOT NULL,
    is_on     INTEGER NOT NULL,
    since     REAL NOT NULL,
    streak    INTEGER NOT NULL,
    text      TEXT NOT NULL,
    PRIMARY KEY (alarm, subject)
) STRICT, WITHOUT ROWID;
CREATE TABLE alarm_changes (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    alarm   TEXT NOT NULL,
    subject TEXT NOT NULL,
    what    TEXT NOT NULL,
    text    TEXT NOT NULL,
    at      REAL NOT NULL
) STRICT;
CREATE TABLE notices (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    change_id INTEGER NOT NULL REFERENCES alarm_changes (id) ON DELETE CASCADE,
    way       TEXT NOT NULL,
    attempts  INTEGER NOT NULL DEFAULT 0,
    due_at    REAL,
    sent_at   REAL,
    error     TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX notices_change ON notices (change_id);
CREATE INDEX notices_due ON notices (due_at) WHERE sent_at IS NULL
"""
"""A notice without `due_at` that was not sent is given up."""

KEEP_CHANGES = 1000
TAKEN_FOR = 300.0

_KEEP = """
INSERT INTO alarms (alarm, subject, is_on, since, streak, text) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (alarm, subject) DO UPDATE SET
    is_on = excluded.is_on, since = excluded.since, streak = excluded.streak, text = excluded.text
"""
_CHANGE = "INSERT INTO alarm_changes (alarm, subject, what, text, at) VALUES (?, ?, ?, ?, ?) RETURNING id"
_NOTICE = "INSERT INTO notices (change_id, way, due_at) VALUES (?, ?, ?)"
_FORGET = "DELETE FROM alarm_changes WHERE id <= (SELECT max(id) FROM alarm_changes) - ?"
# No pause is that long: the clock was set back since.
_DUE = "sent_at IS NULL AND (due_at <= :at OR due_at > :at + 7200.0)"
# One UPDATE decides who sends what.
_TAKE = f"""
UPDATE notices SET due_at = :at + :taken, attempts = attempts + 1 WHERE id IN (
    SELECT id FROM notices WHERE {_DUE} ORDER BY due_at, id LIMIT :limit)
RETURNING id, change_id, way, attempts
"""
_TOLD = "UPDATE notices SET due_at = :again_at, sent_at = :sent_at, error = :error WHERE id = :id"


class SqliteAlarms:
    """See `inbox.store.protocols_alarms.AlarmBook`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def states(self) -> list[Watched]:
        """See AlarmBook."""
        rows = self._connection.rows("SELECT * FROM alarms ORDER BY is_on DESC, alarm, subject")
        return [
            Watched(row["alarm"], row["subject"], bool(row["is_on"]), row["since"], row["streak"], row["text"])
            for row in rows
        ]

    def record(
        self, states: Sequence[Watched], gone: Sequence[Watched], changes: Sequence[Change], ways: Sequence[str]
    ) -> None:
        """See AlarmBook."""
        with self._connection.write() as connection:
            connection.executemany(_KEEP, [(s.alarm, s.subject, s.on, s.since, s.streak, s.text) for s in states])
            forget = "DELETE FROM alarms WHERE alarm = ? AND subject = ?"
            connection.executemany(forget, [(s.alarm, s.subject) for s in gone])
            for change in changes:
                _record_change(connection, change, ways)

    def take_notices(self, at: float, limit: int) -> list[AlarmNotice]:
        """See AlarmBook."""
        if not self._connection.rows(f"SELECT 1 FROM notices WHERE {_DUE} LIMIT 1", {"at": at}):
            return []
        with self._connection.write() as connection:
            values = {"at": at, "taken": TAKEN_FOR, "limit": limit}
            taken = connection.execute(_TAKE, values).fetchall()
            found = {row["change_id"]: _change(connection, row["change_id"]) for row in taken}
        return [AlarmNotice(row["id"], row["way"], row["attempts"], found[row["change_id"]]) for row in taken]

    def told(self, notice: int, at: float, *, error: str = "", again_at: float | None = None) -> None:
        """See AlarmBook."""
        values = {"id": notice, "sent_at": None if error else at, "error": error, "again_at": again_at}
        with self._connection.write() as connection:
            connection.execute(_TOLD, values)

    def changes(self, limit: int) -> list[dict[str, Any]]:
        """See AlarmBook."""
        with self._connection.snapshot():
            changes = self._connection.rows("SELECT * FROM alarm_changes ORDER BY id DESC LIMIT ?", (limit,))
            oldest = changes[-1]["id"] if changes else 0
            notices = self._connection.rows("SELECT * FROM notices WHERE change_id >= ? ORDER BY id", (oldest,))
        return [
            {**dict(change), "told": [_told(row) for row in notices if row["change_id"] == change["id"]]}
            for change in changes
        ]

    def close(self) -> None:
        """See AlarmBook."""
        self._connection.close()


def _record_change(connection: sqlite3.Connection, change: Change, ways: Sequence[str]) -> None:
    values = (change.alarm, change.subject, change.what, change.text, change.at)
    change_id = connection.execute(_CHANGE, values).fetchone()["id"]
    connection.executemany(_NOTICE, [(change_id, way, change.at) for way in ways])
    connection.execute(_FORGET, (KEEP_CHANGES,))


def _change(connection: sqlite3.Connection, change_id: int) -> Change:
    row = connection.execute("SELECT * FROM alarm_changes WHERE id = ?", (change_id,)).fetchone()
    return Change(row["alarm"], row["subject"], row["what"], row["text"], row["at"], row["id"])


def _told(row: sqlite3.Row) -> dict[str, Any]:
    state = "sent" if row["sent_at"] is not None else "waiting" if row["due_at"] is not None else "failed"
    return {"way": row["way"], "state": state, "attempts": row["attempts"], "at": row["sent_at"], "error": row["error"]}
