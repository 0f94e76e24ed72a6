"""huey: the wake-up. A message says only "look at event 42" or "run delivery 7"; the store is the truth.

The queue's file is not fsynced and may be deleted at any time: `sweep`, at start and every minute, rebuilds it from
the store. The one owner of huey in this package.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from huey import SqliteHuey, crontab
from huey.storage import SqliteStorage


class Jobs(Protocol):
    """What the queue's messages ask for; `inbox.delivery.Dispatcher` has it."""

    def route(self, event_id: int) -> None:
        """Make the event's deliveries."""

    def deliver(self, delivery_id: int) -> None:
        """Run a delivery."""

    def sweep(self) -> int:
        """Wake the queue for everything that waits."""


class Storage(SqliteStorage):  # type: ignore[misc]
    """huey's SQLite storage that notices when its file was deleted, and begins a new one."""

    _conn: sqlite3.Connection | None

    @contextmanager
    def db(self, commit: bool = False, close: bool = False) -> Iterator[Any]:
        """Yield a cursor on the file that is there now."""
        if self._conn is not None and not self._same_file():
            self.close()
        if self._conn is None:
            self._remember_file()
        with super().db(commit=commit, close=close) as cursor:
            yield cursor

    def _remember_file(self) -> None:
        with self.lock:
            if self._conn is None:
                connection: sqlite3.Connection = self._create_connection()
                for statement in self.ddl:
                    connection.execute(statement)
                self._conn = connection
                self._inode = Path(self.filename).stat().st_ino

    def _same_file(self) -> bool:
        try:
            return Path(self.filename).stat().st_ino == self._inode
        except FileNotFoundError:
            return False


class Queue:
    """The queue in the file at `path`; `jobs` is asked for when the first message is worked on, not before."""

    def __init__(self, path: Path, jobs: Callable[[], Jobs]) -> None:
        self.huey = SqliteHuey(
            "inbox", storage_class=Storage, filename=str(path), fsync=False, results=False, create_tables=False
        )
        self._route = self.huey.task(name="route")(lambda event_id: jobs().route(event_id))
        self._deliver = self.huey.task(name="deliver")(lambda delivery_id: jobs().deliver(delivery_id))
        self._sweep = self.huey.task(name="sweep")(lambda: jobs().sweep())
        self.huey.periodic_task(crontab(minute="*"), name="sweep_every_minute")(lambda: jobs().sweep())

    def event(self, event_id: int) -> None:
        """Have an event routed."""
        self._route(event_id)

    def delivery(self, delivery_id: int, after: float = 0.0) -> None:
        """Have a delivery run, `after` seconds from now; huey looks at its schedule once a second."""
        if after > 0:
            self._deliver.schedule((delivery_id,), delay=after)
        else:
            self._deliver(delivery_id)

    def sweep(self) -> None:
        """Have the store swept."""
        self._sweep()

    def size(self) -> int:
        """Return how many messages wait."""
        return int(self.huey.storage.queue_size())

    def close(self) -> None:
        """Let go of the file."""
        self.huey.storage.close()
