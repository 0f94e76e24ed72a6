"""Routing, claiming and recording many deliveries with one statement each, in the transaction that is open.

A statement costs several times what it does to one row, so a batch of one is the only thing that is not quicker.
"""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from itertools import chain, islice
from typing import Any

from inbox.core.errors import Erased, Unreadable
from inbox.core.models import Claimed
from inbox.store.protocols import Finished, Outcome
from inbox.store.protocols_routing import Worker
from inbox.store.sealing.sealer import Sealer
from inbox.store.sql.counters import END_ATTEMPTS, Attempts, count_attempt, minute_of, tally, tally_rescue
from inbox.store.sql.handlers import encodable, note_failure
from inbox.store.sql.pauses import CRASHED
from inbox.store.sql.unreadable import BODILESS, unopened

AT_ONCE = 100
"""Rows in one statement; SQLite takes 32,766 values."""

# Only the first of several routers finds an event still "received".
_ROUTE = """
WITH mine (event, new) AS (VALUES {rows})
UPDATE events SET status = new FROM mine WHERE id = event AND status = 'received' RETURNING id
"""
_DELIVER = """
INSERT INTO deliveries (event_id, handler, replay_id, status, due_at, waits_since, created_at) VALUES {rows}
ON CONFLICT (event_id, handler, replay_id) DO NOTHING
RETURNING id, event_id, handler
"""
# One UPDATE decides who has a delivery; a lease that ran out is a crash of whoever ran it, which is known if it was
# claimed alone. A lease that begins in the future of the steady clock was given before the machine started anew; if by
# less than a minute, it was given by somebody who looked at the clock later and was quicker.
_CLAIM = """
WITH mine (delivery, fresh, who, at, steady, length) AS (VALUES {rows})
UPDATE deliveries
SET crashes = crashes + EXISTS (SELECT 1 FROM attempts WHERE delivery_id = delivery AND result = 'running'
                                AND NOT together),
    status = 'running', token = fresh, worker = who, lease_until = at + length, steady_until = mine.steady + length,
    lease = length, attempts = attempts + 1
FROM mine
WHERE id = delivery AND ((status IN ('pending', 'retrying') AND paused_by IS NULL AND due_at <= at)
                         OR (status = 'running' AND (steady_until <= mine.steady
                                                     OR steady_until - lease > mine.steady + 60.0)))
RETURNING id, token, event_id, handler, attempts, crashes, created_at, replay_id
"""
_EVENTS = """
SELECT id, source, type, key, received_at, request_id, method, path, query, headers, remote, body, seal
FROM events LEFT JOIN bodies ON bodies.event_id = events.id WHERE events.id IN (VALUES {rows})
"""
_ATTEMPTS = "INSERT INTO attempts (delivery_id, number, token, worker, started_at, together, source) VALUES {rows}"
# The token is the fence: a worker that lost its lease changes nothing.
_FINISH = """
WITH mine (delivery, fence, new, due, at, ended, result, why) AS (VALUES {rows})
UPDATE deliveries
SET status = new, token = NULL, worker = NULL, lease_until = NULL, due_at = coalesce(due, due_at), waits_since = at,
    finished_at = ended, value = result, error = why, attempts = attempts - (new = 'parked')
FROM mine WHERE id = delivery AND token = fence AND status = 'running'
RETURNING id, event_id, replay_id
"""
# An event is what the latest delivery of each of its handlers is; one that nobody routed stays so until it is routed.
_SETTLE = """
UPDATE events SET status = CASE WHEN status = 'received' THEN 'received' ELSE (
    SELECT CASE
        WHEN max(d.status IN ('pending', 'running', 'retrying', 'parked')) THEN 'processing'
        WHEN max(d.status = 'dead') THEN 'dead'
        ELSE 'succeeded' END
    FROM deliveries AS d WHERE d.event_id = events.id AND d.replay_id =
        (SELECT max(replay_id) FROM deliveries AS o WHERE o.event_id = d.event_id AND o.handler = d.handler)
) END
WHERE id IN (VALUES {rows}) RETURNING id, status, received_at
"""

Ended = tuple[int, str, Outcome]
"""A delivery, the token that holds it, and how its attempt ended."""


def route_all(
    connection: sqlite3.Connection, events: Mapping[int, Mapping[str, bool]], at: float
) -> dict[int, list[int]]:
    """See Work."""
    states = [(number, "processing" if handlers else "unhandled") for number, handlers in events.items()]
    routed = {row["id"] for row in _execute(connection, _ROUTE, states)}
    wanted = [(number, name, can) for number in events if number in routed for name, can in events[number].items()]
    made = make_deliveries(connection, [(number, name, can, 0) for number, name, can in wanted], at)
    settle_all(connection, {number for number, name, _ in wanted if (number, name) not in made})
    found: dict[int, list[int]] = {number: [] for number in events if number in routed}
    for number, name, can_run in wanted:
        if can_run and (number, name) in made:
            found[number].append(made[number, name])
    return found


