"""Who is there: one lock that every process shares which works on a database, and that nobody else may have meanwhile.

It says nothing about writing (`inbox.store.sqlite.write_lock` does that), only that the file must not be put in place
now.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inbox.core.errors import InTheWay, StoreUnavailable
from inbox.store.sqlite.owner import give_to_owner


class InstanceLock:
    """Shares the lock of the database at `path` until it is closed, or until this process and its forks have ended.

    Raises InTheWay while somebody has the database for himself.
    """

    def __init__(self, path: Path) -> None:
        self._file = _opened(path)
        if not _lock(self._file, fcntl.LOCK_SH):
            os.close(self._file)
            raise InTheWay(f"{path.name} is being restored: start when that is done")

    def close(self) -> None:
        """Leave."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Let nobody else work on the database in the block. Raises InTheWay if somebody does."""
    file = _opened(path)
    try:
        if not _lock(file, fcntl.LOCK_EX):
            raise InTheWay(f"a receiver or worker of {path.name} is running: stop it first")
        yield
    finally:
        os.close(file)


def _opened(path: Path) -> int:
    name = path.with_name(f".{path.name}-running")  # `mv inbox.db* elsewhere` leaves it where it is
    try:
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"{name} cannot be opened: {error.strerror}") from error
    give_to_owner(file, path)
    return file


def _lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
