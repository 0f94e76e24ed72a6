"""The looking-after side of the SQLite store: counts, signs of life, and what can be seen at a moment.

Reads never scan events or deliveries: backlog and oldest item come from indexes of what is still to be done.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from inbox.core.errors import StoreUnavailable, StoreUnusable
from inbox.core.histograms import Counts
from inbox.store.protocols_monitor import Alive, Looked, Roles
from inbox.store.sql import counters, elapsed
from inbox.store.sqlite import inspect
from inbox.store.sqlite.connection import Connection
from inbox.store.sqlite.identity import advance

GAP = 60.0
"""Seconds without a sign of life after which a process counts as having begun anew."""

# One statement: minutes that another process rolls up meanwhile are seen before or after, never twice.
_TOTALS = "SELECT subject, name, sum(n) AS n FROM counts WHERE span IN (0, 60) GROUP BY subject, name"
_RECENT = "SELECT subject, name, sum(n) AS n FROM counts WHERE span = 60 AND at >= ? GROUP BY subject, name"
_NAMED = "name IN (SELECT value FROM json_each(:names))"
_HOURS = f"""
SELECT subject, at - at % 3600 AS hour, sum(n) AS n FROM counts WHERE span IN (60, 3600) AND at >= :since AND {_NAMED}
GROUP BY subject, hour
"""
_LAST = f"""
SELECT subject, max(at) AS at FROM counts WHERE span IN (60, 3600) AND at >= :since AND {_NAMED} GROUP BY subject
"""
# `since` moves only when the last sign is too old, or from before the machine started anew.
_BEAT = """
INSERT INTO processes (role, since, at, steady) VALUES (:role, :at, :at, :steady)
ON CONFLICT (role) DO UPDATE SET
    since = CASE WHEN :steady - steady BETWEEN 0 AND :gap THEN since ELSE excluded.since END,
    at = excluded.at, steady = excluded.steady
"""
# One UPDATE decides whose turn it is; a turn far in the future was taken before the machine started anew.
_FIRST_TURN = "INSERT INTO processes (role, since, at, steady) VALUES ('alarms', 0, 0, -1e9) ON CONFLICT DO NOTHING"
_TURN = """
UPDATE processes SET steady = :steady WHERE role = 'alarms' AND abs(:steady - steady) >= :every
RETURNING role
"""
_WAITING = "status IN ('pending', 'retrying') AND paused_by IS NULL"
_ABANDONED = "status = 'running' AND (steady_until <= :steady OR steady_until - lease > :steady)"
_LOOK = f"""
SELECT (SELECT count(*) FROM events WHERE status = 'received') AS unrouted,
       (SELECT count(*) FROM deliveries WHERE {_WAITING} AND due_at <= :at) AS due,
       (SELECT count(*) FROM deliveries WHERE {_WAITING} AND due_at > :at) AS later,
       (SELECT count(*) FROM deliveries WHERE status = 'running') AS running,
       (SELECT count(*) FROM deliveries WHERE status = 'parked') AS parked,
       (SELECT count(*) FROM deliveries WHERE paused_by IS NOT NULL) AS paused,
       (SELECT min(due_at) FROM deliveries WHERE paused_by IS NOT NULL) AS oldest_paused,
       (SELECT received_at FROM events WHERE status = 'received' ORDER BY id LIMIT 1) AS oldest_unrouted,
       (SELECT min(due_at) FROM deliveries WHERE {_WAITING} AND due_at <= :at) AS oldest_due,
       (SELECT min(lease_until) FROM deliveries WHERE {_ABANDONED}) AS oldest_abandoned
