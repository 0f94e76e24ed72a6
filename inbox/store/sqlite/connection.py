"""One SQLite connection: pragmas, short write transactions, and sqlite3's errors as ours.

WAL; `durable` connections wait for the disk at each commit (synchronous=FULL), others do not (NORMAL: a power cut
may lose their last transactions, never a part of one, https://sqlite.org/wal.html#performance_considerations).
"""

import ctypes
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import structlog
from sqlite_utils import Database

from inbox.core.errors import StoreChanged, StoreUnavailable, StoreUnusable
from inbox.core.process_integrity import damage, descriptors_change
from inbox.store.sqlite import registry
from inbox.store.sqlite.marker import admit
from inbox.store.sqlite.owner import give_to_owner
from inbox.store.sqlite.write_lock import WriteLock

log = structlog.get_logger("inbox.store")

T = TypeVar("T")

_POLL = 0.0005
"""Seconds between two tries to begin writing. SQLite's own busy handler sleeps up to 100 ms, which starves a
process that competes with a busy one; measured in the design: 250–600 ms p99."""

SAVING = 1.0
"""Seconds that others have to end what they do, before a log that was deleted cannot be saved."""

STATEMENTS = 128
"""How many are kept prepared. Those for many rows are others for each number of rows, and weigh much: with 512 of them
a worker grew by 12 MiB in 100,000 events."""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""SQLITE_ERROR is what a missing table gives."""


class Connection:
    """A connection that is opened when it is first used, and again in a forked child.

    `patience` is how many seconds a write waits for the lock of another process. One that is `inner` may be used within
    a transaction of another, never the other way round.
    """

    def __init__(self, path: Path, *, durable: bool, patience: float = 5.0, inner: bool = False) -> None:
        self.inner = inner
        self.files = registry.files_of(path)
        self._path = path
        self._durable = durable
        self._patience = patience
        self._lock = threading.RLock()
        self._turn = WriteLock(path)
        self._database: Database | None = None
        self._ended = False
        registry.add(self)

    @property
    def database(self) -> Database:
        """Return the open sqlite-utils Database.

        Raises StoreUnusable if damage was found, and StoreChanged if one of its files is no longer the one at the path:
        what is written to it would be lost.
        """
        if self._database is None:
            if self._ended:
                raise StoreUnavailable("this process ends")
            self._database = self._entered()
            descriptors_change()
        elif not self._database.conn.in_transaction and (why := self.files.changed()):
            self._refuse(self._database.conn, why)
        elif self.files.damage:
            raise StoreUnusable(self.files.damage)
        return self._database

    def _refuse(self, connection: sqlite3.Connection, why: str) -> NoReturn:
        """Save what would be lost with a deleted log, once, and raise StoreChanged."""
        saved = self._save(connection)
        log_file = "; what was in the log is in the database now" if saved else ""
        if not self.files.told:
            log.error("store.changed", why=why + log_file, then="503 until this process is replaced")
        self.files.told = True
        if not self.files.in_place:
            self.close()
        raise StoreChanged(f"{why}{log_file}: restart the program")

    def _save(self, connection: sqlite3.Connection) -> bool:
        """Bring the log into the database if it, or its index, was deleted; tell whether that was done.

        This process has both open still. The new, empty files say that others may open the database again.
        """
        if self.files.saved or not self.files.missing():
            return self.files.saved
        with suppress(sqlite3.Error, StoreUnavailable), self._turn.taken(SAVING):
            end = time.monotonic() + SAVING
            while missing := self.files.missing():
                if not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    for name in missing:
                        with open(name, "xb") as made:  # noqa: PTH123 – as `files` has it
                            give_to_owner(made.fileno(), self._path)
                    self.files.saved = True
                    break
                if time.monotonic() > end:
                    break
                time.sleep(10 * _POLL)
        return self.files.saved

    def _entered(self) -> Database:
        """Open the database, after a look at its files."""
        self.files.enter(admit)
        try:
            before = self.files.log()
            with translated():
                database = self._open()
            if self.files.give_up_log(before):
                database.conn.close()
                raise StoreUnavailable(f"the log of {self._path} was deleted while this process opened it")
            self.files.opened()
            registry.close_at_exit(os.getpid())
        except BaseException:
            self.files.leave()
            raise
        return database

    def _open(self) -> Database:
        connection = sqlite3.connect(
            self._path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS
        )
        try:
            connection.row_factory = sqlite3.Row
            synchronous = "FULL" if self._durable else "NORMAL"
            _until_free(lambda: connection.execute(f"PRAGMA synchronous = {synchronous}"), self._patience)
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA secure_delete = ON")  # what was held with its secret does not linger in the file
        except BaseException:
            connection.close()
            raise
        return Database(connection, recursive_triggers=False, execute_plugins=False)

    def use_wal(self) -> None:
        """Switch the database to WAL, where it stays."""
        with self._lock, translated():
            connection = self.database.conn
            _until_free(lambda: connection.execute("PRAGMA journal_mode = WAL"), self._patience)

    @contextmanager
    def write(self, patience: float | None = None) -> Iterator[sqlite3.Connection]:
        """Open a write transaction that commits at the end of the block, or rolls back if the block raises.

        Raises StoreUnavailable if the lock does not become free in time, the disk refuses, or a handler has closed
        descriptors of this process: what SQLite writes could then land in another file.
        """
        if damaged := damage():
            raise StoreUnavailable(f"this process is damaged: {damaged}")
        with self._lock, translated():
            waiting = self._patience if patience is None else patience
            end = time.monotonic() + waiting
            with self._turn.taken(waiting):
                connection = self.database.conn
                try:
                    _until_free(lambda: connection.execute("BEGIN IMMEDIATE"), end - time.monotonic())
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let every query in the block see the database as it was at the first."""
        with self._lock, translated():
            connection = self.database.conn
            try:
                connection.execute("BEGIN")
                yield
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")

    def rows(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[sqlite3.Row]:
        """Return the rows of a query; readers never wait for a writer, only for one that closes or recovers."""
        with self._lock, translated():
            connection = self.database.conn
            return _until_free(lambda: connection.execute(sql, parameters).fetchall(), self._patience)

    def empty_log(self, patience: float | None = None) -> bool:
        """Bring the log into the database and empty it, for it has what was overwritten; tell whether that was done.

        Somebody who reads, such as a backup, is in the way; nobody else who writes is kept waiting for him.
        """
        end = time.monotonic() + (self._patience if patience is None else patience)
        while True:
            with self._lock, translated(), self._turn.taken(self._patience):
                ((busy, *_),) = self.database.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if not busy or time.monotonic() >= end:
                return not busy
            time.sleep(10 * _POLL)

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._lock:
            descriptors_change()
            if self._database is not None:
                self._part(self._database)
            self._database = None
            self._turn.close()

    def _part(self, database: Database) -> None:
        """Close the database, unless closing it would write into files that are not those that were opened.

        SQLite brings the log into the database when the last connection closes. It sees by itself that the database
        was moved, but neither another log nor other content; then the connection stays open until the process ends.
        """
        if self.files.changed() and self.files.in_place:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(database.conn))
            return
        database.close()
        self.files.leave()

    def end(self, seconds: float) -> None:
        """Close the connection for good, in a turn; one that a thread uses for longer than so many seconds stays."""
        self._ended = True
        if self._lock.acquire(timeout=seconds):
            try:
                with suppress(StoreUnavailable, sqlite3.Error), self._turn.taken(seconds):
                    self.close()
            finally:
                self._lock.release()

    def hold(self) -> None:
        """Close the connection and let nobody open it again until `let_go`."""
        self._lock.acquire()
        self.close()

    def let_go(self) -> None:
        """End what `hold` began."""
        self._lock.release()


def _until_free(action: Callable[[], T], patience: float) -> T:
    deadline = time.monotonic() + patience
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
        time.sleep(_POLL)


def _code(error: sqlite3.Error) -> int:
    """Return the primary result code; sqlite3's own errors, such as text that is not UTF-8, have none."""
    return getattr(error, "sqlite_errorcode", -1) & 0xFF


@contextmanager
def translated() -> Iterator[None]:
    """Turn sqlite3's errors into StoreUnavailable (try again) or StoreUnusable (a person has to look)."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)):
            raise
        if _code(error) in _DAMAGED:
            raise StoreUnusable(f"the database is damaged, or not an inbox: {error}") from error
        raise StoreUnavailable(f"the store is not available: {error}") from error
