"""Room on the disk: events are refused before it runs out, so that what was accepted can still be worked on.

The worker never asks: recording outcomes and pruning may use the reserve.
"""

import os
import time
from pathlib import Path

from inbox.core.errors import StoreUnavailable
from inbox.store.sqlite.connection import Connection

MOMENT = 0.1
"""Seconds for which a look at the disk is good, if it found plenty of room."""

MUCH = 16
"""How many times what comes must be free to be plenty: others write to the disk as well."""

PAGES = 65_536
"""Bytes that a batch takes beside its bodies, at most."""


class DiskSpace:
    """Asked before each batch of events.

    reserved   bytes that must stay free on the file system
    max_bytes  bytes that the database may hold, its free pages and its log not counted; 0 is as much as the disk has
    """

    def __init__(self, path: Path, connection: Connection, *, reserved: int = 0, max_bytes: int = 0) -> None:
        self._path = path
        self._connection = connection
        self._reserved = reserved
        self._max_bytes = max_bytes
        self._looked = 0.0
        self._plenty = 0

    def __call__(self, coming: int = 0) -> None:
        """Raise StoreUnavailable if there is no room for so many bytes more."""
        if self._reserved and not self._has_plenty(coming):
            free, spare = self._free(), self._reserved + 2 * coming  # written twice: to the log, then to the database
            log = self._log()
            if free - log < spare and free - (growth := self._growth()) < spare:
                raise StoreUnavailable(
                    f"{free} bytes are free on the disk, {coming} would come, and {growth} out of the log; "
                    f"min_free_bytes = {self._reserved}"
                )
            self._looked, self._plenty = time.monotonic(), (free - log - spare) // MUCH
        if self._max_bytes and self._files() + coming > self._max_bytes:
            held = self._held()
            if held + coming > self._max_bytes:
                raise StoreUnavailable(
                    f"the store holds {held} bytes, {coming} would come; max_store_bytes = {self._max_bytes}"
                )

    def _has_plenty(self, coming: int) -> bool:
        """Tell whether a look just now found many times what has come since: looking takes as long as storing."""
        self._plenty -= 2 * coming + PAGES
        return self._plenty > 0 and time.monotonic() - self._looked < MOMENT

    def _free(self) -> int:
        try:
            disk = os.statvfs(self._path.parent)
        except OSError as error:
            raise StoreUnavailable(f"the disk does not say how much is free: {error.strerror}") from error
        return disk.f_bavail * disk.f_frsize

    def _files(self) -> int:
        """Return the size of the database file and its log; cheap, and never less than what the database holds."""
        return _size(self._path) + self._log()

    def _log(self) -> int:
        return _size(self._path.with_name(f"{self._path.name}-wal"))

    def _growth(self) -> int:
        """Return by how much the database file grows when what is in its log is moved into it; at most by the log."""
        with self._connection.snapshot():
            pages, size = (int(self._connection.rows(f"PRAGMA {name}")[0][0]) for name in ("page_count", "page_size"))
        return max(0, pages * size - _size(self._path))

    def _held(self) -> int:
        """Return what is in use: pages that were pruned are written again."""
        names = ("page_count", "freelist_count", "page_size")
        with self._connection.snapshot():
            pages, free, size = (int(self._connection.rows(f"PRAGMA {name}")[0][0]) for name in names)
        return (pages - free) * size


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