"""
_BACKLOG = ("unrouted", "due", "later", "running", "parked", "paused")
_PAGES = ("page_count", "freelist_count", "page_size")
_OLDEST = ("oldest_unrouted", "oldest_due", "oldest_abandoned")


class SqliteWatch:
    """See `inbox.store.protocols_monitor.Watch`. A receiver's sign of life begins a generation, which is `durable`."""

    def __init__(self, path: Path, connection: Connection, durable: Connection) -> None:
        self._path = path
        self._connection = connection
        self._durable = durable

    def add(self, added: Counts, at: float) -> None:
        """See Watch."""
        with self._connection.write() as connection:
            counters.tally(connection, counters.minute_of(at), added)

    def beat(self, role: Roles, at: float, steady: float) -> None:
        """See Watch."""
        with self._connection.write() as connection:
            connection.execute(_BEAT, {"role": role, "at": at, "steady": steady, "gap": GAP})
        if role == "receiver":
            advance(self._durable)

    def roll(self, at: float) -> bool:
        """See Watch."""
        sql = "SELECT 1 FROM counts WHERE span = 60 AND at < ? LIMIT 1"
        if not self._connection.rows(sql, (counters.rolled_until(at),)):
            return False
        with self._connection.write() as connection:
            counters.roll(connection, at)
        return True

    def totals(self) -> Counts:
        """See Watch."""
        return counters.summed(self._connection.rows(_TOTALS))

    def recent(self, since: float) -> Counts:
        """See Watch."""
        return counters.summed(self._connection.rows(_RECENT, (since,)))

    def hours(self, names: Sequence[str], since: float) -> dict[str, dict[int, int]]:
        """See Watch."""
        found: defaultdict[str, dict[int, int]] = defaultdict(dict)
        for row in self._connection.rows(_HOURS, {"names": _list(names), "since": since}):
            found[row["subject"]][row["hour"]] = row["n"]
        return dict(found)

    def last(self, names: Sequence[str], since: float) -> dict[str, int]:
        """See Watch."""
        rows = self._connection.rows(_LAST, {"names": _list(names), "since": since})
        return {row["subject"]: row["at"] for row in rows}

    def look(self, at: float, steady: float) -> Looked:
        """See Watch."""
        with self._connection.snapshot():
            (row,) = self._connection.rows(_LOOK, {"at": at, "steady": steady})
            pages = {name: int(self._connection.rows(f"PRAGMA {name}")[0][0]) for name in _PAGES}
            handlers = self._connection.rows("SELECT name FROM handlers WHERE NOT removed")
            failed = self._connection.rows("SELECT module FROM failed_modules")
            passed = elapsed.passed(self._connection.database.conn)
            processes = self._connection.rows("SELECT role, since, steady FROM processes WHERE role <> 'alarms'")
        since = [row[name] for name in _OLDEST if row[name] is not None]
        return Looked(
            backlog={name: row[name] for name in _BACKLOG},
            oldest=max([0.0, *(at - moment for moment in since)]),
            oldest_paused=max(0.0, at - row["oldest_paused"]) if row["oldest_paused"] is not None else 0.0,
            store=self._sizes(**pages),
            disk_free=self._disk_free(),
            handlers=frozenset(row["name"] for row in handlers),
            failed=frozenset(row["module"] for row in failed),
            processes={row["role"]: Alive(_age(steady, row["steady"]), row["since"]) for row in processes},
            passed=passed,
        )

    def inspect(self, seconds: float) -> Iterator[tuple[str, float, bool]]:
        """See Watch."""
        try:
            yield from inspect.inspect(self._path, seconds)
        except StoreUnusable as error:
            self._connection.files.damage = str(error)
            raise

    def turn(self, steady: float, every: float) -> bool:
        """See Watch."""
        with self._connection.write() as connection:
            connection.execute(_FIRST_TURN)
            return connection.execute(_TURN, {"steady": steady, "every": every}).fetchone() is not None

    def close(self) -> None:
        """See Watch."""
        self._connection.close()
        self._durable.close()

    def _sizes(self, page_count: int, freelist_count: int, page_size: int) -> dict[str, int]:
        log = self._path.with_name(f"{self._path.name}-wal")
        free = freelist_count * page_size
        return {"used": page_count * page_size - free, "free": free, "log": log.stat().st_size if log.exists() else 0}

    def _disk_free(self) -> int:
        try:
            disk = os.statvfs(self._path.parent)
        except OSError as error:
            raise StoreUnavailable(f"the disk does not say how much is free: {error.strerror}") from error
        return disk.f_bavail * disk.f_frsize


def _list(names: Sequence[str]) -> str:
    return json.dumps(list(names))


def _age(now: float, then: float) -> float:
    """Return how old a sign is; one from the future was given before the machine started anew."""
    return now - then if then <= now else float("inf")
