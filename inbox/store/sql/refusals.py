"""Refusals, and the requests that are held, into the SQLite store: bounded per source, whatever strangers send."""

import sqlite3
from collections.abc import Callable
from typing import TypeAlias

from inbox.core.config.retention_settings import RetentionSettings
from inbox.core.models import Held, Refusal
from inbox.store.sealing.rows import Seal
from inbox.store.sql.elapsed import until_mark

REFUSALS_PER_SOURCE, REFUSAL_BYTES_PER_SOURCE = RetentionSettings().refusal_limits(None)

RefusalLimits: TypeAlias = Callable[[str], tuple[int, int]]
"""How many refusals of a source stay, and how many bytes of them."""


def usual(source: str) -> tuple[int, int]:
    """Return the limits of a source that has none of its own."""
    return REFUSALS_PER_SOURCE, REFUSAL_BYTES_PER_SOURCE


_INSERT_REFUSAL = """
INSERT INTO refusals (source, at, code, reason, diagnosis, method, remote, headers, size, bytes, request_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_COUNT_REFUSALS = "SELECT count(*) AS number, sum(bytes) AS total FROM refusals WHERE source = ?"
_FORGET = "DELETE FROM refusals WHERE id = (SELECT min(id) FROM refusals WHERE source = ?) RETURNING bytes"

_COUNT_HELD = "SELECT count(*) AS number, coalesce(sum(bytes), 0) AS total FROM held WHERE source = ?"
_COUNT_OWN = f"{_COUNT_HELD} AND network = ?"
_HOLD = """
INSERT INTO held (source, at, expires_at, method, path, query, headers, remote, body, seal, bytes, request_id,
                  network)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
# A date that is later than now is of a clock that was wrong: what bears it is held from now on. `at` itself is sealed.
_BEGIN_ANEW = "UPDATE held SET expires_at = :passed + (expires_at - at) WHERE at > :passed + 300.0 AND expires_at > at"
_EXPIRE = f"""
DELETE FROM held WHERE expires_at < :passed AND source = coalesce(:source, source)
AND id <= {until_mark("held", ":passed - (held.expires_at - held.at)")}
"""


def expire(connection: sqlite3.Connection, passed: float, source: str | None = None) -> int:
    """Forget requests that were held for as long as they may be at a known time, and return how many."""
    values = {"passed": passed, "source": source}
    connection.execute(_BEGIN_ANEW, values)
    return connection.execute(_EXPIRE, values).rowcount


def put_refusal(connection: sqlite3.Connection, refusal: Refusal, limits: tuple[int, int], seal: Seal) -> bool:
    """Remember a refusal, and return whether its request is held; in a transaction of the caller."""
    _remember(connection, refusal, *limits, seal)
    return refusal.held is not None and _hold(connection, refusal, refusal.held, seal)


def _remember(connection: sqlite3.Connection, refusal: Refusal, most: int, most_bytes: int, seal: Seal) -> None:
    """Keep the newest refusals of a source within both limits; the newest one always stays."""
    headers, remote, diagnosis = seal.refusal(refusal)
    size = len(headers) + len(diagnosis) + len(remote) + 100
    connection.execute(
        _INSERT_REFUSAL,
        (
            refusal.source,
            refusal.at,
            refusal.code,
            refusal.reason,
            diagnosis,
            refusal.method,
            remote,
            headers,
            refusal.size,
            size,
            refusal.request_id,
        ),
    )
    number, total = connection.execute(_COUNT_REFUSALS, (refusal.source,)).fetchone()
    while number > 1 and (number > most or total > most_bytes):
        number, total = number - 1, total - connection.execute(_FORGET, (refusal.source,)).fetchone()["bytes"]


def _hold(connection: sqlite3.Connection, refusal: Refusal, held: Held, seal: Seal) -> bool:
    """Keep the request itself, unless its source has as many as it may have; what is held is never pushed out.

    An address may always have one, and then as much as remains free: one alone gets half, the next half of the rest.
    So a flood from one address leaves room for others, and needs no held request of another sender to go.
    """
    row = seal.held(refusal, held.request)
    size = len(row[5]) + sum(len(text.encode()) for text in row[:5]) + 100
    network = seal.network(refusal.source, held.network)
    if not _has_room(connection, refusal.source, network, held, size):
        expire(connection, held.passed, refusal.source)
        if not _has_room(connection, refusal.source, network, held, size):
            return False
    connection.execute(_HOLD, (refusal.source, refusal.at, held.expires_at, *row, size, held.request.id, network))
    return True


def _has_room(connection: sqlite3.Connection, source: str, network: bytes, held: Held, size: int) -> bool:
    number, total = connection.execute(_COUNT_HELD, (source,)).fetchone()
    own_number, own_total = connection.execute(_COUNT_OWN, (source, network)).fetchone()
    free, free_bytes = held.max_requests - number - 1, held.max_bytes - total - size
    return (
        free >= 0
        and free_bytes >= 0
        and (not own_number or (own_number + 1 <= free and own_total + size <= free_bytes))
    )
