"""The retention side of the SQLite store: finds what may go without a lock, lets it go in short transactions.

How old a row is follows from its date as far as the marks in `elapsed` allow: a date comes from a clock that can lie.

`secure_delete` is on for all connections, so what goes is overwritten in the file with zeros, and in the log when that
is begun anew.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from inbox.store.protocols import Filter
from inbox.store.protocols_retention import Page, SpaceUsed, What
from inbox.store.sql import holds
from inbox.store.sql.elapsed import older
from inbox.store.sqlite.connection import Connection
from inbox.store.sqlite.event_index import where
from inbox.store.sqlite.instance_lock import alone

_OLD = f"{older('events', 'received_at', id='events.id')} AND events.id <= :upto"
_OLD_ATTEMPT = f"{older('attempts', 'attempts.finished_at', id='attempts.id')} AND attempts.id <= :upto"
_OLD_REFUSAL = f"{older('refusals', 'at')} AND id <= :upto"
_FINISHED = f"""
{_OLD} AND events.status IN (SELECT value FROM json_each(:statuses)) AND NOT EXISTS
    (SELECT 1 FROM deliveries AS live WHERE live.event_id = events.id
     AND live.status IN ('pending', 'running', 'retrying', 'parked'))
"""
_ROW = 200
"""About how many bytes a row takes with its indexes, beside its texts."""

# Each through an index that has only rows which are at this stage; {which} is a page of them, or those that were found.
_FIND = {
    "bodies": f"""
SELECT id, size AS bytes, {_OLD} AS old, {holds.KEPT} AS kept, {_FINISHED} AS may
FROM events INDEXED BY events_bodies
WHERE source = :source AND pruned_at IS NULL AND body_pruned_at IS NULL AND {{which}} ORDER BY id LIMIT :limit
""",
    "attempts": f"""
SELECT attempts.id, length(attempts.error) + {_ROW} AS bytes, {_OLD_ATTEMPT} AS old, {holds.KEPT} AS kept,
       {_OLD_ATTEMPT} AND deliveries.status NOT IN ('pending', 'running', 'retrying', 'parked')
       AND events.status IN (SELECT value FROM json_each(:statuses)) AS may
FROM attempts INDEXED BY attempts_source CROSS JOIN deliveries ON deliveries.id = delivery_id
     CROSS JOIN events ON events.id = event_id
WHERE attempts.source = :source AND attempts.{{which}} ORDER BY attempts.id LIMIT :limit
""",
    "events": f"""
SELECT id, {_ROW} + coalesce(length(violations), 0) + coalesce((SELECT sum({_ROW} + length(error)
       + coalesce(length(value), 0)) FROM deliveries WHERE event_id = events.id), 0) AS bytes,
       {_OLD} AS old, {holds.KEPT} AS kept, {_FINISHED} AS may
FROM events INDEXED BY events_bodiless
WHERE source = :source AND body_pruned_at IS NOT NULL AND pruned_at IS NULL AND {{which}} ORDER BY id LIMIT :limit
""",
    "event_keys": f"""
SELECT id, {_ROW} + length(key) + length(type) AS bytes, {_OLD} AS old, {holds.KEPT} AS kept,
       {_OLD} AND NOT EXISTS (SELECT 1 FROM events AS other WHERE other.conflict_of = events.id) AS may
FROM events INDEXED BY events_stripped
WHERE source = :source AND pruned_at IS NOT NULL AND {{which}} ORDER BY id LIMIT :limit
""",
    "refusals": f"""
SELECT id, bytes, {_OLD_REFUSAL} AS old, 0 AS kept, {_OLD_REFUSAL} AS may FROM refusals
WHERE source = :source AND {{which}} ORDER BY id LIMIT :limit
""",
}
_THESE = "IN (SELECT value FROM json_each(:ids))"
_PRUNE = {
    "bodies": (
        f"DELETE FROM bodies WHERE event_id {_THESE}",
        f"UPDATE events SET body_pruned_at = :at WHERE id {_THESE}",
    ),
    "attempts": (f"DELETE FROM attempts WHERE id {_THESE}",),
    "events": (
        f"DELETE FROM deliveries WHERE event_id {_THESE}",
        f"UPDATE events SET pruned_at = :at, violations = NULL, verified_by = '' WHERE id {_THESE}",
    ),
    "event_keys": (f"DELETE FROM events WHERE id {_THESE}",),
    "refusals": (f"DELETE FROM refusals WHERE id {_THESE}",),
}
_SOURCES = "SELECT source FROM kinds UNION SELECT source FROM refusals ORDER BY 1"
_BODY_BYTES = """
SELECT coalesce(sum(size), 0) AS n FROM events INDEXED BY events_bodies
WHERE source = ? AND pruned_at IS NULL AND body_pruned_at IS NULL
"""
# Each reads no more than an index, and of that no more than what may stay.
_BEYOND = {
    "events": """
SELECT id FROM events INDEXED BY events_bodies
WHERE source = ? AND pruned_at IS NULL ORDER BY id DESC LIMIT 1 OFFSET ?
""",
    "attempts": "SELECT id FROM attempts INDEXED BY attempts_source WHERE source = ? ORDER BY id DESC LIMIT 1 OFFSET ?",
    "refusals": "SELECT id FROM refusals INDEXED BY refusals_source WHERE source = ? ORDER BY id DESC LIMIT 1 OFFSET ?",
}
_BEYOND_BYTES = """
SELECT id FROM (
    SELECT id, sum(bytes) OVER newest AS total, row_number() OVER newest AS place
    FROM refusals INDEXED BY refusals_source WHERE source = ? WINDOW newest AS (ORDER BY id DESC)
) WHERE total > ? AND place > 1 LIMIT 1
"""
_KEEP = """
INSERT INTO keeps (event_id, at, who, why)
SELECT id, :at, :who, :why FROM events {where} AND id NOT IN (SELECT event_id FROM keeps) ORDER BY id LIMIT :limit
ON CONFLICT (event_id) DO NOTHING
"""
_UNKEEP = """
DELETE FROM keeps WHERE event_id IN
    (SELECT id FROM events {where} AND id IN (SELECT event_id FROM keeps) ORDER BY id LIMIT :limit)
