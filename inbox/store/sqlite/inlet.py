"""The receiver's side of the SQLite store: events and refusals in, durably, through one group commit."""

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from inbox.models import Held, NewEvent, Refusal, Stored
from inbox.store.sqlite.commit import GroupCommit
from inbox.store.sqlite.connection import Connection

REFUSALS_PER_SOURCE = 500
REFUSAL_BYTES_PER_SOURCE = 512 * 1024
FOREVER = 1e15

_Item: TypeAlias = NewEvent | Refusal | None

# One statement decides between concurrent copies: the unique index events_key lets only one of them in.
_INSERT = """
INSERT INTO events (source, key, type, status, received_at, size, body_digest, content_digest, verified_by, violations,
                    bound, retired)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (source, key) WHERE conflict_of IS NULL AND retired = 0 DO NOTHING
RETURNING id
"""
_INSERT_BODY = "INSERT INTO bodies (event_id, method, path, query, headers, remote, body) VALUES (?, ?, ?, ?, ?, ?, ?)"

# The key of an event that is older than the source's dedupe window is set free, so that the INSERT takes it.
_RETIRE = """
UPDATE events SET retired = 1
WHERE source = ? AND key = ? AND conflict_of IS NULL AND retired = 0 AND received_at < ?
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
_CAPTURED = """
SELECT id FROM events
WHERE source = ? AND content_digest = ? AND key <> ? AND bound = 1 AND conflict_of IS NULL AND retired = 0
      AND received_at BETWEEN ? AND ?
ORDER BY id LIMIT 1
"""
_INSERT_CONFLICT = """
INSERT INTO events (source, key, type, status, received_at, size, body_digest, content_digest, verified_by, violations,
                    bound, conflict_of)
