"""The owner's side of the SQLite store: lists, one event with everything about it, and running one again."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from inbox.core.errors import Erased, NotFound, Unreadable
from inbox.core.models import HandlerSpec, Request, iso
from inbox.store.protocols import Filter, ReplayResult
from inbox.store.protocols_search import never
from inbox.store.sealing.sealer import UNSEALED, Sealer
from inbox.store.sql.deliveries import make_delivery, settle
from inbox.store.sql.event_search import COLUMNS, count_all, event_of, look
from inbox.store.sql.handlers import remembered
from inbox.store.sql.holds import KEPT_BY
from inbox.store.sqlite.connection import Connection

_BODY = """
SELECT source, key, method, path, query, headers, remote, body, seal
FROM bodies JOIN events ON events.id = event_id WHERE event_id = ?
"""
_DELIVERIES = """
SELECT id, handler, replay_id, status, attempts, crashes, worker, lease_until, due_at, created_at, finished_at, value,
       error, paused_by
FROM deliveries WHERE event_id = ? ORDER BY id
"""
_ATTEMPTS = """
SELECT delivery_id, number, worker, started_at, finished_at, result, error FROM attempts
WHERE delivery_id IN (SELECT id FROM deliveries WHERE event_id = ?) ORDER BY id
"""
_SOURCES = """
SELECT source, sum(events) AS events, max(last_at) AS last_event_at,
       coalesce(sum(events) FILTER (WHERE status = 'quarantined'), 0) AS quarantined,
       coalesce(sum(events) FILTER (WHERE status = 'conflict'), 0) AS conflicts,
       coalesce(sum(events) FILTER (WHERE status = 'dead'), 0) AS dead,
       sum(duplicates) AS duplicates
