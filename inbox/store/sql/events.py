"""The receiver's side of the SQLite store: events and refusals in, durably, through one group commit."""

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeAlias

from inbox.core.histograms import Observe, unobserved
from inbox.core.models import NewEvent, Refusal, Stored
from inbox.store.group_commit import Done, GroupCommit
from inbox.store.sealing.rows import Seal
from inbox.store.sealing.sealer import UNSEALED, Sealer
from inbox.store.sql.counters import tally_batch
from inbox.store.sql.elapsed import before_mark, until_mark
from inbox.store.sql.refusals import RefusalLimits, put_refusal, usual
from inbox.store.sql.secret_usage import SecretUsage
from inbox.store.sqlite.connection import Connection

FOREVER = 1e15
COLUMNS, BODY_COLUMNS = 15, 8

Item: TypeAlias = NewEvent | Refusal | None

# One statement decides between concurrent copies: the unique index events_key lets only one of them in.
_COLUMNS = """source, key, type, status, received_at, size, body_digest, content_digest, verified_by, violations, bound,
               subject, request_id, retired"""
_NEW = "ON CONFLICT (source, key) WHERE conflict_of IS NULL AND retired = 0 DO NOTHING"
_INSERT = f"INSERT INTO events ({_COLUMNS}) VALUES ({', '.join('?' * 14)}) {_NEW} RETURNING id"
_INSERT_BODY = "INSERT INTO bodies (event_id, method, path, query, headers, remote, body, seal) VALUES "
# Many at once, with ids that follow the last one: only one transaction writes at a time.
_LAST = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'"
_INSERT_MANY = f"INSERT INTO events (id, {_COLUMNS}) VALUES "
_INSERTED = "SELECT id FROM events WHERE id > ?"

# The key of an event that is older than the source's dedupe window is set free, so that the INSERT takes it.
# Its date says so, unless the clock was wrong: then the marks of known times do (`elapsed`).
_OUT = before_mark("events", "(SELECT known FROM elapsed) - (:at - :since)")
_RETIRE = f"""
UPDATE events SET retired = 1 WHERE source = :source AND key = :key AND conflict_of IS NULL AND retired = 0
AND ((received_at < :since AND id <= {until_mark("events", ":since")}) OR id <= {_OUT})
"""
_ORIGINAL = """
SELECT id, status, content_digest, received_at FROM events
WHERE source = ? AND key = ? AND conflict_of IS NULL AND retired = 0
"""
# What was held may be stored after a later event took its key: within the window of one of these it is a copy of it.
_EARLIER = """
SELECT id, status, content_digest FROM events
WHERE source = ? AND key = ? AND retired = 1 AND received_at BETWEEN ? AND ? ORDER BY received_at LIMIT 1
"""
_COUNT_COPY = "UPDATE events SET duplicates = duplicates + 1, last_duplicate_at = ? WHERE id = ?"
# The same content under another key, where the sender's proof does not cover the key: a captured request?
_CAPTURED = f"""
SELECT id FROM events
WHERE source = :source AND content_digest = :digest AND key <> :key AND bound = 1 AND conflict_of IS NULL
      AND retired = 0 AND received_at <= :until
      AND (received_at >= :since OR id > {until_mark("events", ":since")})
ORDER BY id LIMIT 1
"""
_INSERT_CONFLICT = """
INSERT INTO events (source, key, type, status, received_at, size, body_digest, content_digest, verified_by, violations,
                    bound, subject, request_id, conflict_of)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (conflict_of, content_digest) WHERE conflict_of IS NOT NULL DO NOTHING
RETURNING id
"""
_CONFLICT = "SELECT id FROM events WHERE conflict_of = ? AND content_digest = ?"


