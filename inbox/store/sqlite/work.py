"""The worker's side of the SQLite store: route, claim, finish.

Not fsynced: losing the last of it in a power cut means running a delivery again, which is allowed.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from inbox.models import Claimed, HandlerSpec, Handles, Request
from inbox.store.base import Finished, Outcome
from inbox.store.sqlite.connection import Connection
from inbox.store.sqlite.counts import tally_attempt, tally_rescue

# Only the first of several routers finds the event still "received".
_ROUTE = "UPDATE events SET status = ? WHERE id = ? AND status = 'received' RETURNING id"
_DELIVER = """
INSERT INTO deliveries (event_id, handler, replay_id, status, due_at, waits_since, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id, handler, replay_id) DO NOTHING
RETURNING id
"""
# One UPDATE decides who has the delivery; a lease that ran out is a crash of whoever held it. A lease that begins in
# the future of the steady clock was given before the machine started anew: by more than another worker, who looked at
# the clock earlier and then waited for the write lock, could be behind.
_CLAIM = """
UPDATE deliveries
SET crashes = crashes + (status = 'running'), status = 'running', token = :token, worker = :worker,
    lease_until = :at + :lease, steady_until = :steady + :lease, lease = :lease, attempts = attempts + 1
WHERE id = :id AND ((status IN ('pending', 'retrying') AND due_at <= :at)
                    OR (status = 'running' AND (steady_until <= :steady OR steady_until - lease > :steady + 60.0)))
RETURNING event_id, handler, attempts, crashes, created_at, replay_id
"""
_CRASHED = "UPDATE attempts SET result = 'crashed', finished_at = ? WHERE delivery_id = ? AND result = 'running'"
_ATTEMPT = "INSERT INTO attempts (delivery_id, number, token, worker, started_at) VALUES (?, ?, ?, ?, ?)"
_EVENT = """
SELECT source, type, key, received_at, method, path, query, headers, remote, body
FROM events JOIN bodies ON bodies.event_id = events.id WHERE events.id = ?
"""
_HEARTBEAT = """
UPDATE deliveries SET lease_until = ?, steady_until = ? WHERE id = ? AND token = ? AND status = 'running' RETURNING id
"""
# The token is the fence: a worker that lost its lease changes nothing.
_FINISH = """
UPDATE deliveries
SET status = :status, token = NULL, worker = NULL, lease_until = NULL, due_at = coalesce(:due_at, due_at),
    waits_since = :at, finished_at = :finished_at, value = :value, error = :error,
    attempts = attempts - (:status = 'parked')
WHERE id = :id AND token = :token AND status = 'running'
RETURNING event_id
"""
_END_ATTEMPT = """
UPDATE attempts SET result = ?, finished_at = ?, error = ? WHERE token = ? AND result IN ('running', 'crashed')
"""
# An event is what the latest delivery of each of its handlers is; one that nobody routed stays so until it is routed.
SETTLE = """
WITH latest AS (
    SELECT status FROM deliveries AS d WHERE event_id = :event AND replay_id =
        (SELECT max(replay_id) FROM deliveries AS o WHERE o.event_id = d.event_id AND o.handler = d.handler)
)
UPDATE events SET status = CASE
    WHEN status = 'received' THEN 'received'
    WHEN EXISTS (SELECT 1 FROM latest WHERE status IN ('pending', 'running', 'retrying', 'parked')) THEN 'processing'
    WHEN EXISTS (SELECT 1 FROM latest WHERE status = 'dead') THEN 'dead'
    ELSE 'succeeded' END
