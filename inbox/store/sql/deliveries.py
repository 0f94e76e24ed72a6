"""The worker's side of the SQLite store: route, claim, finish. Not fsynced: a power cut means running one again."""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from itertools import takewhile

from inbox.core.models import Claimed, HandlerSpec
from inbox.store.protocols import Finished, Outcome
from inbox.store.protocols_routing import UnroutedEvent, Worker
from inbox.store.sealing.sealer import UNSEALED, Sealer
from inbox.store.sql import pauses
from inbox.store.sql.delivery_batches import claim_all, finish_all, make_deliveries, route_all, settle_all
from inbox.store.sql.handlers import remember, remembered
from inbox.store.sql.refusals import expire
from inbox.store.sqlite.connection import Connection
from inbox.store.sqlite.write_pacing import WritePacing

_NEXT = """
SELECT id, attempts FROM (SELECT id, attempts FROM deliveries WHERE status = 'running'
                          AND (steady_until <= :steady OR steady_until - lease > :steady + 60.0) LIMIT :limit)
UNION ALL
SELECT id, attempts FROM (SELECT id, attempts FROM deliveries
                          WHERE status IN ('pending', 'retrying') AND paused_by IS NULL AND due_at <= :at
                          ORDER BY due_at LIMIT :limit)
"""
_GIVE_BACK = """
UPDATE deliveries SET status = 'pending', token = NULL, worker = NULL, lease_until = NULL, attempts = attempts - 1
WHERE id = ? AND token = ? AND status = 'running' RETURNING id
"""
_HEARTBEAT = """
UPDATE deliveries SET lease_until = ?, steady_until = ? WHERE id = ? AND token = ? AND status = 'running' RETURNING id
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
    """See `inbox.store.protocols.Work`."""

    def __init__(self, connection: Connection, sealer: Sealer = UNSEALED) -> None:
        self._connection = connection
        self._courtesy = WritePacing(connection)
        self._sealer = sealer

    def remember(self, handlers: Sequence[HandlerSpec], at: float) -> None:
        """See Work."""
        remember(self._connection, handlers, at)

    def handlers(self) -> list[HandlerSpec]:
        """See Work."""
        return remembered(self._connection)

    def heads(self, limit: int) -> list[UnroutedEvent]:
        """See Work."""
        sql = "SELECT id, source, type, request_id FROM events WHERE status = 'received' ORDER BY id LIMIT ?"
        return [UnroutedEvent(*row) for row in self._connection.rows(sql, (limit,))]

    def give_way(self, at: float) -> None:
        """See PacedWriter."""
        self._courtesy.give_way(at)

    def route(self, event_id: int, handlers: Mapping[str, bool], at: float) -> list[int]:
        """See Work."""
        return self.route_all({event_id: handlers}, at).get(event_id, [])

    def route_all(self, events: Mapping[int, Mapping[str, bool]], at: float) -> dict[int, list[int]]:
        """See Work."""
        with self._courtesy.write() as connection:
            return route_all(connection, events, at)

    def claim(
        self, delivery_id: int, *, token: str, worker: str, at: float, lease: float, steady: float | None = None
    ) -> Claimed | None:
        """See Work."""
        who = Worker(worker, lambda: token, at, at if steady is None else steady, lease)
        with self._connection.write() as connection:
            return next(iter(claim_all(connection, [delivery_id], who, self._sealer)), None)

    def take(self, worker: Worker, limit: int) -> tuple[list[Claimed], bool]:
        """See Work."""
        values = {"at": worker.at, "steady": worker.steady, "limit": limit + 1}
        if not self._connection.rows(_NEXT, values):
            return [], False
        with self._courtesy.write() as connection:
            aside = pauses.set_aside(connection, worker)
            due = connection.execute(_NEXT, values).fetchall()[: pauses.AT_ONCE - aside]
            fresh = list(takewhile(lambda row: row["attempts"] == 0, due))[:limit] or due[:1]
            claims = claim_all(connection, [row["id"] for row in fresh], worker, self._sealer)
        return claims, aside > 0 or len(due) > len(fresh)

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
            return finish_all(connection, [(delivery_id, token, outcome)], at)[0]

    def finish_all(self, ended: Sequence[tuple[Claimed, Outcome]], at: float) -> list[Finished]:
        """See Work."""
        with self._courtesy.write() as connection:
            return finish_all(connection, [(claimed.id, claimed.token, outcome) for claimed, outcome in ended], at)

    def expire(self, at: float) -> int:
        """See Work."""
        with self._connection.write() as connection:
            return expire(connection, at)

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


def make_delivery(
    connection: sqlite3.Connection, event_id: int, handler: str, can_run: bool, replay_id: int, at: float
) -> int | None:
    """Insert a delivery and return its id, None if it is there already."""
    made = make_deliveries(connection, [(event_id, handler, can_run, replay_id)], at)
    return made.get((event_id, handler))


def settle(connection: sqlite3.Connection, event_id: int) -> None:
    """Give the event the status that follows from its deliveries."""
    settle_all(connection, [event_id])
