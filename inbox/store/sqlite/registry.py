"""The connections of this process: what they do before it forks, and when it ends."""

import os
import threading
from functools import cache
from multiprocessing import util
from pathlib import Path
from typing import Protocol
from weakref import WeakSet, WeakValueDictionary

from inbox.store.sqlite.files import Files

CLOSING = 5.0
"""Seconds that each connection of a process that ends waits for its turn to close."""


class Registered(Protocol):
    """What a connection can do; `inbox.store.sqlite.connection.Connection` has it."""

    inner: bool

    def end(self, seconds: float) -> None:
        """Close for good."""

    def hold(self) -> None:
        """Close, and let nothing open it again until `let_go`."""

    def let_go(self) -> None:
        """End what `hold` began."""


_connections: WeakSet[Registered] = WeakSet()
_files: WeakValueDictionary[Path, Files] = WeakValueDictionary()
_held: list[Registered] = []
_forking = threading.Lock()


def add(connection: Registered) -> None:
    """Register a new connection."""
    _watch_forks()
    with _forking:
        _connections.add(connection)


def files_of(path: Path) -> Files:
    """Return what all connections of this process to one database share."""
    with _forking:
        return _files.setdefault(Path(os.path.realpath(path)), Files(path))


@cache
def _watch_forks() -> None:
    """See to it that no connection is open while this process forks.

    The connection that a child inherits cannot be used, nor even closed, and spoils the child's own connections to
    the same file: they would rely on locks that only the parent holds, and when the parent closes, the WAL is deleted
    under the child, whose later commits are gone. https://sqlite.org/howtocorrupt.html (2.6)
    """
    os.register_at_fork(before=_hold_all, after_in_parent=_let_go_all, after_in_child=_let_go_all)


def _hold_all() -> None:
    _forking.acquire()
    _held.extend(_in_order())
    for connection in _held:
        connection.hold()


def _let_go_all() -> None:
    for connection in _held:
        connection.let_go()
    _held.clear()
    _forking.release()


@cache
def close_at_exit(pid: int) -> None:
    """Have the process `pid`, this one, close its connections when it ends: the last of all leaves no log behind."""
    util.Finalize(None, _close_all, exitpriority=-100)  # also in a child of multiprocessing, which has no atexit


def _close_all() -> None:
    """Close all connections, one process after the other; threads that are left do not open them again.

    SQLite brings the log into the database, and deletes it, when the last connection closes; two that close at the same
    moment could each take the other for the last one.
    """
    for connection in _in_order():
        connection.end(CLOSING)


def _in_order() -> list[Registered]:
    return sorted(_connections, key=lambda connection: connection.inner)  # as they are taken elsewhere
