"""How the worker lets the receiver write first: senders wait for an answer, work need not be done at once."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from inbox.store.sqlite.connection import Connection

TIMES = 2.0
"""How many times as long as it wrote the worker lets others write, while events come."""

_NEWEST = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'"


class Courtesy:
    """Write transactions that are followed by a pause if an event has come since the one before."""

    def __init__(self, connection: Connection, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._connection = connection
        self._pause = pause
        self._newest: int | None = None

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Open a write transaction, as `Connection.write` does."""
        with self._connection.write() as connection:
            begun = time.perf_counter()
            ((newest,),) = connection.execute(_NEWEST)
            yield connection
        if newest != self._newest:
            self._newest = newest
            self._pause(TIMES * (time.perf_counter() - begun))
