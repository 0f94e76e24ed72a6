"""Whose turn it is to write: one lock of the operating system for all processes that write to one database.

SQLite's own lock is taken inside it. Two reasons: SQLite before 3.51.3 can, very rarely, damage a database when one
process resets the WAL while another checkpoints (https://sqlite.org/wal.html#walresetbug), and neither happens
outside a turn, but when the last connection closes, which SQLite does under an exclusive lock; and nobody starves,
because SQLite's busy handler sleeps for longer and longer.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from inbox.core.errors import StoreUnavailable
from inbox.store.sqlite.owner import give_to_owner

_POLL = 0.0005
"""Seconds between two tries; the lock is asked for without waiting, because waiting for it could not be ended."""


class WriteLock:
    """The lock of the database at `path`, in a file beside it that holds nothing."""

    def __init__(self, path: Path) -> None:
        self._database = path
        self._path = path.with_name(f"{path.name}-lock")
        self._name = str(self._path)
        self._file: FileIO | None = None
        self._held = False

    @contextmanager
    def taken(self, patience: float) -> Iterator[None]:
        """Hold the lock in the block. Raises StoreUnavailable if others have it for `patience` seconds.

        Who holds it already holds it on.
        """
        if self._held:
            yield
            return
        deadline = time.monotonic() + patience
        while not self._try():
            if time.monotonic() >= deadline:
                raise StoreUnavailable(f"other processes have been writing for {patience:g} s")
            time.sleep(_POLL)
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._file is not None:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file, which also lets go of the lock."""
        if self._file is not None:
            if self._held:  # a duplicate of the file, as in a process that was forked, would keep the lock
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        self.close()

    def _try(self) -> bool:
        try:
            fcntl.flock(self._opened(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise StoreUnavailable(f"{self._path} cannot be locked: {error.strerror}") from error
        return self._in_place()

    def _in_place(self) -> bool:
        """Tell whether the file that was locked is the one at the path: others lock that one."""
        assert self._file is not None
        try:
            if os.fstat(self._file.fileno()).st_ino == os.stat(self._name).st_ino:  # noqa: PTH116 – as in `files`
                return True
        except OSError:
            pass
        self.close()
        return False

    def _opened(self) -> FileIO:
        if self._file is None:
            self._file = FileIO(self._path, "a")
            give_to_owner(self._file.fileno(), self._database)
        return self._file