VALUES (?, ?, ?, 'conflict', ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (conflict_of, content_digest) WHERE conflict_of IS NOT NULL DO NOTHING
RETURNING id
"""
_CONFLICT = "SELECT id FROM events WHERE conflict_of = ? AND content_digest = ?"

_INSERT_REFUSAL = """
INSERT INTO refusals (source, at, code, reason, diagnosis, method, remote, headers, size, bytes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_COUNT_REFUSALS = "SELECT count(*) AS number, sum(bytes) AS total FROM refusals WHERE source = ?"
_FORGET = "DELETE FROM refusals WHERE id = (SELECT min(id) FROM refusals WHERE source = ?) RETURNING bytes"

_COUNT_HELD = "SELECT count(*) AS number, coalesce(sum(bytes), 0) AS total FROM held WHERE source = ?"
_HOLD = """
INSERT INTO held (source, at, expires_at, method, path, query, headers, remote, body, bytes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


class SqliteInlet:
    """See `inbox.store.base.Inlet`. `space` is asked whether a batch of so many bytes may be written, or raises."""

    def __init__(
        self,
        connection: Connection,
        *,
        limit: int,
        patience: float,
        max_bytes: int = 64 * 1024 * 1024,
        space: Callable[[int], None] = lambda coming: None,
    ) -> None:
        self._connection = connection
        self._space = space
        self._commit: GroupCommit[_Item, Stored | bool] = GroupCommit(
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
        self._connection.close()

    def _write(self, items: Sequence[_Item]) -> list[Stored | bool]:
        self._space(sum(map(_size, items)))
        with self._connection.write() as connection:
            return [_put(connection, item) for item in items]


def _size(item: _Item) -> int:
    """Return about how many bytes an item keeps in memory while it waits."""
    if isinstance(item, Refusal):
        return len(item.held.request.body) if item.held is not None else 0
    return len(item.request.body) if item is not None else 0


def _put(connection: sqlite3.Connection, item: _Item) -> Stored | bool:
    if isinstance(item, NewEvent):
        return _put_event(connection, item)
    if isinstance(item, Refusal):
        _put_refusal(connection, item)
        return item.held is not None and _hold(connection, item, item.held)
    connection.execute("INSERT OR REPLACE INTO probes (id, at) VALUES (1, ?)", (time.time(),))
    return True


def _put_event(connection: sqlite3.Connection, event: NewEvent) -> Stored:
    window = _window(event)
    if event.dedupe_since is not None:
        connection.execute(_RETIRE, (event.source, event.key, event.dedupe_since))
    head = (event.source, event.key, event.type)
    rest = (
        event.received_at,
        len(event.request.body),
        event.body_digest,
        event.content_digest,
        event.verified_by,
        _violations(event),
        event.bound,
    )
    if event.bound:
        captured = connection.execute(_CAPTURED, (event.source, event.content_digest, event.key, *window)).fetchone()
        if captured is not None:
            return _put_conflict(connection, event, (*head, *rest), captured["id"])
    new = (*head, "quarantined" if event.violations else "received", *rest)
    row = connection.execute(_INSERT, (*new, False)).fetchone()
    if row is not None:
        return _put_new(connection, row["id"], event)
    original = connection.execute(_ORIGINAL, (event.source, event.key)).fetchone()
    if original["received_at"] > window[1]:
        original = connection.execute(_EARLIER, (event.source, event.key, *window)).fetchone()
        if original is None:
            return _put_new(connection, connection.execute(_INSERT, (*new, True)).fetchone()["id"], event)
    if original["content_digest"] == event.content_digest:
        return _copy_of(connection, original["id"], event, wake=original["status"] == "received")
    return _put_conflict(connection, event, (*head, *rest), original["id"])


def _window(event: NewEvent) -> tuple[float, float]:
    """Return the first and the last time at which an equal key is the same event."""
    since, until = event.dedupe_since, event.dedupe_until
    return -FOREVER if since is None else since, FOREVER if until is None else until


def _put_new(connection: sqlite3.Connection, event_id: int, event: NewEvent) -> Stored:
    _put_body(connection, event_id, event)
    return Stored("quarantined" if event.violations else "accepted", event_id, wake=not event.violations)


def _put_conflict(connection: sqlite3.Connection, event: NewEvent, values: tuple[object, ...], original: int) -> Stored:
    row = connection.execute(_INSERT_CONFLICT, (*values, original)).fetchone()
    if row is not None:
        _put_body(connection, row["id"], event)
        return Stored("conflict", row["id"], wake=False)
    conflict = connection.execute(_CONFLICT, (original, event.content_digest)).fetchone()
    return _copy_of(connection, conflict["id"], event, wake=False, outcome="conflict")


def _copy_of(
    connection: sqlite3.Connection, event_id: int, event: NewEvent, *, wake: bool, outcome: str = "duplicate"
) -> Stored:
    connection.execute(_COUNT_COPY, (event.received_at, event_id))
    return Stored(outcome, event_id, wake)


def _put_body(connection: sqlite3.Connection, event_id: int, event: NewEvent) -> None:
    request = event.request
    headers = json.dumps(request.headers)
    connection.execute(
        _INSERT_BODY,
        (event_id, request.method, request.path, request.query, headers, request.remote, request.body),
    )


def _violations(event: NewEvent) -> str | None:
    if not event.violations:
        return None
    return json.dumps([{"pointer": item.pointer, "message": item.message} for item in event.violations])


def _put_refusal(connection: sqlite3.Connection, refusal: Refusal) -> None:
    """Keep the newest refusals of a source within both limits; the newest one always stays."""
    headers = json.dumps(refusal.headers)
    size = len(headers) + len(refusal.diagnosis) + len(refusal.remote) + 100
    connection.execute(
        _INSERT_REFUSAL,
        (
            refusal.source,
            refusal.at,
            refusal.code,
            refusal.reason,
            refusal.diagnosis,
            refusal.method,
            refusal.remote,
            headers,
            refusal.size,
            size,
        ),
    )
    number, total = connection.execute(_COUNT_REFUSALS, (refusal.source,)).fetchone()
    while number > 1 and (number > REFUSALS_PER_SOURCE or total > REFUSAL_BYTES_PER_SOURCE):
        number, total = number - 1, total - connection.execute(_FORGET, (refusal.source,)).fetchone()["bytes"]


def _hold(connection: sqlite3.Connection, refusal: Refusal, held: Held) -> bool:
    """Keep the request itself, unless its source has as many as it may have; what is held is never pushed out."""
    request, headers = held.request, json.dumps(held.request.headers)
    texts = (headers, request.method, request.path, request.query, request.remote)
    size = len(request.body) + sum(len(text.encode()) for text in texts) + 100
    connection.execute("DELETE FROM held WHERE expires_at <= ?", (refusal.at,))
    there = connection.execute(_COUNT_HELD, (refusal.source,)).fetchone()
    if there["number"] >= held.max_requests or there["total"] + size > held.max_bytes:
        return False
    places = (request.method, request.path, request.query, headers, request.remote, request.body, size)
    connection.execute(_HOLD, (refusal.source, refusal.at, held.expires_at, *places))
    return True
