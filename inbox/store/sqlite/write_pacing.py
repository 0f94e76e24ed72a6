"""How the worker lets the receiver write first: senders wait for an answer, work need not be done at once.

An event that comes alone is worked on at once. When several come in a moment, more may: the worker waits as long as
they do, not for long, and then does many at once. Once something has waited for long it waits for no more events, but
still pauses for longer than it writes.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from inbox.store.sqlite.connection import Connection

MOMENT = 0.04
"""Seconds in which two events must have come for more to be expected."""

STEP = 0.03
"""Seconds without an event that end the waiting."""

STEPS = 8
"""Of these at most."""

LATE = 1.0
"""Seconds after which what waits has waited for long."""

TIMES = 6.0
"""How many times as long as it wrote the worker then lets others write, while events come."""

MOST = 0.1
"""Seconds of such a pause at most: a disk that was slow once must not put work off for long."""

_NEWEST = "SELECT coalesce(max(id), 0) AS newest FROM events"
_LOOK = """
SELECT (SELECT coalesce(max(id), 0) FROM events) AS newest,
       (SELECT received_at FROM events ORDER BY id DESC LIMIT 1 OFFSET 1) AS before,
       min(coalesce((SELECT received_at FROM events WHERE status = 'received' ORDER BY id LIMIT 1), :at),
           coalesce((SELECT due_at FROM deliveries WHERE status IN ('pending', 'retrying') AND paused_by IS NULL
                     ORDER BY due_at LIMIT 1), :at)) AS oldest
"""


class WritePacing:
    """Write transactions of the worker, and the pauses between them, in which it holds no claim."""

    def __init__(self, connection: Connection, *, pause: Callable[[float], None] = time.sleep) -> None:
        self._connection = connection
        self._pause = pause
        self._newest = 0
        self._wrote = 0.0

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Open a write transaction, as `Connection.write` does, and remember how long it took."""
        with self._connection.write() as connection:
            begun = time.perf_counter()
            yield connection
        self._wrote += time.perf_counter() - begun

    def give_way(self, at: float) -> None:
        """See `inbox.store.protocols_routing.PacedWriter`."""
        look = self._connection.rows(_LOOK, {"at": at})[0]
        wrote, self._wrote = self._wrote, 0.0
        come, self._newest = look["newest"] != self._newest, look["newest"]
        if at - look["oldest"] > LATE:
            if come and wrote:
                self._pause(min(MOST, TIMES * wrote))
        elif look["before"] is not None and abs(at - look["before"]) < MOMENT:
            self._gather()

    def _gather(self) -> None:
        for _ in range(STEPS):
            self._pause(STEP)
            newest = self._connection.rows(_NEWEST)[0]["newest"]
            if newest == self._newest:
                return
            self._newest = newest
