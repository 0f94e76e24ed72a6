"""huey: the wake-up. A message says only "there is work", now or at a time; what it is stands in the store.

So one message is enough, however much there is to do. The queue's file is not fsynced and may be deleted at any time:
`sweep`, at start and every minute, rebuilds it from the store. The one owner of huey in this package.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from multiprocessing import util
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakSet

import structlog
from huey import SqliteHuey, crontab
from huey.storage import SqliteStorage
from huey.utils import normalize_time

from inbox.bell import Bell

log = structlog.get_logger("inbox.queue")

DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
ASIDE = ".damaged"
"""What the name of a damaged queue file ends in after it was set aside."""

PAUSE = 1.0
"""Seconds that a worker waits after the queue could not be read, so that a full disk does not fill the log as well."""


class Jobs(Protocol):
    """What the queue's messages ask for; `inbox.delivery.Dispatcher` has it."""

    def work(self) -> None:
        """Route and run some of what waits."""

    def sweep(self) -> int:
        """Wake the queue for everything that waits."""


class Storage(SqliteStorage):  # type: ignore[misc]
    """huey's SQLite storage that notices when its files were deleted or are damaged, and begins new ones."""

    _conn: sqlite3.Connection | None
    _identity: tuple[int | None, ...] = (None, None, None)
    """The database file, its log and the log's index as they were opened; without its log a connection writes where
    no other reads."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.bell = Bell(Path(f"{self.filename}-bell"))
        self._ended = False
        self.lock = threading.RLock()  # held from the look at the file to the end of the transaction

    @contextmanager
    def db(self, commit: bool = False, close: bool = False) -> Iterator[Any]:
        """Yield a cursor on the file that is there now."""
        with self.lock:
            if self._ended:
                raise sqlite3.OperationalError("this process ends")
            if self._conn is not None and self._files() != self._identity:
                self._set_aside("its log, or the index of the log, was deleted or replaced")
            if self._conn is None:
                self._open()
            try:
                with super().db(commit=commit, close=close) as cursor:
                    yield cursor
            except sqlite3.DatabaseError as error:
                if _is_damage(error):
                    self._set_aside(str(error))
                raise

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        """Add a message and ring, unless the same one waits already."""
        same = "SELECT 1 FROM task WHERE queue = ? AND data = ? LIMIT 1"
        if not self.sql(same, (self.name, data), results=True):
            super().enqueue(data, priority)
            self.bell.ring()

    def add_to_schedule(self, data: bytes, ts: datetime) -> None:
        """Add a message for a later time, unless the same one waits for that time already."""
        same = "SELECT 1 FROM schedule WHERE queue = ? AND timestamp = ? AND data = ? LIMIT 1"
        if not self.sql(same, (self.name, ts.timestamp(), data), results=True):
            super().add_to_schedule(data, ts)

    def dequeue(self) -> Any:
        """Return the next message or None; an error is raised after a pause."""
        try:
            return super().dequeue()
        except sqlite3.Error:
            time.sleep(PAUSE)
            raise

    def _open(self) -> None:
        """Open the file, or a new one if it is damaged."""
        try:
            self._connect()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._set_aside(str(error))
            self._connect()

    def _connect(self) -> None:
        self._identity = (_inode(self.filename), None, None)
        connection: sqlite3.Connection = self._create_connection()
        try:
            for statement in self.ddl:
                connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        self._conn, self._identity = connection, self._files()
        _opened.add(self)
        _close_at_exit(os.getpid())

    def _set_journal_mode(self, conn: sqlite3.Connection) -> None:
        try:
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
        storage.end(PAUSE)


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino  # noqa: PTH116 – several times per message, and Path is much slower
    except FileNotFoundError:
        return None


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in DAMAGED


class Queue:
    """The queue in the file at `path`; `jobs` is asked for when the first message is worked on, not before."""

    def __init__(self, path: Path, jobs: Callable[[], Jobs]) -> None:
        self.huey = SqliteHuey(
            "inbox", storage_class=Storage, filename=str(path), fsync=False, results=False, create_tables=False
        )
        self._work = self.huey.task(name="work")(lambda: jobs().work())
        self._sweep = self.huey.task(name="sweep")(lambda: jobs().sweep())
        self.huey.periodic_task(crontab(minute="*"), name="sweep_every_minute")(lambda: jobs().sweep())

    def wake(self, after: float = 0.0) -> None:
        """Have somebody look for work, `after` seconds from now; huey looks at its schedule once a second."""
        if after > 0:
            # full seconds, so that one message serves all that wait for the same one
            at = normalize_time(delay=after).replace(microsecond=0, tzinfo=UTC) + timedelta(seconds=1)
            self.huey.add_schedule(self._work.s(id="work", eta=at))
        else:
            self.huey.enqueue(self._work.s(id="work"))

    def sweep(self) -> None:
        """Have the store swept."""
        self.huey.enqueue(self._sweep.s(id="sweep"))

    def every_minute(self, name: str, action: Callable[[], object]) -> None:
        """Have one of the workers do something every minute; what it does must not take long."""
        self.huey.periodic_task(crontab(minute="*"), name=name)(action)

    def size(self) -> int:
        """Return how many messages wait."""
        return int(self.huey.storage.queue_size())

    def settle(self) -> None:
        """Open and close the file after all processes have ended, so that no log stays."""
        with suppress(sqlite3.Error):
            self.size()
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self.huey.storage.close()
        self.huey.storage.bell.close()
