"""One SQLite connection: pragmas, short write transactions, and sqlite3's errors as ours.

WAL; `durable` connections wait for the disk at each commit (synchronous=FULL), others do not (NORMAL: a power cut
may lose their last transactions, never a part of one, https://sqlite.org/wal.html#performance_considerations).
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from inbox.errors import StoreUnavailable, StoreUnusable

_POLL = 0.0005
"""Seconds between two tries to begin writing. SQLite's own busy handler sleeps up to 100 ms, which starves a
process that competes with a busy one; measured in the design: 250–600 ms p99."""

_DAMAGED = ("malformed", "not a database", "file is encrypted")


class Connection:
    """A connection that is opened when it is first used, and again in a forked child.

    `patience` is how many seconds a write waits for the lock of another process.
    """

    def __init__(self, path: Path, *, durable: bool, patience: float = 5.0) -> None:
        self._path = path
        self._durable = durable
        self._patience = patience
        self._lock = threading.RLock()
        self._database: Database | None = None
        self._pid = 0

    @property
    def database(self) -> Database:
        """Return the open sqlite-utils Database."""
        if self._database is None or self._pid != os.getpid():
            with translated():
                self._database = self._open()
            self._pid = os.getpid()
        return self._database

    def _open(self) -> Database:
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        _until_free(lambda: connection.execute("PRAGMA journal_mode = WAL"), self._patience)
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys = ON")
        return Database(connection, recursive_triggers=False, execute_plugins=False)

    @contextmanager
    def write(self, patience: float | None = None) -> Iterator[sqlite3.Connection]:
        """Open a write transaction that commits at the end of the block, or rolls back if the block raises.

        Raises StoreUnavailable if the lock does not become free in time, or the disk refuses.
        """
        with self._lock, translated():
            connection = self.database.conn
            waiting = self._patience if patience is None else patience
            _until_free(lambda: connection.execute("BEGIN IMMEDIATE"), waiting)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def rows(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        """Return the rows of a query; readers never wait for a writer."""
        with self._lock, translated():
            return self.database.conn.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._lock:
            if self._database is not None and self._pid == os.getpid():
                self._database.close()
            self._database = None


def _until_free(action: Any, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            action()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
        time.sleep(_POLL)


@contextmanager
def translated() -> Iterator[None]:
    """Turn sqlite3's errors into StoreUnavailable (try again) or StoreUnusable (a person has to look)."""
    try:
        yield
    except (sqlite3.OperationalError, sqlite3.DatabaseError) as error:
        if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)):
            raise
        if any(word in str(error) for word in _DAMAGED):
            raise StoreUnusable(f"the database is damaged or not a database: {error}") from error
        raise StoreUnavailable(f"the store is not available: {error}") from error