class SqliteInlet:
    """See `inbox.store.protocols.Inlet`. `space` is asked whether a batch of so many bytes may be written."""

    def __init__(
        self,
        connection: Connection,
        *,
        limit: int,
        patience: float,
        max_bytes: int = 64 * 1024 * 1024,
        space: Callable[[int], None] = lambda coming: None,
        refusal_limits: RefusalLimits = usual,
        observe: Observe = unobserved,
        sealer: Sealer = UNSEALED,
    ) -> None:
        self._sealer = sealer
        self._observe = observe
        self._refusal_limits = refusal_limits
        self._connection = connection
        self._space = space
        self._matches = SecretUsage()
        self._commit: GroupCommit[Item, Stored | bool] = GroupCommit(
            self._write, limit=limit, patience=patience, max_bytes=max_bytes, size=_size
        )

    def add_event(self, event: NewEvent) -> Stored:
        """See Inlet."""
        stored = self._commit(event)
        assert isinstance(stored, Stored)
        return stored

    def add_refusal(self, refusal: Refusal) -> bool:
        """See Inlet."""
        return self._commit(refusal, spare=True) is True

    def probe(self) -> None:
        """See Inlet."""
        self._commit(None)

    def close(self) -> None:
        """See Inlet."""
        self._commit.close()
        self._connection.close()

    def submit(self, item: Item, done: Done[Stored | bool]) -> None:
        """See Inlet."""
        self._commit.submit(item, done, spare=isinstance(item, Refusal))

    def give_up_late(self) -> None:
        """See Inlet."""
        self._commit.give_up_late()

    def _write(self, items: Sequence[Item]) -> list[Stored | bool]:
        self._space(sum(map(_size, items)))
        begun = time.perf_counter()
        with self._connection.write() as connection, self._sealer.batch(connection) as seal:
            together = [item for item in items if isinstance(item, NewEvent) and _is_plain(item)]
            stored = _put_together(connection, together, seal) if len(together) > 1 else {}
            results = [
                stored.pop(id(item)) if id(item) in stored else self._put(connection, item, seal) for item in items
            ]
            tally_batch(connection, items, results)
            matched = self._matches.put(connection, items)
        self._matches.committed(matched)
        self._observe("commit", "", time.perf_counter() - begun)
        self._observe("batch", "", len(items))
        return results

    def _put(self, connection: sqlite3.Connection, item: Item, seal: Seal) -> Stored | bool:
        if isinstance(item, NewEvent):
            return _put_event(connection, item, seal)
        if isinstance(item, Refusal):
            return put_refusal(connection, item, self._refusal_limits(item.source), seal)
        connection.execute("INSERT OR REPLACE INTO probes (id, at) VALUES (1, ?)", (time.time(),))
        return True


def _size(item: Item) -> int:
    """Return about how many bytes an item keeps in memory while it waits."""
    if isinstance(item, Refusal):
        return len(item.held.request.body) if item.held is not None else 0
    return len(item.request.body) if item is not None else 0


def _is_plain(event: NewEvent) -> bool:
    """Tell whether the unique index alone decides what the event is, when its key is new."""
    return not event.bound and event.dedupe_since is None and event.dedupe_until is None


def _put_together(connection: sqlite3.Connection, events: Sequence[NewEvent], seal: Seal) -> dict[int, Stored]:
    """Insert those whose key is new with two statements, and return what became of them by the `id()` of each.

    One statement per event would be as right; but each is several turns with the interpreter's lock, which a busy
    event loop lets go of late.
    """
    ((last,),) = connection.execute(_LAST)
    values = [value for number, event in enumerate(events, last + 1) for value in (number, *_row(event, seal), False)]
    inserted = connection.execute(f"{_INSERT_MANY}{_places(COLUMNS, len(events))} {_NEW}", values).rowcount
    new = dict(enumerate(events, last + 1))
    if inserted < len(events):
        there = {row["id"] for row in connection.execute(_INSERTED, (last,))}
        new = {number: event for number, event in new.items() if number in there}
    if new:
        bodies = [value for number, event in new.items() for value in _body(number, event, seal)]
        connection.execute(f"{_INSERT_BODY}{_places(BODY_COLUMNS, len(new))}", bodies)
    return {id(event): _as_stored(number, event) for number, event in new.items()}


