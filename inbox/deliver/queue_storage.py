"""The file of huey's queue: begun anew when it is damaged or was deleted, and done without when it cannot be used.

No method that a worker or receiver calls raises because of the file. A worker that gets no message looks into the
store by itself, so a dead queue costs at most a second. A database of another program is never changed.
"""

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from multiprocessing import util
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

import structlog
from huey.storage import EmptyData, SqliteStorage

from inbox.core.process_integrity import damage, descriptors_change
from inbox.deliver.queue_file import Outdated, check_tables, is_closed_queue, pipe_at, problem_with

log = structlog.get_logger("inbox.deliver.queue")

T = TypeVar("T")

DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
ASIDE = ".damaged"
"""What the name of a damaged queue file ends in after it was set aside."""

LOOK = 1.0
"""Seconds after which a worker that got no message looks into the store."""

AGAIN = 5.0
"""Seconds until a queue that could not be used is tried again."""

MINUTE = 60.0
"""Seconds between two rounds of what is done every minute, and between two log lines about an unusable queue."""

LONG_AGO = float("-inf")

PATIENCE = 1.0
"""Seconds that one waits for the lock of the file."""


class Storage(SqliteStorage):  # type: ignore[misc]
    """huey's SQLite storage for a file that may be missing, damaged, locked or unusable at any time.

    look      the message that has a worker look into the store
    minutely  the messages of what is done every minute
    failure   why the queue cannot be used, "" if it can
    """

    _conn: sqlite3.Connection | None
    _identity: tuple[int | None, ...] = (None, None, None)
    """The database file, its log and the log's index as they were opened; without its log a connection writes where
    no other reads."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, timeout=PATIENCE, **options)
        self.bell = pipe_at(Path(self.filename))
        self.lock = threading.RLock()  # held from the look at the file to the end of the transaction
        self.look = b""
        self.minutely: list[bytes] = []
        self.failure = ""
        self._again = self._said = self._minute = 0.0
        self._looked = time.monotonic()
        self._unasked: deque[bytes] = deque()
        self._replaced = False
        self._ended = False

    @contextmanager
    def db(self, commit: bool = False, close: bool = False) -> Iterator[Any]:
        """Yield a cursor on the file that is there now."""
        with self.lock:
            if self._conn is not None and self._files() != self._identity:
                self._set_aside("its log, or the index of the log, was deleted or replaced")
            if self._conn is None:
                self._open()
            try:
                with super().db(commit=commit, close=close) as cursor:
                    yield cursor
            except sqlite3.DatabaseError as error:
                self._replace(error)
                raise

    def close(self) -> bool:
        """Close the file; the next use opens it again."""
        descriptors_change()
        return bool(super().close())

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        """Add a message and ring, unless the same one waits already."""
        if self._use(lambda: self._add(data, priority), True):
            if self.failure:
                self._looked = LONG_AGO
            self.bell.ring()

    def add_to_schedule(self, data: bytes, ts: datetime) -> None:
        """Add a message for a later time, unless the same one waits for that time already."""
        self._use(lambda: self._add_later(data, ts), None)

    def read_schedule(self, ts: datetime) -> list[bytes]:
        """Return the messages whose time has come."""
        found: list[bytes] = self._use(lambda: super(Storage, self).read_schedule(ts), [])
        return found

    def dequeue(self) -> bytes | None:
        """Return the next message, or what is to be done without one, or None."""
        data: bytes | None = self._use(super().dequeue, None)
        if data is None:
            return self._without()
        self._looked = time.monotonic()
        return data

    def peek_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return nothing: no message is ever revoked, because the store says what is to be done."""
        return {}

    def pop_data(self, key: str) -> Any:
        """Return that there is nothing; see `peek_many`."""
        return EmptyData

    def wait(self, seconds: float, others: Sequence[int] = ()) -> None:
        """Wait for the bell, for one of the other files, or until the time is up."""
        if self.bell.wait(seconds, others) and self.failure:
            self._looked = LONG_AGO

    def try_it(self) -> None:
        """Find out whether the queue can be used; `failure` says."""
        self._use(lambda: self.sql("DELETE FROM task WHERE id < 0", commit=True), None)

    def _add(self, data: bytes, priority: float | None) -> bool:
        same = "SELECT 1 FROM task WHERE queue = ? AND data = ? LIMIT 1"
        if self.sql(same, (self.name, data), results=True):
            return False
        super().enqueue(data, priority)
        return True

    def _add_later(self, data: bytes, ts: datetime) -> None:
        same = "SELECT 1 FROM schedule WHERE queue = ? AND timestamp = ? AND data = ? LIMIT 1"
        if not self.sql(same, (self.name, ts.timestamp(), data), results=True):
            super().add_to_schedule(data, ts)

    def _use(self, action: Callable[[], T], otherwise: T) -> T:
        """Return what the action returns, or `otherwise` if the queue cannot be used now."""
        if damage() or self._ended or (self.failure and time.monotonic() < self._again):
            return otherwise
        self._replaced = False
        try:
            try:
                result = action()
            except sqlite3.Error:
                if not self._replaced:
                    raise
                result = action()
        except (sqlite3.Error, OSError) as error:
            self._fail(error)
            return otherwise
        if self.failure:
            self.failure = ""
            log.info("queue.usable", file=self.filename)
        return result

    def _fail(self, error: Exception) -> None:
        """Remember that the queue cannot be used, and say so once a minute."""
        now = time.monotonic()
        with suppress(sqlite3.Error):
            self.close()
        why = problem_with(Path(self.filename)) or f"{self.filename}: {error}"
        if not self.failure:
            self._minute, self._looked = now, LONG_AGO
        if not self.failure or now >= self._said + MINUTE:
            self._said = now
            log.error("queue.unusable", error=why, then="workers look into the store every second")
        self.failure, self._again = why, now + AGAIN

    def _without(self) -> bytes | None:
        """Return what is to be done although no message says so."""
        now = time.monotonic()
        if self.failure and now >= self._minute:
            self._minute = now + MINUTE
            self._unasked.extend(self.minutely)
        if self._unasked:
            return self._unasked.popleft()
        if now < self._looked + LOOK or not self.look:
            return None
        self._looked = now
        return self.look

    def _open(self) -> None:
        """Open the file, or a new one if it has to be replaced."""
        try:
            self._connect()
        except sqlite3.DatabaseError as error:
            if not self._replace(error):
                raise
            self._connect()

    def _replace(self, error: sqlite3.DatabaseError) -> bool:
        """Set the file aside if it is damaged, or is a queue that this user may not write; return whether it was."""
        if not _is_damage(error) and not is_closed_queue(Path(self.filename)):
            return False
        self._set_aside(str(error))
        self._replaced, self._looked = True, LONG_AGO
        return True

    def _connect(self) -> None:
        """Open the file; make its folder, and take away an empty folder in its place, as container mounts leave."""
        path = Path(self.filename)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.is_dir():
            path.rmdir()
        self._identity = (_inode(self.filename), None, None)
        connection: sqlite3.Connection = self._create_connection()
        try:
            for statement in self.ddl:
                connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        self._conn, self._identity = connection, self._files()
        descriptors_change()
        _opened.add(self)
        _close_at_exit(os.getpid())

    def _set_journal_mode(self, conn: sqlite3.Connection) -> None:
        try:
            check_tables(conn)
            super()._set_journal_mode(conn)
        except BaseException:
            conn.close()
            raise

    def _set_aside(self, why: str) -> None:
        """Close the file and rename it, unless it is gone already; it held wake-ups only, which the sweep repeats."""
        self.close()
        if _inode(self.filename) != self._identity[0]:
            return
        with suppress(FileNotFoundError):
            Path(self.filename).replace(f"{self.filename}{ASIDE}")
        for suffix in ("-wal", "-shm"):
            Path(f"{self.filename}{suffix}").unlink(missing_ok=True)
        log.error("queue.damaged", file=self.filename, why=why, then=f"set aside as *{ASIDE}, begun anew")

    def _files(self) -> tuple[int | None, ...]:
        return tuple(_inode(f"{self.filename}{ending}") for ending in ("", "-wal", "-shm"))

    def end(self, seconds: float) -> None:
        """Close the file for good, unless a thread uses it for longer than so many seconds."""
        if self.lock.acquire(timeout=seconds):
            self._ended = True
            self.close()
            self.lock.release()


_opened: "WeakSet[Storage]" = WeakSet()


@cache
def _close_at_exit(pid: int) -> None:
    """Have this process close the queue when it ends; the last one of all processes leaves no log behind."""
    util.Finalize(None, _close_all, exitpriority=-100)  # also in a child of multiprocessing, which has no atexit


def _close_all() -> None:
    for storage in list(_opened):
        storage.end(PATIENCE)


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino  # noqa: PTH116 – several times per message, and Path is much slower
    except FileNotFoundError:
        return None


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return isinstance(error, Outdated) or (getattr(error, "sqlite_errorcode", 0) & 0xFF) in DAMAGED