def make_deliveries(
    connection: sqlite3.Connection, wanted: Iterable[tuple[int, str, bool, int]], at: float
) -> dict[tuple[int, str], int]:
    """Insert (event, handler, can run, replay) and return their ids by event and handler, but of those that were there.

    One that cannot run is parked.
    """
    rows = [
        (number, name, replay, "pending" if can_run else "parked", at, at, at)
        for number, name, can_run, replay in wanted
    ]
    return {(row["event_id"], row["handler"]): row["id"] for row in _execute(connection, _DELIVER, rows)}


def claim_all(
    connection: sqlite3.Connection, deliveries: Collection[int], who: Worker, sealer: Sealer
) -> list[Claimed]:
    """Claim those that are due, or whose lease ran out; each is told whether it was claimed together with others."""
    together = len(deliveries) > 1
    rows = [(delivery, who.token(), who.name, who.at, who.steady, who.lease) for delivery in deliveries]
    got = {row["id"]: row for row in _execute(connection, _CLAIM, rows)}
    for row in got.values():
        if row["attempts"] > 1:
            crashed = connection.execute(CRASHED, (who.at, row["id"])).rowcount
            tally_rescue(connection, row["handler"], crashed, who.at)
    numbers = [(number,) for number in {row["event_id"] for row in got.values()}]
    events = {row["id"]: row for row in _execute(connection, _EVENTS, numbers)}
    _execute(
        connection,
        _ATTEMPTS,
        [
            (row["id"], row["attempts"], row["token"], who.name, who.at, together, events[row["event_id"]]["source"])
            for row in got.values()
        ],
    )
    claims, dead = [], []
    for row in (got[delivery] for delivery in deliveries if delivery in got):
        try:
            claims.append(_claimed(row, events[row["event_id"]], sealer))
        except (Erased, Unreadable) as error:
            dead.append((row["id"], row["token"], unopened(error)))
        except LookupError:  # so that it keeps nobody else from being claimed
            dead.append((row["id"], row["token"], BODILESS))
    finish_all(connection, dead, who.at)
    return claims


def _claimed(row: sqlite3.Row, event: sqlite3.Row, sealer: Sealer) -> Claimed:
    """Return what was claimed. Raises LookupError if the event has no body, Erased and Unreadable."""
    if event["method"] is None:
        raise LookupError
    return Claimed(
        id=row["id"],
        token=row["token"],
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
        request=sealer.open(row["event_id"], event).replace(id=event["request_id"]),
    )


def finish_all(connection: sqlite3.Connection, ended: Sequence[Ended], at: float) -> list[Finished]:
    """Record how attempts ended, each delivery at most once, and count them."""
    held = {row["id"]: row for row in _execute(connection, _FINISH, [_ending(*each, at) for each in ended])}
    results = [
        (token, outcome.result if delivery in held else "lost", at, encodable(outcome.error))
        for delivery, token, outcome in ended
    ]
    runs = {run["token"]: run for run in _execute(connection, END_ATTEMPTS, results)}
    events = settle_all(connection, {row["event_id"] for row in held.values()})
    counts: Attempts = Counter()
    finished = []
    for delivery, token, outcome in ended:
        row, run = held.get(delivery), runs.get(token)
        event = events[row["event_id"]] if row is not None else None
        finished.append(Finished(event is not None, event["status"] if event is not None else None))
        if run is not None and row is not None and event is not None:
            count_attempt(counts, run, outcome, at, event["received_at"] if row["replay_id"] == 0 else None)
            note_failure(connection, run, outcome)
        elif run is not None:
            counts[run["handler"], "attempt:lost"] += 1
    tally(connection, minute_of(at), counts)
    return finished


def _ending(delivery: int, token: str, outcome: Outcome, at: float) -> tuple[Any, ...]:
    ended = None if outcome.status in ("retrying", "parked") else at
    return delivery, token, outcome.status, outcome.due_at, at, ended, outcome.value, encodable(outcome.error)


def settle_all(connection: sqlite3.Connection, events: Collection[int]) -> dict[int, sqlite3.Row]:
    """Give events the status that follows from their deliveries; return it, and when they came."""
    return {row["id"]: row for row in _execute(connection, _SETTLE, [(number,) for number in events])}


def _execute(connection: sqlite3.Connection, sql: str, rows: Sequence[tuple[Any, ...]]) -> list[sqlite3.Row]:
    """Execute a statement for all rows, many at once, and return what it returns."""
    found: list[sqlite3.Row] = []
    left = iter(rows)
    while some := list(islice(left, AT_ONCE)):
        found += connection.execute(_statement(sql, len(some[0]), len(some)), list(chain(*some))).fetchall()
    return found


@cache
def _statement(sql: str, columns: int, rows: int) -> str:
    return sql.format(rows=", ".join([f"({', '.join('?' * columns)})"] * rows))
