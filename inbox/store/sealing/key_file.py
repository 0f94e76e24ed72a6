"""The file of data keys, beside the database and never in a copy of it: what is destroyed here opens nowhere any more.

keys   one per sealed body, wrapped by a master key; an erased one is only there to say so
store  which inbox they belong to, and the secret that its subjects and refused requests are sealed with, wrapped

A key is on disk before the body that it opens, so what a crash leaves is a key without a body, which harms nobody.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from inbox.core.errors import StoreUnusable
from inbox.store.sqlite.connection import Connection

WHERE = "inbox.toml: inbox.seal_key"
_TABLES = """
CREATE TABLE IF NOT EXISTS store (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    id      BLOB NOT NULL,
    master  TEXT NOT NULL,
    wrapped BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS keys (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id  INTEGER NOT NULL,
    made_at   REAL NOT NULL,
    master    TEXT NOT NULL,
    wrapped   BLOB,
    erased_at REAL
) STRICT;
CREATE INDEX IF NOT EXISTS keys_master ON keys (master) WHERE wrapped IS NOT NULL;
CREATE INDEX IF NOT EXISTS keys_event ON keys (event_id);
CREATE INDEX IF NOT EXISTS keys_erased ON keys (id) WHERE erased_at IS NOT NULL
"""
_LAST = "SELECT coalesce(max(seq), 0) AS last FROM sqlite_sequence WHERE name = 'keys'"
_INSERT = "INSERT INTO keys (id, event_id, made_at, master, wrapped) VALUES (?, ?, ?, ?, ?)"
# From one name to the next through the index, which DISTINCT would read from end to end.
_MASTERS = """
WITH RECURSIVE names (name) AS (
    SELECT min(master) FROM keys WHERE wrapped IS NOT NULL
    UNION ALL SELECT (SELECT min(master) FROM keys WHERE wrapped IS NOT NULL AND master > name)
    FROM names WHERE name IS NOT NULL
)
SELECT name AS master, (SELECT count(*) FROM keys WHERE wrapped IS NOT NULL AND master = name) AS number
FROM names WHERE name IS NOT NULL
"""
_DESTROY = "UPDATE keys SET wrapped = NULL, erased_at = ? WHERE event_id = ? AND wrapped IS NOT NULL"


class KeyFileDamaged(Exception):
    """It was not sealed with this key, not bound to this, or changed since."""


class Kept(NamedTuple):
    """A row of keys."""

    id: int
    event_id: int
    made_at: float
    master: str
    wrapped: bytes | None
    erased_at: float | None = None


class KeyFile:
    """The file at `path`, which is made by `make` only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = Connection(path, durable=True, inner=True)

    @property
    def connection(self) -> Connection:
        """Return the connection. Raises StoreUnusable where there is no file."""
        if not self.path.exists():
            raise StoreUnusable(
                f"{self.path} is missing: it has the keys of what is sealed in the database; put it back, or its copy"
            )
        return self._connection

    def make(self, store: bytes, master: str, wrapped: bytes) -> None:
        """Make the file, or what is missing in it; a store that it has stays. Atomic: one transaction.

        Raises StoreUnusable, and changes nothing, if it is another program's database.
        """
        names = {row["name"] for row in self._connection.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if names and not {"store", "keys"} <= names:
            raise StoreUnusable(
                f"{self.path} is not the file of an inbox's keys: name a file of its own in inbox.key_file"
            )
        self._connection.use_wal()
        with self._connection.write() as raw:
            for statement in _TABLES.split(";"):
                raw.execute(statement)
            values = (store, master, wrapped)
            raw.execute("INSERT INTO store VALUES (1, ?, ?, ?) ON CONFLICT (one) DO NOTHING", values)

    def store(self) -> tuple[bytes, str, bytes]:
        """Return the id of the inbox, and the name of the master key that wraps its secret."""
        rows = self.connection.rows("SELECT id, master, wrapped FROM store")
        if not rows:
            raise StoreUnusable(f"{self.path} is not the file of an inbox's keys")
        return rows[0]["id"], rows[0]["master"], rows[0]["wrapped"]

    @contextmanager
    def adding(self) -> Iterator[tuple[int, list[Kept]]]:
        """Yield the last id and a list for keys, which are on disk when the block has ended. One transaction."""
        with self.connection.write() as raw:
            new: list[Kept] = []
            yield int(raw.execute(_LAST).fetchone()["last"]), new
            raw.executemany(_INSERT, [key[:5] for key in new])

    def find(self, key_id: int) -> Kept | None:
        """Return a key."""
        rows = self.connection.rows("SELECT * FROM keys WHERE id = ?", (key_id,))
        return Kept(*rows[0]) if rows else None

    def masters(self) -> dict[str, int]:
        """Return how many keys each master key wraps; the store's secret is one of them."""
        with self.connection.snapshot():
            found = {row["master"]: row["number"] for row in self.connection.rows(_MASTERS)}
            _, master, _ = self.store()
        return {**found, master: found.get(master, 0) + 1}

    def last(self) -> int:
        """Return the id of the key that was made last, 0 if none was."""
        return int(self.connection.rows(_LAST)[0]["last"])

    def of_master(self, master: str, after: int, upto: int, limit: int) -> list[Kept]:
        """Return keys with ids in between that a master key wraps."""
        sql = "SELECT * FROM keys WHERE wrapped IS NOT NULL AND master = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?"
        return [Kept(*row) for row in self.connection.rows(sql, (master, after, upto, limit))]

    def rewrap(self, new: Sequence[Kept], old: str) -> None:
        """Give keys another wrapping, unless they were destroyed meanwhile. Atomic: one transaction."""
        sql = "UPDATE keys SET master = ?, wrapped = ? WHERE id = ? AND master = ? AND wrapped IS NOT NULL"
        with self.connection.write() as raw:
            raw.executemany(sql, [(key.master, key.wrapped, key.id, old) for key in new])

    def rewrap_store(self, master: str, wrapped: bytes) -> None:
        """Give the store's secret another wrapping. Atomic: one UPDATE."""
        with self.connection.write() as raw:
            raw.execute("UPDATE store SET master = ?, wrapped = ?", (master, wrapped))

    def destroy(self, events: Iterable[int], at: float) -> int:
        """Destroy the keys of events, and return how many; their rows say when. One transaction; then `settle`."""
        with self.connection.write() as raw:
            return max(0, raw.executemany(_DESTROY, [(at, event_id) for event_id in events]).rowcount)

    def settle(self) -> bool:
        """Empty the log, which has what was overwritten; tell whether that was done."""
        return self.connection.empty_log()

    def erased(self, after: int, limit: int) -> list[Kept]:
        """Return keys with a larger id that were destroyed."""
        sql = "SELECT * FROM keys WHERE erased_at IS NOT NULL AND id > ? ORDER BY id LIMIT ?"
        return [Kept(*row) for row in self.connection.rows(sql, (after, limit))]

    def made(self, before: float, after: int, limit: int) -> list[Kept]:
        """Return keys with a larger id that were made before a time."""
        sql = "SELECT * FROM keys WHERE wrapped IS NOT NULL AND made_at < ? AND id > ? ORDER BY id LIMIT ?"
        return [Kept(*row) for row in self.connection.rows(sql, (before, after, limit))]

    def forget(self, ids: Sequence[int]) -> int:
        """Delete keys, and return how many. Atomic: one transaction."""
        with self.connection.write() as raw:
            return raw.executemany("DELETE FROM keys WHERE id = ?", [(key_id,) for key_id in ids]).rowcount

    def copy(self, target: Path) -> None:
        """Write a copy of the file, as it is at one moment. Raises StoreUnusable if it cannot be written."""
        try:
            self.connection.rows("VACUUM INTO ?", (str(target),))
        except sqlite3.Error as error:
            raise StoreUnusable(f"{target} cannot be written: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