"""
_LIST = """
SELECT event_id AS id, source, type, key, status, keeps.at AS kept_at, who, why
FROM keeps JOIN events ON events.id = event_id ORDER BY keeps.at DESC, event_id DESC LIMIT ?
"""
_INCREMENTAL = 2


class SqliteKeeping:
    """See `inbox.store.protocols_retention.Keeping`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def sources(self) -> list[str]:
        """See Keeping."""
        return [row["source"] for row in self._connection.rows(_SOURCES)]

    def body_bytes(self, source: str) -> int:
        """See Keeping."""
        return int(self._connection.rows(_BODY_BYTES, (source,))[0]["n"])

    def beyond(self, kind: Literal["attempts", "events", "refusals"], source: str, count: int) -> int:
        """See Keeping."""
        rows = self._connection.rows(_BEYOND[kind], (source, count))
        return int(rows[0]["id"]) if rows else 0

    def beyond_bytes(self, source: str, size: int) -> int:
        """See Keeping."""
        rows = self._connection.rows(_BEYOND_BYTES, (source, size))
        return int(rows[0]["id"]) if rows else 0

    def look(self, what: What, after: int, limit: int) -> Page:
        """See Keeping."""
        values = {**_values(what), "after": after, "limit": limit}
        rows = self._connection.rows(_FIND[what.kind].format(which="id > :after"), values)
        return Page(
            tuple((row["id"], row["bytes"]) for row in rows if row["may"] and not row["kept"]),
            sum(bool(row["may"] and row["kept"]) for row in rows),
            rows[-1]["id"] if rows else None,
            any(row["old"] for row in rows),
        )

    def prune(self, what: What, ids: Sequence[int], at: float) -> int:
        """See Keeping. Atomic: one transaction that first looks whether they still may go."""
        values = {**_values(what), "ids": json.dumps(list(ids)), "limit": len(ids)}
        with self._connection.write() as connection:
            rows = connection.execute(_FIND[what.kind].format(which=f"id {_THESE}"), values).fetchall()
            may = [row["id"] for row in rows if row["may"] and not row["kept"]]
            for statement in _PRUNE[what.kind]:
                connection.execute(statement, {"ids": json.dumps(may), "at": at})
            return len(may)

    def space(self) -> SpaceUsed:
        """See Keeping."""
        with self._connection.snapshot():
            names = ("page_size", "page_count", "freelist_count", "auto_vacuum")
            size, pages, free, mode = (int(self._connection.rows(f"PRAGMA {name}")[0][0]) for name in names)
        return SpaceUsed(pages * size, free * size, mode == _INCREMENTAL)

    def give_back(self, pages: int) -> int:
        """See Keeping. Atomic: one transaction."""
        with self._connection.write() as connection:
            for _ in range(pages):  # one page each: Python's sqlite3 makes one step of a statement without columns
                connection.execute("PRAGMA incremental_vacuum(1)")
            return int(connection.execute("PRAGMA freelist_count").fetchone()[0])

    def keep(self, wanted: Filter, ids: Sequence[int], *, at: float, who: str, why: str, limit: int = 500) -> int:
        """See Keeping. Atomic: one INSERT."""
        clause, values = _which(wanted, ids)
        with self._connection.write() as connection:
            values |= {"at": at, "who": who, "why": why, "limit": limit}
            return connection.execute(_KEEP.format(where=clause), values).rowcount

    def unkeep(self, wanted: Filter, ids: Sequence[int], limit: int = 500) -> int:
        """See Keeping. Atomic: one DELETE."""
        clause, values = _which(wanted, ids)
        with self._connection.write() as connection:
            return connection.execute(_UNKEEP.format(where=clause), {**values, "limit": limit}).rowcount

    def kept(self, limit: int) -> list[dict[str, Any]]:
        """See Keeping."""
        return [dict(row) for row in self._connection.rows(_LIST, (limit,))]

    def hold(self, wanted: Filter, *, at: float, who: str, why: str) -> int:
        """See Keeping."""
        return holds.begin(self._connection, wanted, at=at, who=who, why=why)

    def end_hold(self, hold: int, *, at: float, who: str) -> bool:
        """See Keeping."""
        return holds.end(self._connection, hold, at=at, who=who)

    def holds(self) -> list[dict[str, Any]]:
        """See Keeping."""
        return holds.all_of_them(self._connection)

    def close(self) -> None:
        """See Keeping."""
        self._connection.close()


def _values(what: What) -> dict[str, Any]:
    statuses = json.dumps(what.statuses)
    return {"source": what.source, "before": what.before, "upto": what.upto, "statuses": statuses}


def _which(wanted: Filter, ids: Sequence[int]) -> tuple[str, dict[str, Any]]:
    clause, values = where(wanted)
    return (f"{clause} AND id {_THESE}", {**values, "ids": json.dumps(list(ids))}) if ids else (clause, values)


def rewrite(path: Path, connection: Connection) -> int:
    """Write the database anew without its free pages, so that later ones can be given back in steps; return its size.

    Nobody can write meanwhile, and it takes the room of the database twice. Raises InTheWay while anybody works on it.
    """
    with alone(path):
        connection.rows("PRAGMA auto_vacuum = INCREMENTAL")
        connection.rows("VACUUM")
        connection.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.stat().st_size
