"""The worker's side of the SQLite store: route, claim, finish. Not fsynced: a power cut means running one again."""

import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile

from inbox.errors import Erased, Unreadable
from inbox.models import Claimed, HandlerSpec
from inbox.store.base import Finished, Outcome
from inbox.store.routing import Head, Worker
from inbox.store.sqlite import pausing
from inbox.store.sqlite.connection import Connection
from inbox.store.sqlite.counts import END_ATTEMPT, Attempts, count_attempt, minute_of, tally, tally_rescue
from inbox.store.sqlite.courtesy import Courtesy
from inbox.store.sqlite.handlers import encodable, note_failure, remember, remembered
from inbox.store.sqlite.seal import UNSEALED, Sealer
from inbox.store.sqlite.unopened import BODILESS, unopened

# Only the first of several routers finds the event still "received".
_ROUTE = "UPDATE events SET status = ? WHERE id = ? AND status = 'received' RETURNING id"
_DELIVER = """
INSERT INTO deliveries (event_id, handler, replay_id, status, due_at, waits_since, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id, handler, replay_id) DO NOTHING
RETURNING id
"""
_NEXT = """
SELECT id, attempts FROM (SELECT id, attempts FROM deliveries WHERE status = 'running'
                          AND (steady_until <= :steady OR steady_until - lease > :steady + 60.0) LIMIT :limit)
UNION ALL
SELECT id, attempts FROM (SELECT id, attempts FROM deliveries
                          WHERE status IN ('pending', 'retrying') AND paused_by IS NULL AND due_at <= :at
                          ORDER BY due_at LIMIT :limit)
"""
# One UPDATE decides who has the delivery; a lease that ran out is a crash of whoever ran it, which is known if it was
# claimed alone. A lease that begins in the future of the steady clock was given before the machine started anew; if by
# less than a minute, it was given by somebody who looked at the clock later and was quicker.
_CLAIM = """
UPDATE deliveries
SET crashes = crashes + EXISTS (SELECT 1 FROM attempts WHERE delivery_id = :id AND result = 'running' AND NOT together),
    status = 'running', token = :token, worker = :worker,
    lease_until = :at + :lease, steady_until = :steady + :lease, lease = :lease, attempts = attempts + 1
WHERE id = :id AND ((status IN ('pending', 'retrying') AND paused_by IS NULL AND due_at <= :at)
                    OR (status = 'running' AND (steady_until <= :steady OR steady_until - lease > :steady + 60.0)))
RETURNING event_id, handler, attempts, crashes, created_at, replay_id
"""
_ATTEMPT = """
INSERT INTO attempts (delivery_id, number, token, worker, started_at, together, source)
SELECT ?, ?, ?, ?, ?, ?, source FROM events WHERE id = ?
"""
_GIVE_BACK = """
UPDATE deliveries SET status = 'pending', token = NULL, worker = NULL, lease_until = NULL, attempts = attempts - 1
WHERE id = ? AND token = ? AND status = 'running' RETURNING id
"""
_EVENT = """
SELECT source, type, key, received_at, request_id, method, path, query, headers, remote, body, seal
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
RETURNING event_id, replay_id
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
WHERE id = :event RETURNING status, received_at
"""
_WAITING = """
SELECT id, due_at AS at FROM deliveries
WHERE status IN ('pending', 'retrying') AND paused_by IS NULL AND due_at <= :until
UNION ALL
SELECT id, CASE WHEN steady_until <= :steady THEN :until - (:steady - steady_until) ELSE 0.0 END AS at FROM deliveries
WHERE status = 'running' AND (steady_until <= :steady OR steady_until - lease > :steady + 60.0)
ORDER BY at LIMIT :limit
"""
# A pause that began later than now was given before the clock was set back; it begins again.
_LATER = "status IN ('pending', 'retrying') AND paused_by IS NULL AND waits_since > :at + 1.0"
_SET_BACK = f"UPDATE deliveries SET due_at = due_at - (waits_since - :at), waits_since = :at WHERE {_LATER}"