WHERE id = :event RETURNING status
"""
_WAITING = """
SELECT id, due_at AS at FROM deliveries WHERE status IN ('pending', 'retrying') AND due_at <= :until
UNION ALL
SELECT id, CASE WHEN steady_until <= :steady THEN :until - (:steady - steady_until) ELSE 0.0 END AS at FROM deliveries
WHERE status = 'running' AND (steady_until <= :steady OR steady_until - lease > :steady + 60.0)
ORDER BY at LIMIT :limit
"""
# A pause that began later than now was given before the clock was set back; it begins again.
_LATER = "status IN ('pending', 'retrying') AND waits_since > :at + 1.0"
_SET_BACK = f"UPDATE deliveries SET due_at = due_at - (waits_since - :at), waits_since = :at WHERE {_LATER}"
# What a module that failed today had when it last loaded is still there; what was removed before stays removed.
_REMOVE = "UPDATE handlers SET removed = 1, failure = '' WHERE module NOT IN (SELECT value FROM json_each(?))"
_REMEMBER = """
INSERT INTO handlers (name, module, marks, failure, removed, loaded_at) VALUES (?, ?, ?, '', 0, ?)
ON CONFLICT (name) DO UPDATE SET module = excluded.module, marks = excluded.marks, failure = '', removed = 0,
                                 loaded_at = excluded.loaded_at
"""
_UNPARK = """
UPDATE deliveries SET status = 'pending', due_at = :at, waits_since = :at, error = ''
WHERE status = 'parked' AND handler = :handler
"""


class SqliteWork:
    """See `inbox.store.base.Work`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def remember(self, handlers: Sequence[HandlerSpec], at: float) -> None:
        """See Work."""
        remember(self._connection, handlers, at)

    def handlers(self) -> list[HandlerSpec]:
        """See Work."""
        return remembered(self._connection)

    def event_head(self, event_id: int) -> tuple[str, str, str] | None:
        """See Work."""
        rows = self._connection.rows("SELECT source, type, status FROM events WHERE id = ?", (event_id,))
        return (rows[0]["source"], rows[0]["type"], rows[0]["status"]) if rows else None

    def route(self, event_id: int, handlers: Mapping[str, bool], at: float) -> list[int]:
        """See Work."""
        status = "processing" if handlers else "unhandled"
        with self._connection.write() as connection:
            if connection.execute(_ROUTE, (status, event_id)).fetchone() is None:
                return []
            made = {
                name: make_delivery(connection, event_id, name, can_run, 0, at) for name, can_run in handlers.items()
            }
            if None in made.values():
                settle(connection, event_id)
        return [delivery for name, delivery in made.items() if handlers[name] and delivery is not None]

    def claim(
        self, delivery_id: int, *, token: str, worker: str, at: float, lease: float, steady: float | None = None
    ) -> Claimed | None:
        """See Work."""
        values = {"id": delivery_id, "token": token, "worker": worker, "at": at, "lease": lease}
        values["steady"] = at if steady is None else steady
        with self._connection.write() as connection:
            row = connection.execute(_CLAIM, values).fetchone()
            if row is None:
                return None
            if row["crashes"]:
                crashed = connection.execute(_CRASHED, (at, delivery_id)).rowcount
                tally_rescue(connection, row["handler"], crashed, at)
            connection.execute(_ATTEMPT, (delivery_id, row["attempts"], token, worker, at))
            event = connection.execute(_EVENT, (row["event_id"],)).fetchone()
        return Claimed(
            id=delivery_id,
            token=token,
            handler=row["handler"],
            attempt=row["attempts"],
            crashes=row["crashes"],
            created_at=row["created_at"],
            is_replay=row["replay_id"] > 0,
            event_id=row["event_id"],
            source=event["source"],
            type=event["type"],
            key=event["key"],
            received_at=event["received_at"],
            request=stored_request(event),
        )

    def heartbeat(self, delivery_id: int, token: str, lease_until: float, steady: float | None = None) -> bool:
        """See Work."""
        values = (lease_until, lease_until if steady is None else steady, delivery_id, token)
        with self._connection.write() as connection:
            return connection.execute(_HEARTBEAT, values).fetchone() is not None

    def holds(self, delivery_id: int, token: str, steady: float) -> bool:
        """See Work."""
        sql = "SELECT 1 FROM deliveries WHERE id = ? AND token = ? AND status = 'running' AND steady_until > ?"
        return bool(self._connection.rows(sql, (delivery_id, token, steady)))

    def finish(self, delivery_id: int, token: str, outcome: Outcome, at: float) -> Finished:
        """See Work."""
        values = {
            "id": delivery_id,
            "token": token,
            "status": outcome.status,
            "due_at": outcome.due_at,
            "at": at,
            "finished_at": None if outcome.status in ("retrying", "parked") else at,
            "value": outcome.value,
            "error": encodable(outcome.error),
        }
        with self._connection.write() as connection:
            row = connection.execute(_FINISH, values).fetchone()
            result = outcome.result if row is not None else "lost"
            if connection.execute(_END_ATTEMPT, (result, at, encodable(outcome.error), token)).rowcount:
                tally_attempt(connection, token, outcome, at, held=row is not None)
            if row is None:
                return Finished(held=False)
            return Finished(held=True, event_status=settle(connection, row["event_id"]))

    def expire(self, at: float) -> int:
        """See Work."""
        with self._connection.write() as connection:
            return connection.execute("DELETE FROM held WHERE expires_at <= ?", (at,)).rowcount

    def unrouted(self, limit: int) -> list[int]:
        """See Work."""
        sql = "SELECT id FROM events WHERE status = 'received' ORDER BY id LIMIT ?"
        return [row["id"] for row in self._connection.rows(sql, (limit,))]

    def waiting(self, until: float, limit: int, steady: float | None = None) -> list[tuple[int, float]]:
        """See Work."""
        values = {"until": until, "steady": until if steady is None else steady, "limit": limit}
        return [(row["id"], row["at"]) for row in self._connection.rows(_WAITING, values)]

    def set_back(self, at: float) -> int:
        """See Work."""
        if not self._connection.rows(f"SELECT 1 FROM deliveries WHERE {_LATER} LIMIT 1", {"at": at}):
            return 0
        with self._connection.write() as connection:
            return connection.execute(_SET_BACK, {"at": at}).rowcount

    def close(self) -> None:
        """See Work."""
        self._connection.close()


