"""How the worker lets the receiver write first: senders wait for an answer, work need not be done at once."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from inbox.store.sqlite.connection import Connection

TIMES = 2.0
"""How many times as long as it wrote the worker lets others write, while events come."""

MOST = 0.05
"""Seconds of one pause at most: a disk that was slow once must not put work off for long."""

_NEWEST = "SELECT coalesce(max(seq), 0) AS newest FROM sqlite_sequence WHERE name = 'events'"


class Courtesy:
    """Write transactions of the worker, and the pauses between them, in which it holds no claim."""

    def __init__(self, connection: Connection, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._connection = connection
        self._pause = pause
        self._newest: int | None = None
        self._wrote = 0.0

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Open a write transaction, as `Connection.write` does, and remember how long it took."""
        with self._connection.write() as connection:
            begun = time.perf_counter()
            yield connection
        self._wrote += time.perf_counter() - begun

    def give_way(self) -> None:
        """Pause for what was written since the last call, if an event has come since then."""
        newest = self._connection.rows(_NEWEST)[0]["newest"]
        wrote, self._wrote = self._wrote, 0.0
        if newest != self._newest:
            self._newest = newest
            if wrote:
                self._pause(min(MOST, TIMES * wrote))
