"""What is left after a torture: the three journals and the database, read with plain SQL and not by our own store.

Only reads. Next: `inbox.tools.torture.invariants`.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from inbox.tools.torture.journal import CLIENT, EFFECTS, FAULTS, Effect, Fault, Reply, read


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A row of events; `digest` is the SHA-256 of the body that came, hex."""

    id: int
    source: str
    key: str
    digest: str
    status: str
    conflict_of: int | None
    retired: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """A row of deliveries."""

    id: int
    event_id: int
    handler: str
    status: str
    attempts: int
    crashes: int


@dataclass(frozen=True, slots=True)
class StoredAttempt:
    """A row of attempts; `worker` ends in the process id and a random number, between colons."""

    delivery_id: int
    number: int
    worker: str
    started_at: float
    finished_at: float | None
    result: str

    @property
    def pid(self) -> int:
        """Return the id of the process that made this attempt."""
        return int(self.worker.split(":")[-2])


@dataclass(frozen=True)
class Evidence:
    """Everything that the invariants are read from.

    handlers  which handlers the events of a source have to go through; None if that is not to be checked
    faults    what was done to the inbox; None if that is not known, so that no crash is questioned
    damage    what SQLite says of its file, nothing if it is sound
    left      processes that still ran at the end, in words
    """

    answers: Sequence[Reply]
    effects: Sequence[Effect]
    events: Sequence[StoredEvent]
    deliveries: Sequence[StoredDelivery]
    attempts: Sequence[StoredAttempt]
    handlers: Mapping[str, frozenset[str]] | None = None
    faults: Sequence[Fault] | None = None
    damage: Sequence[str] = ()
    left: Sequence[str] = field(default=())


Row = TypeVar("Row", StoredEvent, StoredDelivery, StoredAttempt)

_EVENTS = """
SELECT id, source, key, lower(hex(body_digest)) AS digest, status, conflict_of, retired, duplicates FROM events
ORDER BY id
"""
_DELIVERIES = "SELECT id, event_id, handler, status, attempts, crashes FROM deliveries ORDER BY id"
_ATTEMPTS = "SELECT delivery_id, number, worker, started_at, finished_at, result FROM attempts ORDER BY id"
_AT_WORK = """
SELECT (SELECT count(*) FROM events WHERE status IN ('received', 'processing'))
     + (SELECT count(*) FROM deliveries WHERE status IN ('pending', 'running', 'retrying', 'parked'))
"""


def gather(
    folder: Path,
    database: Path,
    *,
    handlers: Mapping[str, frozenset[str]] | None = None,
    left: Sequence[str] = (),
) -> Evidence:
    """Read the journals in `folder` and the database; a journal that is not there is empty, unknown if of faults."""
    with closing(_open(database)) as connection:
        damage = _damage(connection)
        events = _rows(connection, _EVENTS, StoredEvent)
        deliveries = _rows(connection, _DELIVERIES, StoredDelivery)
        attempts = _rows(connection, _ATTEMPTS, StoredAttempt)
    return Evidence(
        answers=read(folder / CLIENT, Reply),
        effects=read(folder / EFFECTS, Effect),
        events=events,
        deliveries=deliveries,
        attempts=attempts,
        handlers=handlers,
        faults=read(folder / FAULTS, Fault) if (folder / FAULTS).exists() else None,
        damage=damage,
        left=left,
    )


def at_work(database: Path) -> int:
    """Return how many events and deliveries have not come to their end."""
    with closing(_open(database)) as connection:
        return int(connection.execute(_AT_WORK).fetchone()[0])


def _open(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=rw", uri=True, timeout=10.0)
    connection.execute("PRAGMA query_only = 1")
    return connection


def _rows(connection: sqlite3.Connection, sql: str, kind: type[Row]) -> list[Row]:
    cursor = connection.execute(sql)
    names = [column[0] for column in cursor.description]
    assert names == [item.name for item in fields(kind)]
    found: list[Any] = [kind(*row) for row in cursor]
    return found


def _damage(connection: sqlite3.Connection) -> list[str]:
    """Return what SQLite finds wrong with its file, and rows that refer to others that are not there."""
    found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    return found + [f"{row[0]} {row[1]} has no {row[2]}" for row in connection.execute("PRAGMA foreign_key_check")]