def make_delivery(
    connection: sqlite3.Connection, event_id: int, handler: str, can_run: bool, replay_id: int, at: float
) -> int | None:
    """Insert a delivery and return its id, None if it is there already."""
    status = "pending" if can_run else "parked"
    row = connection.execute(_DELIVER, (event_id, handler, replay_id, status, at, at, at)).fetchone()
    return row["id"] if row is not None else None


def settle(connection: sqlite3.Connection, event_id: int) -> str:
    """Give the event the status that follows from its deliveries, and return it."""
    return str(connection.execute(SETTLE, {"event": event_id}).fetchone()["status"])


def remember(connection: Connection, handlers: Sequence[HandlerSpec], at: float) -> None:
    """See Work.remember. Atomic: one transaction."""
    failures = {spec.module: spec.failure for spec in handlers if spec.failure}
    with connection.write() as raw:
        raw.execute(_REMOVE, (json.dumps(list(failures)),))
        for module, failure in failures.items():
            raw.execute("UPDATE handlers SET failure = ? WHERE module = ?", (encodable(failure), module))
        for spec in handlers:
            if not spec.failure:
                raw.execute(_REMEMBER, (spec.name, spec.module, json.dumps([asdict(m) for m in spec.marks]), at))
                raw.execute(_UNPARK, {"at": at, "handler": spec.name})


def remembered(connection: Connection) -> list[HandlerSpec]:
    """See Work.handlers."""
    rows = connection.rows("SELECT name, module, marks, failure FROM handlers WHERE NOT removed ORDER BY name")
    return [
        HandlerSpec(
            row["name"], row["module"], tuple(Handles(**mark) for mark in json.loads(row["marks"])), row["failure"]
        )
        for row in rows
    ]


def stored_request(row: sqlite3.Row) -> Request:
    """Return the request of a row of bodies."""
    headers = tuple((name, value) for name, value in json.loads(row["headers"]))
    return Request(row["method"], row["path"], row["query"], headers, bytes(row["body"]), row["remote"])


def encodable(text: str) -> str:
    """Return the text with lone surrogates written as escapes: they have no UTF-8, so SQLite cannot store them."""
    return text.encode("utf-8", "backslashreplace").decode()
