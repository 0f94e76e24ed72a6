"""Events by everything a filter can ask for, with bounded work: pages, numbers, and what to choose from."""

import json
import sqlite3
from typing import Any

from inbox.store.filters import EVENT_STATUSES, Filter
from inbox.store.protocols_search import NAMES, PENDING, Found, Stop, Unseen, never
from inbox.store.sqlite.connection import Connection
from inbox.store.sqlite.event_index import count, kinds, page
from inbox.store.sqlite.fts import require_fts
from inbox.store.sqlite.intersect import is_joined, joined

COLUMNS = """
id, source, type, key, status, received_at, size, hex(body_digest) AS body_digest, verified_by, violations,
conflict_of, duplicates, last_duplicate_at, body_pruned_at, erased_at, request_id
"""
_UNSEEN = """
SELECT coalesce(max(upto), 0) AS upto, coalesce(sum(sealed), 0) AS sealed, coalesce(sum(bodiless), 0) AS bodiless,
       coalesce(sum(cut), 0) AS cut
FROM search_blocks WHERE state = 'live'
"""
_PENDING = "SELECT count(*) AS n FROM (SELECT 1 FROM events WHERE id > ? AND pruned_at IS NULL LIMIT ?)"
# From each name to the next one by the index, however many deliveries each has.
_HANDLERS = """
WITH RECURSIVE known (name) AS (
    SELECT min(handler) FROM deliveries
    UNION ALL SELECT (SELECT min(handler) FROM deliveries WHERE handler > known.name) FROM known
    WHERE known.name IS NOT NULL LIMIT :limit + 1
) SELECT name FROM known WHERE name IS NOT NULL LIMIT :limit
"""
_NAMES = "SELECT DISTINCT {name} AS name FROM kinds WHERE events > 0 LIMIT :limit"


class SqliteFinding:
    """See `inbox.store.protocols_search.EventSearch`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def look(self, wanted: Filter, limit: int, stop: Stop = never) -> Found:
        """See EventSearch."""
        return look(self._connection, wanted, limit, stop)

    def count(self, wanted: Filter, limit: int, stop: Stop = never) -> tuple[int, bool]:
        """See EventSearch."""
        with self._connection.snapshot():
            if not is_joined(wanted):
                return self._count_plain(wanted, limit)
            ids, searched = joined(self._connection, wanted, limit + 1, stop)
        return min(len(ids), limit), len(ids) > limit or searched is not None

    def _count_plain(self, wanted: Filter, limit: int) -> tuple[int, bool]:
        """Without a time or an id it is a sum that is known; with one, no more ids are looked at than the limit."""
        timeless = all(getattr(wanted, name) is None for name in ("since", "until", "before", "after"))
        if timeless:
            return int(self._connection.rows(*count(wanted))[0]["n"]), False
        sql, values = page("id", wanted, self._connection.rows(*kinds(wanted))[0]["n"])
        rows = self._connection.rows(f"SELECT count(*) AS n FROM ({sql})", {**values, "limit": limit + 1})
        return min(rows[0]["n"], limit), rows[0]["n"] > limit

    def unseen(self) -> Unseen:
        """See EventSearch."""
        require_fts(self._connection.rows)
        with self._connection.snapshot():
            (row,) = self._connection.rows(_UNSEEN)
            (later,) = self._connection.rows(_PENDING, (row["upto"], PENDING + 1))
        return Unseen(row["upto"], later["n"], row["sealed"], row["bodiless"], row["cut"])

    def facets(self) -> dict[str, list[str]]:
        """See EventSearch."""
        limit = {"limit": NAMES}
        with self._connection.snapshot():
            found = {f"{name}s": self._connection.rows(_NAMES.format(name=name), limit) for name in ("source", "type")}
            found["handlers"] = self._connection.rows(_HANDLERS, limit)
        return {
            "statuses": list(EVENT_STATUSES),
            **{key: sorted(row["name"] for row in rows) for key, rows in found.items()},
        }

    def close(self) -> None:
        """See EventSearch."""
        self._connection.close()


def look(connection: Connection, wanted: Filter, limit: int, stop: Stop) -> Found:
    """Return a page of events."""
    with connection.snapshot():
        if not is_joined(wanted):
            (few,) = connection.rows(*kinds(wanted))
            sql, values = page(COLUMNS, wanted, few["n"])
            return Found([event_of(row) for row in connection.rows(sql, {**values, "limit": limit})])
        ids, searched = joined(connection, wanted, limit, stop)
        sql = f"SELECT {COLUMNS} FROM events WHERE id IN (SELECT value FROM json_each(?))"
        rows = {row["id"]: event_of(row) for row in connection.rows(sql, (json.dumps(ids),))}
    return Found([rows[number] for number in ids], searched)


def count_all(connection: Connection, wanted: Filter) -> int:
    """Return how many events there are, however long that takes."""
    if not is_joined(wanted):
        return int(connection.rows(*count(wanted))[0]["n"])
    with connection.snapshot():
        return len(joined(connection, wanted, 2**63, never)[0])


def event_of(row: sqlite3.Row) -> dict[str, Any]:
    """Return a row of COLUMNS as others see it."""
    event = {name: row[name] for name in row.keys() if name != "pruned_at"}  # noqa: SIM118 – a Row is no mapping
    event["violations"] = json.loads(event["violations"]) if event["violations"] else []
    event["body_digest"] = event["body_digest"].lower()
    return event