FROM kinds GROUP BY source HAVING sum(events) > 0
"""
# In four parts, each of which has its index: most deliveries ever made have ended.
_BACKLOG = """
SELECT handler, count(*) AS waiting FROM (
    SELECT handler FROM deliveries WHERE status IN ('pending', 'retrying') AND paused_by IS NULL
    UNION ALL SELECT handler FROM deliveries WHERE paused_by IS NOT NULL
    UNION ALL SELECT handler FROM deliveries WHERE status = 'running'
    UNION ALL SELECT handler FROM deliveries WHERE status = 'parked'
) GROUP BY handler ORDER BY handler
"""
_REFUSED = "SELECT source, count(*) AS refusals, max(at) AS last_refusal_at FROM refusals GROUP BY source"
_HELD = "SELECT source, count(*) AS held FROM held GROUP BY source"
_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("events", "quarantined", "conflicts", "dead", "duplicates", "refusals", "held"), 0),
    **dict.fromkeys(("last_event_at", "last_refusal_at")),
}
_REFUSALS = "SELECT id, source, at, code, reason, diagnosis, method, remote, headers, size, request_id FROM refusals"
# The second condition is that of the index: events from before there were request ids are not in it.
_FIND = "SELECT id FROM events WHERE request_id = ? AND request_id <> ''"
_HEAD = "SELECT status, body_pruned_at, erased_at FROM events WHERE id = ?"
# A delivery of this handler that has not ended: it is made due rather than doubled.
_LIVE = """
SELECT id, status FROM deliveries
WHERE event_id = ? AND handler = ? AND status IN ('pending', 'retrying', 'parked', 'running') ORDER BY id DESC LIMIT 1
"""
_EXPEDITE = """
UPDATE deliveries SET due_at = :at, waits_since = :at WHERE id = :id AND status IN ('pending', 'retrying')
"""
_RESTART = """
UPDATE deliveries SET status = 'pending', due_at = :at, waits_since = :at WHERE id = :id AND status = 'parked'
"""
# Only what is still unsettled: somebody else may have replayed the event since it was looked at.
CHECKED = """
UPDATE events SET status = ?, type = coalesce(?, type), violations = ?
WHERE id = ? AND status IN ('quarantined', 'conflict', 'ignored')
"""


class SqliteArchive:
    """See `inbox.store.protocols.Archive`."""

    def __init__(self, connection: Connection, sealer: Sealer = UNSEALED) -> None:
        self._connection = connection
        self._sealer = sealer

    def events(self, wanted: Filter, limit: int) -> list[dict[str, Any]]:
        """See Archive."""
        return [dict(row) for row in look(self._connection, wanted, limit, never).rows]

    def count(self, wanted: Filter) -> int:
        """See Archive."""
        return count_all(self._connection, wanted)

    def event(self, event_id: int) -> dict[str, Any]:
        """See Archive."""
        with self._connection.snapshot():
            rows = self._connection.rows(f"SELECT {COLUMNS}, pruned_at FROM events WHERE id = ?", (event_id,))
            kept = self._connection.rows(KEPT_BY, {"id": event_id})
            bodies = self._connection.rows(_BODY, (event_id,))
            attempts = [dict(row) for row in self._connection.rows(_ATTEMPTS, (event_id,))]
            deliveries = [dict(row) for row in self._connection.rows(_DELIVERIES, (event_id,))]
        if not rows:
            raise NotFound(f"there is no event {event_id}")
        if rows[0]["pruned_at"] is not None:
            raise NotFound(f"event {event_id} was pruned: only its key is left, so that copies of it are recognised")
        for delivery in deliveries:
            delivery["runs"] = [item for item in attempts if item["delivery_id"] == delivery["id"]]
        event = {**event_of(rows[0]), "deliveries": deliveries, "kept": dict(kept[0]) if kept else None}
        try:
            return event | ({"request": _request(self._sealer.open(event_id, bodies[0]))} if bodies else {})
        except (Erased, Unreadable) as error:
            return event | {"unreadable": str(error)}

    def find(self, request_id: str) -> int | None:
        """See Archive."""
        rows = self._connection.rows(_FIND, (request_id,))
        return rows[0]["id"] if rows else None

    def request(self, event_id: int) -> Request:
        """See Archive."""
        rows = self._connection.rows(_BODY, (event_id,))
        if not rows:
            _refuse_erased(event_id, self._connection.rows(_HEAD, (event_id,)))
            raise NotFound(f"there is no body of an event {event_id}; if there was one, it was pruned")
        return self._sealer.open(event_id, rows[0])

    def sources(self) -> list[dict[str, Any]]:
        """See Archive."""
        with self._connection.snapshot():
            parts = [self._connection.rows(sql) for sql in (_SOURCES, _REFUSED, _HELD)]
            matched = self._connection.rows("SELECT source, secret, at FROM matches ORDER BY source, secret")
        found: dict[str, dict[str, Any]] = {}
        for row in (row for part in parts for row in part):
            found[row["source"]] = {**found.get(row["source"], _NOTHING), **dict(row)}
        matches: dict[str, dict[int, float]] = {}
        for row in matched:
            matches.setdefault(row["source"], {})[row["secret"]] = row["at"]
        return [{**found[name], "matches": matches.get(name, {})} for name in sorted(found)]

    def backlog(self) -> dict[str, int]:
        """See Archive."""
        return {row["handler"]: row["waiting"] for row in self._connection.rows(_BACKLOG)}

    def refusals(self, source: str | None, limit: int, *, request_id: str | None = None) -> list[dict[str, Any]]:
        """See Archive."""
        wanted = {"source": source, "request_id": request_id}
        clauses = [f"{name} = :{name}" for name, value in wanted.items() if value is not None]
        which = f"WHERE {' AND '.join(clauses)}" if clauses else ""
        rows = self._connection.rows(f"{_REFUSALS} {which} ORDER BY id DESC LIMIT :limit", {**wanted, "limit": limit})
        return [{**dict(row), **self._sealer.open_refusal(row)} for row in rows]

    def handlers(self) -> list[HandlerSpec]:
        """See Archive."""
        return remembered(self._connection)

    def held(self, source: str, after: int, limit: int) -> list[tuple[int, float, Request]]:
        """See Archive."""
        sql = "SELECT * FROM held WHERE source = ? AND id > ? ORDER BY id LIMIT ?"
        rows = self._connection.rows(sql, (source, after, limit))
        return [(row["id"], row["at"], self._sealer.open_held(row).replace(id=row["request_id"])) for row in rows]

    def list_held(self, source: str | None) -> list[dict[str, Any]]:
        """See Archive."""
        where = "WHERE source = ?" if source is not None else ""
        columns = "id, source, at, expires_at, method, remote, coalesce(seal, length(body)) AS size"
        sql = f"SELECT {columns} FROM held {where} ORDER BY id"
        return [dict(row) for row in self._connection.rows(sql, (source,) if source is not None else ())]

    def drop_held(self, held_id: int) -> None:
        """See Archive."""
        with self._connection.write() as connection:
            connection.execute("DELETE FROM held WHERE id = ?", (held_id,))

    def replay(
        self, event_id: int, handler: str, *, can_run: bool, replay_id: int, at: float
    ) -> tuple[ReplayResult, int]:
        """See Archive."""
        with self._connection.write() as connection:
            return _replay(connection, event_id, handler, can_run, replay_id, at)

    def close(self) -> None:
        """See Archive."""
        self._connection.close()


def run_again(
    connection: sqlite3.Connection, wanted: Sequence[tuple[int, str, bool]], replay_id: int, at: float
) -> list[ReplayResult | None]:
    """Replay (event id, handler, can it run) in the open transaction; None for an event that is gone."""
    results: list[ReplayResult | None] = []
    for each in wanted:
        try:
            results.append(_replay(connection, *each, replay_id, at)[0])
        except NotFound:
            results.append(None)
    return results


def _replay(
    connection: sqlite3.Connection, event_id: int, handler: str, can_run: bool, replay_id: int, at: float
) -> tuple[ReplayResult, int]:
    head = connection.execute(_HEAD, (event_id,)).fetchone()
    if head is None:
        raise NotFound(f"there is no event {event_id}")
    _refuse_erased(event_id, [head])
    if head["body_pruned_at"] is not None:
        raise NotFound(f"the body of event {event_id} was pruned: it cannot be run again")
    live = connection.execute(_LIVE, (event_id, handler)).fetchone()
    if live is not None and live["status"] == "running":
        return "running", int(live["id"])
    if live is not None:
        connection.execute(_EXPEDITE, {"at": at, "id": live["id"]})
        if can_run:
            connection.execute(_RESTART, {"at": at, "id": live["id"]})
        return "expedited", int(live["id"])
    # Of an event that nobody routed yet this is the first delivery, so that routing does not double it.
    numbers = (0, replay_id) if head["status"] == "received" else (replay_id,)
    tries = (make_delivery(connection, event_id, handler, can_run, number, at) for number in numbers)
    made = next((delivery for delivery in tries if delivery is not None), None)
    assert made is not None, "a replay makes each delivery once"
    settle(connection, event_id)
    return "created", made


def _request(request: Request) -> dict[str, Any]:
    shown = {name: getattr(request, name) for name in ("method", "path", "query", "remote")}
    return {**shown, "headers": [list(pair) for pair in request.headers]}


def _refuse_erased(event_id: int, heads: list[sqlite3.Row]) -> None:
    """Raise Erased if this is the head of an event that was erased."""
    for head in heads:
        if head["erased_at"] is not None:
            raise Erased(f"event {event_id} was erased at {iso(head['erased_at'])}: its content cannot be had back")