@cache
def _places(columns: int, rows: int) -> str:
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)


def _put_event(connection: sqlite3.Connection, event: NewEvent, seal: Seal) -> Stored:
    window = _window(event)
    if event.dedupe_since is not None:
        values = {"source": event.source, "key": event.key, "at": event.received_at, "since": event.dedupe_since}
        connection.execute(_RETIRE, values)
    row = _row(event, seal)
    if event.bound:
        values = {"source": event.source, "key": event.key, "digest": event.content_digest}
        captured = connection.execute(_CAPTURED, {**values, "since": window[0], "until": window[1]}).fetchone()
        if captured is not None:
            return _put_conflict(connection, event, captured["id"], seal)
    new = connection.execute(_INSERT, (*row, False)).fetchone()
    if new is not None:
        return _put_new(connection, new["id"], event, seal)
    original = connection.execute(_ORIGINAL, (event.source, event.key)).fetchone()
    if original["received_at"] > window[1]:
        original = connection.execute(_EARLIER, (event.source, event.key, *window)).fetchone()
        if original is None:
            return _put_new(connection, connection.execute(_INSERT, (*row, True)).fetchone()["id"], event, seal)
    if original["content_digest"] == event.content_digest:
        return _copy_of(connection, original["id"], event, wake=original["status"] == "received")
    return _put_conflict(connection, event, original["id"], seal)


def _window(event: NewEvent) -> tuple[float, float]:
    """Return the first and the last time at which an equal key is the same event."""
    since, until = event.dedupe_since, event.dedupe_until
    return -FOREVER if since is None else since, FOREVER if until is None else until


def _put_new(connection: sqlite3.Connection, event_id: int, event: NewEvent, seal: Seal) -> Stored:
    _put_body(connection, event_id, event, seal)
    return _as_stored(event_id, event)


def _as_stored(event_id: int, event: NewEvent) -> Stored:
    return Stored("quarantined" if event.violations else "accepted", event_id, wake=not event.violations)


def _put_conflict(connection: sqlite3.Connection, event: NewEvent, original: int, seal: Seal) -> Stored:
    source, key, event_type, _, *rest = _row(event, seal)
    row = connection.execute(_INSERT_CONFLICT, (source, key, event_type, "conflict", *rest, original)).fetchone()
    if row is not None:
        _put_body(connection, row["id"], event, seal)
        return Stored("conflict", row["id"], wake=False)
    conflict = connection.execute(_CONFLICT, (original, event.content_digest)).fetchone()
    return _copy_of(connection, conflict["id"], event, wake=False, outcome="conflict")


def _copy_of(
    connection: sqlite3.Connection, event_id: int, event: NewEvent, *, wake: bool, outcome: str = "duplicate"
) -> Stored:
    connection.execute(_COUNT_COPY, (event.received_at, event_id))
    return Stored(outcome, event_id, wake)


def _put_body(connection: sqlite3.Connection, event_id: int, event: NewEvent, seal: Seal) -> None:
    connection.execute(_INSERT_BODY + _places(BODY_COLUMNS, 1), _body(event_id, event, seal))


def _body(event_id: int, event: NewEvent, seal: Seal) -> tuple[object, ...]:
    return event_id, *seal.body(event_id, event)


def _row(event: NewEvent, seal: Seal) -> tuple[object, ...]:
    """Return the values of _COLUMNS but the last."""
    return (
        event.source,
        event.key,
        event.type,
        "quarantined" if event.violations else "received",
        event.received_at,
        len(event.request.body),
        event.body_digest,
        event.content_digest,
        event.verified_by,
        _violations(event, seal),
        event.bound,
        seal.subject(event),
        event.request.id,
    )


def _violations(event: NewEvent, seal: Seal) -> str | None:
    if not event.violations:
        return None
    return json.dumps([{"pointer": item.pointer, "message": seal.message(item.message)} for item in event.violations])
