"""How much time has passed, in the SQLite store, and the marks by which rows are told to be old.

elapsed        one row: the last look at the clocks
elapsed_marks  how far each table was at a known time: one per minute for two hours, one per hour for ever

Dates in rows come from the time of day, which may have been wrong. The numbers of rows never lie: what has a number
below a mark was there at the time of the mark. A row's date counts only between the marks on both sides of it.
"""

import sqlite3
from collections.abc import Callable
from typing import Literal

from inbox.core.elapsed import Clocks, Look, Passed, confirmed, first, look
from inbox.store.sqlite.connection import Connection

TABLES = """
CREATE TABLE elapsed (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    known        REAL NOT NULL,
    wall         REAL NOT NULL,
    steady       REAL NOT NULL,
    boot         TEXT NOT NULL,
    synchronised INTEGER NOT NULL,
    gap          REAL NOT NULL,
    absent       INTEGER NOT NULL,
    settled      REAL NOT NULL,
    jumped_at    REAL,
    jump         REAL NOT NULL
) STRICT;
CREATE TABLE elapsed_marks (
    id         INTEGER PRIMARY KEY,
    at         REAL NOT NULL,
    hourly     INTEGER NOT NULL,
    doubtful   INTEGER NOT NULL,
    events     INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    refusals   INTEGER NOT NULL,
    held       INTEGER NOT NULL
) STRICT;
CREATE INDEX elapsed_marks_at ON elapsed_marks (at);
CREATE INDEX held_at ON held (at)
"""

MARK_EVERY, HOUR, MINUTES = 60.0, 3600.0, 120
ENDLESS = 2**63 - 1

Marked = Literal["events", "deliveries", "attempts", "refusals", "held"]

_NEWEST = """
SELECT received_at AS at FROM (SELECT received_at FROM events ORDER BY id DESC LIMIT 1)
UNION ALL SELECT at FROM processes WHERE role <> 'alarms'
"""
_SAVE = """
INSERT OR REPLACE INTO elapsed
    (one, known, wall, steady, boot, synchronised, gap, absent, settled, jumped_at, jump)
VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_SHIFT = "UPDATE elapsed_marks SET at = at + ? WHERE doubtful >= ?"
_SURE = "UPDATE elapsed_marks SET doubtful = 0 WHERE doubtful"
_LAST = """
SELECT id, at, (SELECT max(at) FROM elapsed_marks WHERE hourly) AS hourly FROM elapsed_marks ORDER BY id DESC LIMIT 1
"""
_MARK = """
INSERT INTO elapsed_marks (id, at, hourly, doubtful, events, deliveries, attempts, refusals, held)
SELECT :id, :at, :hourly, :doubtful, {numbers}
""".format(
    numbers=", ".join(
        f"coalesce((SELECT seq FROM sqlite_sequence WHERE name = '{table}'), 0)"
        for table in ("events", "deliveries", "attempts", "refusals", "held")
    )
)
_THIN = "DELETE FROM elapsed_marks WHERE id <= ? AND id > ? AND NOT hourly"
_BETWEEN = """
SELECT id, at, (SELECT at FROM elapsed_marks AS later WHERE later.id > mark.id ORDER BY id LIMIT 1) AS next
FROM elapsed_marks AS mark WHERE deliveries < ? ORDER BY id DESC LIMIT 1
"""


def before_mark(table: Marked, before: str) -> str:
    """Return SQL for the number below which every row of a table is from before a known time."""
    return f"coalesce((SELECT {table} FROM elapsed_marks WHERE at < {before} ORDER BY at DESC LIMIT 1), 0)"


def until_mark(table: Marked, before: str) -> str:
    """Return SQL for the number above which no row of a table is from before a known time."""
    return f"coalesce((SELECT {table} FROM elapsed_marks WHERE at >= {before} ORDER BY at LIMIT 1), {ENDLESS})"


def older(table: Marked, date: str, before: str = ":before", id: str = "id") -> str:
    """Return SQL that tells whether a row is from before a known time: by its date, where the marks allow that."""
    return (
        f"({date} IS NOT NULL AND ({id} <= {before_mark(table, before)}"
        f" OR ({date} < {before} AND {id} <= {until_mark(table, before)})))"
    )


def passed(connection: sqlite3.Connection) -> Passed | None:
    """Return what is known since the last look, None if there was none."""
    row = connection.execute("SELECT * FROM elapsed").fetchone()
    if row is None:
        return None
    clocks = Clocks(row["wall"], row["steady"], row["boot"], bool(row["synchronised"]))
    rest = (row["gap"], bool(row["absent"]), row["settled"], row["jumped_at"], row["jump"])
    return Passed(row["known"], clocks, *rest)


class SqliteTimekeeping:
    """See `inbox.store.protocols_elapsed.Timekeeping`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def look(self, clocks: Callable[[], Clocks]) -> Look:
        """See Timekeeping."""
        return self._kept(clocks, look)

    def confirm(self, clocks: Callable[[], Clocks], *, count: bool) -> Look:
        """See Timekeeping."""
        return self._kept(clocks, lambda before, now: confirmed(before, now, count=count))

    def age(self, delivery: int, created_at: float, now: float) -> float:
        """See Timekeeping."""
        rows = self._connection.rows(_BETWEEN, (delivery,))
        if rows:
            next_at = rows[0]["next"]
            created_at = min(max(created_at, rows[0]["at"]), now if next_at is None else next_at)
        return now - created_at

    def close(self) -> None:
        """See Timekeeping."""
        self._connection.close()

    def _kept(self, clocks: Callable[[], Clocks], find: Callable[[Passed, Clocks], Look]) -> Look:
        with self._connection.write() as connection:
            now, before = clocks(), passed(connection)
            if before is None:
                before = first(now, [row["at"] for row in connection.execute(_NEWEST)])
            found = find(before, now)
            _save(connection, found.passed)
            if found.shift is not None:
                connection.execute(_SHIFT, (found.shift.seconds, found.shift.only_doubtful))
            if found.change and not found.passed.doubtful:
                connection.execute(_SURE)
            _mark(connection, found)
        return found


def _save(connection: sqlite3.Connection, found: Passed) -> None:
    doubt = (found.gap, found.absent, found.settled, found.jumped_at, found.jump)
    connection.execute(_SAVE, (found.known, *found.clocks, *doubt))


def _mark(connection: sqlite3.Connection, found: Look) -> None:
    """Mark how far the store is, unless that was done less than a minute ago; thin out older marks."""
    last, at = connection.execute(_LAST).fetchone(), found.passed.known
    new = {"id": 1, "at": at, "hourly": True, "doubtful": found.passed.doubtful}
    if last is None:
        connection.execute(_MARK, new)
    elif found.change or abs(at - last["at"]) >= MARK_EVERY:
        connection.execute(_MARK, {**new, "id": last["id"] + 1, "hourly": abs(at - last["hourly"]) >= HOUR})
        connection.execute(_THIN, (last["id"] + 1 - MINUTES, last["id"] - 2 * MINUTES))
