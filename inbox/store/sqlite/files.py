"""The files of one SQLite database, read as bytes: which files lie there, and whether they belong together.

A database is inbox.db, its log (`-wal`) and the index of the log (`-shm`). The header of inbox.db has a generation: a
number that only grows (see `mark`), and is negative in a copy that `inbox backup` made.
Never writes. Next: `mark` remembers the generation beside the database, `connection` asks before each transaction.
"""

import fcntl
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from inbox.core.errors import StoreChanged, StoreUnavailable

HEADER = 100
"""Bytes at the beginning of a database, https://sqlite.org/fileformat.html#the_database_header."""

MAGIC = b"SQLite format 3\0"
_LOG_HEADER = struct.Struct(">IIII8sII")
_FRAME = struct.Struct(">II8sII")
_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510
"""The bytes of inbox.db that everybody locks who has it open in WAL mode, https://sqlite.org/src/file/src/os.h."""


class Header(NamedTuple):
    """What the first bytes of a database say: whose it is, its generation, and all that a new generation leaves alone.

    `rest` has the number of pages, what is free, and the version of the schema.
    """

    application: int
    generation: int
    rest: bytes


def header(data: bytes) -> Header | None:
    """Return what a header says, None if it is no header of a database."""
    if len(data) < HEADER or not data.startswith(MAGIC):
        return None
    application, generation = int.from_bytes(data[68:72], "big"), int.from_bytes(data[60:64], "big", signed=True)
    return Header(application, generation, data[:24] + data[28:60] + data[64:92])


def beside(path: Path, ending: str) -> Path:
    """Return the path of the log (`-wal`), its index (`-shm`) or the rollback journal (`-journal`) of a database.

    SQLite follows symbolic links first.
    """
    real = Path(os.path.realpath(path))
    return real.with_name(real.name + ending)


def headers(log: Path, *, checked: bool) -> list[Header]:
    """Return the headers that committed transactions in a log gave the database, oldest first.

    `checked` verifies checksums as SQLite does, which takes about a second for 64 MiB; without it the end of a log
    that a power cut tore may count as well.
    """
    try:
        with log.open("rb") as file:
            return _headers(file.fileno(), checked)
    except FileNotFoundError:
        return []


def _headers(file: int, checked: bool) -> list[Header]:
    start = os.pread(file, _LOG_HEADER.size, 0)
    if len(start) < _LOG_HEADER.size:
        return []
    magic, _, size, _, salts, *sums = _LOG_HEADER.unpack(start)
    order = ">" if magic & 1 else "<"
    if magic & ~1 != 0x377F0682 or size < 512 or size > 65_536 or (0, 0) == (running := (sums[0], sums[1])):
        return []
    if checked and _checksum(start[:24], (0, 0), order) != running:
        return []
    found: list[Header] = []
    pending: list[Header] = []
    place = _LOG_HEADER.size
    while len(frame := os.pread(file, _FRAME.size, place)) == _FRAME.size:
        page, commit, own, *sums = _FRAME.unpack(frame)
        if own != salts:
            break
        if checked or page == 1:
            content = os.pread(file, size, place + _FRAME.size)
            if len(content) < size:
                break
            if checked and (running := _checksum(frame[:8] + content, running, order)) != (sums[0], sums[1]):
                break
            if page == 1 and (made := header(content)) is not None:
                pending.append(made)
        if commit:
            found += pending
            pending.clear()
        place += _FRAME.size + size
    return found


def _checksum(data: bytes, begun: tuple[int, int], order: str) -> tuple[int, int]:
    """Return the checksum of a log after `data`, https://sqlite.org/fileformat.html#checksum_algorithm."""
    first, second = begun
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for left, right in zip(words, words, strict=True):
        first = (first + left + second) & 0xFFFFFFFF
        second = (second + right + first) & 0xFFFFFFFF
    return first, second


def in_use(file: int) -> bool:
    """Tell whether another process has the database open in WAL mode. This process must not have it open."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_SIZE, _SHARED_FIRST)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:  # opened for reading only, or a file system without locks: not known
        return False
    fcntl.lockf(file, fcntl.LOCK_UN, _SHARED_SIZE, _SHARED_FIRST)
    return False


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Yield a file of a database that this process has not open: closing it lets go of all locks on it.

    https://sqlite.org/howtocorrupt.html (2.2). Raises StoreUnavailable.
    """
    file = _open(path)
    try:
        yield file
    finally:
        os.close(file)