class SqliteWork:
    """See `inbox.store.base.Work`."""

    def __init__(self, connection: Connection, sealer: Sealer = UNSEALED) -> None:
        self._connection = connection
        self._courtesy = Courtesy(connection)
        self._sealer = sealer

    def remember(self, handlers: Sequence[HandlerSpec], at: float) -> None:
        """See Work."""
        remember(self._connection, handlers, at)

    def handlers(self) -> list[HandlerSpec]:
        """See Work."""
        return remembered(self._connection)

    def heads(self, limit: int) -> list[Head]:
        """See Work."""
        sql = "SELECT id, source, type, request_id FROM events WHERE status = 'received' ORDER BY id LIMIT ?"
        return [Head(*row) for row in self._connection.rows(sql, (limit,))]

    def route(self, event_id: int, handlers: Mapping[str, bool], at: float) -> list[int]:
        """See Work."""
        return self.route_all({event_id: handlers}, at).get(event_id, [])

    def route_all(self, events: Mapping[int, Mapping[str, bool]], at: float) -> dict[int, list[int]]:
        """See Work."""
        with self._courtesy.write() as connection:
            made = {event_id: _route(connection, event_id, names, at) for event_id, names in events.items()}
        return {event_id: deliveries for event_id, deliveries in made.items() if deliveries is not None}

    def claim(
        self, delivery_id: int, *, token: str, worker: str, at: float, lease: float, steady: float | None = None
    ) -> Claimed | None:
        """See Work."""
        who = Worker(worker, lambda: token, at, at if steady is None else steady, lease)
        with self._connection.write() as connection:
            return _claim(connection, delivery_id, who, self._sealer, together=False)

    def take(self, worker: Worker, limit: int) -> tuple[list[Claimed], bool]:
        """See Work."""
        values = {"at": worker.at, "steady": worker.steady, "limit": limit + 1}
        self._courtesy.give_way()
        if not self._connection.rows(_NEXT, values):
            return [], False
        with self._courtesy.write() as connection:
            aside = pausing.set_aside(connection, worker)
            due = connection.execute(_NEXT, values).fetchall()[: pausing.AT_ONCE - aside]
            fresh = list(takewhile(lambda row: row["attempts"] == 0, due))[:limit] or due[:1]
            claims = [_claim(connection, row["id"], worker, self._sealer, together=len(fresh) > 1) for row in fresh]
        return [claimed for claimed in claims if claimed is not None], aside > 0 or len(due) > len(fresh)

    def give_back(self, claimed: Collection[Claimed]) -> None:
        """See Work. Atomic: one transaction."""
        with self._connection.write() as connection:
            for each in claimed:
                if connection.execute(_GIVE_BACK, (each.id, each.token)).fetchone() is not None:
                    connection.execute("DELETE FROM attempts WHERE token = ?", (each.token,))

    def heartbeat(self, delivery_id: int, token: str, lease_until: float, steady: float | None = None) -> bool:
        """See Work."""
        until = lease_until if steady is None else steady
        with self._connection.write() as connection:
            return connection.execute(_HEARTBEAT, (lease_until, until, delivery_id, token)).fetchone() is not None

    def holds(self, delivery_id: int, token: str, steady: float) -> bool:
        """See Work."""
        sql = "SELECT 1 FROM deliveries WHERE id = ? AND token = ? AND status = 'running' AND steady_until > ?"
        return bool(self._connection.rows(sql, (delivery_id, token, steady)))

    def finish(self, delivery_id: int, token: str, outcome: Outcome, at: float) -> Finished:
        """See Work."""
        with self._connection.write() as connection:
            return _finish_all(connection, [(delivery_id, token, outcome)], at)[0]

    def finish_all(self, ended: Sequence[tuple[Claimed, Outcome]], at: float) -> list[Finished]:
        """See Work."""
        with self._courtesy.write() as connection:
            return _finish_all(connection, [(claimed.id, claimed.token, outcome) for claimed, outcome in ended], at)

    def expire(self, at: float) -> int:
        """See Work."""
        with self._connection.write() as connection:
            return connection.execute("DELETE FROM held WHERE expires_at <= ?", (at,)).rowcount

    def unrouted(self, limit: int) -> list[int]:
        """See Work."""
        return [head.id for head in self.heads(limit)]

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


def _route(connection: sqlite3.Connection, event_id: int, handlers: Mapping[str, bool], at: float) -> list[int] | None:
    status = "processing" if handlers else "unhandled"
    if connection.execute(_ROUTE, (status, event_id)).fetchone() is None:
        return None
    made = {name: make_delivery(connection, event_id, name, can_run, 0, at) for name, can_run in handlers.items()}
    if None in made.values():
        settle(connection, event_id)
    return [delivery for name, delivery in made.items() if handlers[name] and delivery is not None]


def _claim(
    connection: sqlite3.Connection, delivery_id: int, who: Worker, sealer: Sealer, *, together: bool
) -> Claimed | None:
    token = who.token()
    values = {"id": delivery_id, "token": token, "worker": who.name, "at": who.at, "lease": who.lease}
    row = connection.execute(_CLAIM, {**values, "steady": who.steady}).fetchone()
    if row is None:
        return None
    if row["attempts"] > 1:
        crashed = connection.execute(pausing.CRASHED, (who.at, delivery_id)).rowcount
        tally_rescue(connection, row["handler"], crashed, who.at)
    run = (delivery_id, row["attempts"], token, who.name, who.at, together, row["event_id"])
    connection.execute(_ATTEMPT, run)
    event = connection.execute(_EVENT, (row["event_id"],)).fetchone()
    if event is None:  # so that it keeps nobody else from being claimed
        _finish_all(connection, [(delivery_id, token, BODILESS)], who.at)
        return None
    try:
        request = sealer.open(row["event_id"], event)
    except (Erased, Unreadable) as error:
        _finish_all(connection, [(delivery_id, token, unopened(error))], who.at)
        return None
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
        request=request.replace(id=event["request_id"]),
    )


def _finish_all(connection: sqlite3.Connection, ended: Sequence[tuple[int, str, Outcome]], at: float) -> list[Finished]:
    counts: Attempts = Counter()
    finished = [_finish(connection, *each, at, counts) for each in ended]
    tally(connection, minute_of(at), counts)
    return finished


def _finish(
    connection: sqlite3.Connection, delivery_id: int, token: str, outcome: Outcome, at: float, counts: Attempts
) -> Finished:
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
    row = connection.execute(_FINISH, values).fetchone()
    result = outcome.result if row is not None else "lost"
    run = connection.execute(END_ATTEMPT, (result, at, encodable(outcome.error), token)).fetchone()
    if row is None:
        if run is not None:
            counts[run["handler"], "attempt:lost"] += 1
        return Finished(held=False)
    event = connection.execute(SETTLE, {"event": row["event_id"]}).fetchone()
    if run is not None:
        count_attempt(counts, run, outcome, at, event["received_at"] if row["replay_id"] == 0 else None)
        note_failure(connection, run, outcome)
    return Finished(held=True, event_status=event["status"])


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
