"""Fills an inbox's database with events that were received and handled long ago, as the store itself writes them.

`tests/benchmarks/test_smoke.py` compares such rows with rows that the real receiver and worker wrote.
"""

import hashlib
import json
import random
import secrets
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from inbox.store.sqlite import open_archive
from tests.benchmarks.letters import TYPE, Letters

BATCH = 5_000
SPAN = 90 * 86400.0
"""Seconds."""
SOURCES = ("roomz", "roomz", "roomz", "roomz", "lemlist", "breakcold", "rootfi")
TYPES = {
    "roomz": (TYPE, "workspace.created"),
    "lemlist": ("emailsOpened", "emailsClicked"),
    "breakcold": ("lead.update",),
    "rootfi": ("SYNC_COMPLETED",),
}
HANDLER = "benchmark.nothing"
WORKER = "benchmark:4711:0badcafe"
ERROR = "Traceback (most recent call last):\n" + '  File "handlers/benchmark.py", line 9, in nothing\n' * 4
VIOLATIONS = json.dumps([{"pointer": "/data", "message": "'workspaceId' is a required property"}])

_EVENT = """
INSERT INTO events (id, source, key, type, status, received_at, size, body_digest, content_digest, verified_by,
                    violations, bound, retired)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)
"""
_BODY = "INSERT INTO bodies (event_id, method, path, query, headers, remote, body) VALUES (?, 'POST', '', '', ?, ?, ?)"
_DELIVERY = """
INSERT INTO deliveries (id, event_id, handler, status, attempts, due_at, created_at, finished_at, value, error,
                        lease, steady_until, waits_since)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 30.0, ?, ?)
"""
_ATTEMPT = """
INSERT INTO attempts (delivery_id, number, token, worker, started_at, finished_at, result, error, source)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def fill(database: Path, letters: Letters, count: int, *, only: str = "", ago: float = 0.0) -> None:
    """Add so many events to a database, which is made if it is not there.

    They came evenly over 90 days, until `ago` seconds ago. `only` gives all of them this status; without it, of a
    hundred 97 succeeded, and one each is dead, quarantined and unhandled.
    """
    open_archive(database).close()
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -200000")
        first = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM events").fetchone()[0]
        begin = time.time() - ago - SPAN
        step = SPAN / (count + 1)
        for start in range(0, count, BATCH):
            numbers = range(start, min(start + BATCH, count))
            rows = [_rows(letters, first + number, begin + number * step, only) for number in numbers]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_EVENT, (row[0] for row in rows))
            connection.executemany(_BODY, (row[1] for row in rows))
            connection.executemany(_DELIVERY, (row[2] for row in rows if row[2]))
            connection.executemany(_ATTEMPT, (attempt for row in rows for attempt in row[3]))
            connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


Row = tuple[Any, ...]


def _rows(letters: Letters, event_id: int, at: float, only: str) -> tuple[Row, Row, Row | None, list[Row]]:
    """Return the rows of one event: itself, its body, its delivery and its attempts."""
    source = "roomz" if only else SOURCES[event_id % len(SOURCES)]
    event_type = TYPES[source][event_id // 7 % len(TYPES[source])]
    status = only or {0: "dead", 1: "quarantined", 2: "unhandled"}.get(event_id % 100, "succeeded")
    key = str(uuid.UUID(int=random.getrandbits(128), version=4))
    headers, body = _request(letters, key)
    digest = hashlib.sha256(body).digest()
    violations = VIOLATIONS if status == "quarantined" else None
    event = (event_id, source, key, event_type, status, at, len(body), digest, digest, "hmac, secret 1", violations)
    stored = (event_id, headers, "127.0.0.1", body)
    if status in ("quarantined", "unhandled"):
        return event, stored, None, []
    tries = 3 if status == "dead" else 1
    error = ERROR if status == "dead" else ""
    end = at + 0.01 * tries
    value = None if error else "null"
    delivery = (event_id, event_id, HANDLER, status, tries, at, at, end, value, error, at + 30, end)
    return event, stored, delivery, list(_attempts(event_id, source, at, tries, error))


def _attempts(delivery_id: int, source: str, at: float, tries: int, error: str) -> Iterator[Row]:
    for number in range(1, tries + 1):
        token, result = secrets.token_hex(16), "error" if error else "succeeded"
        begun, ended = at + 0.01 * number - 0.008, at + 0.01 * number
        yield (delivery_id, number, token, WORKER, begun, ended, result, error, source)


def _request(letters: Letters, key: str) -> tuple[str, bytes]:
    """Return headers as the store writes them, and a body of 1 KiB; the signature is random, nobody looks at it."""
    headers, body = _template(letters)
    signature = secrets.token_hex(44)
    return headers.replace("SIGNATURE", signature), body.replace(b"EVENT-ID-OF-36-CHARACTERS-IS-REPLACED", key.encode())


_TEMPLATES: dict[str, tuple[str, bytes]] = {}


def _template(letters: Letters) -> tuple[str, bytes]:
    if letters.secret not in _TEMPLATES:
        pairs, body = letters.letter(1025, "EVENT-ID-OF-36-CHARACTERS-IS-REPLACED")  # 37 characters, one too many
        shown = [("Host", "localhost"), ("Connection", "keep-alive"), *pairs]
        values = {"Roomz-Signature": "SIGNATURE"}
        headers = json.dumps([(name.lower(), values.get(name, value)) for name, value in shown])
        _TEMPLATES[letters.secret] = headers, body
    return _TEMPLATES[letters.secret]