def _open(path: Path | str) -> int:
    try:
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except IsADirectoryError:
            raise
        except OSError:  # no right to write, or a file system that is for reading only
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StoreUnavailable(f"unable to open database file {path}: {error.strerror}") from error


def size_of(path: Path) -> int:
    """Return the size of a file in bytes, 0 if it is not there."""
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


class Files:
    """The three files of one database, as the connections of this process have them open.

    SQLite neither deletes nor replaces a file while a process has it open: if one is another than before, a person or
    a program did that, and what is written from then on may be lost.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identified = False
        self.saved = False
        self.told = False
        self.damage = ""
        self._mutex = threading.Lock()
        self._open = 0
        self._begin()

    def _begin(self) -> None:
        real = os.path.realpath(self.path)
        self._names = (real, f"{real}-wal", f"{real}-shm")
        self._seen: list[tuple[int, int] | None] = [None, None, None]
        self._file = -1
        self._stamp = (0, 0)
        self._header: Header | None = None
        self.identified = self.saved = self.told = False
        self.damage = ""

    def enter(self, admit: Callable[[Path], None]) -> None:
        """Count a connection that is about to open; the first one asks `admit`. Raises StoreError."""
        with self._mutex:
            if not self._open:
                self._begin()
                admit(self.path)
            elif why := self.changed():
                raise StoreChanged(why)
            self._open += 1

    def log(self) -> tuple[int, int] | None:
        """Return device and inode of the log, None if there is none."""
        with suppress(OSError):
            found = os.stat(self._names[1])  # noqa: PTH116
            return found.st_dev, found.st_ino
        return None

    def give_up_log(self, before: tuple[int, int] | None) -> bool:
        """Tell whether SQLite made the log anew because the one from `before` was deleted; then delete the empty one.

        The process that still has the deleted log open can save it only while none lies there.
        """
        if before is None or (now := self.log()) in (before, None):
            return False
        if not size_of(Path(self._names[1])) and self.log() == now:
            with suppress(OSError):
                os.unlink(self._names[1])  # noqa: PTH108
        return True

    def opened(self) -> None:
        """Remember which files a connection has just opened."""
        with self._mutex:
            if self._file < 0:
                self._file = _open(self._names[0])
        self.changed()

    def leave(self) -> None:
        """Count a connection that was closed."""
        with self._mutex:
            self._open -= 1
            if not self._open and self._file >= 0:
                os.close(self._file)
                self._file = -1

    def changed(self) -> str:
        """Return what is not as it was when it was opened, "" if nothing. Takes a few microseconds."""
        for number, name in enumerate(self._names):
            try:
                found = os.stat(name)  # noqa: PTH116 – before each transaction, and Path is much slower
            except OSError:
                now = None
            else:
                now = (found.st_dev, found.st_ino)
                if not number and (found.st_mtime_ns, found.st_size) != self._stamp and now == self._seen[0]:
                    if why := self._content():
                        return why
                    self._stamp = (found.st_mtime_ns, found.st_size)
            if now != self._seen[number]:
                if self._seen[number] is not None:
                    what = "moved, deleted or replaced" if not number else "replaced" if now else "deleted"
                    return f"{self._names[number]} was {what} while it was in use"
                self._seen[number] = now
        return ""

    def _content(self) -> str:
        """Return what is wrong with the header of the file that is open; a checkpoint may be writing it."""
        for pause in (0.001, 0.01, 0.0):
            now, before = header(os.pread(self._file, HEADER, 0)) if self._file >= 0 else None, self._header
            if before is None or (
                now is not None
                and now.generation >= before.generation
                and now.application | before.application == now.application
            ):
                self._header = now
                return ""
            time.sleep(pause)
        return f"the content of {self._names[0]} was replaced by something older while it was in use"

    @property
    def in_place(self) -> bool:
        """Tell whether the file at the path is the database that was opened, whatever is in it."""
        try:
            found = os.stat(self._names[0])  # noqa: PTH116
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._seen[0]

    def missing(self) -> list[str]:
        """Return which files were deleted, if that is all that is wrong: what they held can still be saved."""
        found = []
        for number, name in enumerate(self._names):
            try:
                now = os.stat(name)  # noqa: PTH116
            except FileNotFoundError:
                found.append(name)
            else:
                if (now.st_dev, now.st_ino) != self._seen[number]:
                    return []
        return [] if self._names[0] in found or self._content() else found
