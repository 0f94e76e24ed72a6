"""Standard output and standard error of a process that runs for long, which never waits for the reader of the two.

A thread writes. It alone waits while a pipe is full; what does not fit into its queue meanwhile is counted and dropped.
An error of the file (a full disk, a closed pipe) costs the lines that were to be written, and nothing else.
"""

import io
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from fcntl import F_DUPFD_CLOEXEC, fcntl
from multiprocessing.util import Finalize
from typing import Any, Protocol, TextIO

PAUSE = 0.02
"""Seconds that lines are collected before they are written together."""

LIMIT = 10_000
"""Items that wait to be written; an item is one event, or at most PIECE bytes of text."""

PIECE = select.PIPE_BUF
"""Bytes that are written at once unless one line has more: a pipe takes so many as a whole or not at all."""

LAST = 2.0
"""Seconds that the end of a process waits for the reader."""

STUCK = 1.0
"""Seconds without a successful write after which text of a handler is dropped at once, too."""

FILES = range(3)
"""Standard input, output and error."""

OWN = (200, 20)
"""Lowest numbers that are tried for the files of this module."""


class File(Protocol):
    """What lines are written to."""

    def write(self, content: bytes, /) -> object:
        """Write all of the content. Raises OSError."""


def _copied(number: int) -> int:
    """Return a copy of an open file's number, out of the way of code that closes descriptors where there is room."""
    for lowest in OWN:
        with suppress(OSError):
            return fcntl(number, F_DUPFD_CLOEXEC, lowest)
    return fcntl(number, F_DUPFD_CLOEXEC, len(FILES))


class Descriptor:
    """A copy of an open file's number: it stays open when a handler closes the original."""

    def __init__(self, number: int) -> None:
        self.number = _copied(number)

    def write(self, content: bytes) -> None:
        """Write all of the content, however long the reader takes. Raises OSError."""
        view = memoryview(content)
        while view:
            try:
                view = view[os.write(self.number, view) :]
            except BlockingIOError:  # another process made the shared file non-blocking
                select.select([], [self.number], [], LAST)


class LineWriter:
    """A file that lines are written to later, together and in their order; at the end of the process at the latest.

    `line` makes bytes of an item, in the thread that writes; `dropped` makes the item that tells how many were lost.
    """

    def __init__(self, file: File, line: Callable[[Any], bytes], dropped: Callable[[int], Any]) -> None:
        self.line = line
        self._file = file
        self._tell = dropped
        self._begin()
        os.register_at_fork(after_in_child=self._begin)  # the parent writes what was collected before
        self._last = Finalize(None, self.end, exitpriority=1)  # atexit would not do it in a child of multiprocessing

    def _begin(self) -> None:
        self._lines: list[Any] = []
        self._lost = 0
        self._writing = False
        self._progress = time.monotonic()
        self._until = 0.0
        self._come, self._hurry = threading.Event(), threading.Event()
        self._mutex = threading.RLock()  # a signal's handler may write, too
        self._thread: threading.Thread | None = None

    def write(self, item: Any) -> None:
        """Take an item, or count it as dropped if too many wait; never wait."""
        if len(self._lines) >= LIMIT:
            return self._lose(1)
        self._lines.append(item)
        if not self._come.is_set():
            self._come.set()
            if self._thread is None:
                self._start()

    def write_text(self, content: bytes) -> None:
        """Take text that a program printed; wait for room while the reader reads."""
        for begin in range(0, len(content), PIECE):
            while len(self._lines) >= LIMIT and not self.stuck:
                time.sleep(PAUSE / 4)
            self.write(content[begin : begin + PIECE])

    @property
    def stuck(self) -> bool:
        """Tell whether the reader has taken nothing for a while."""
        return time.monotonic() - self._progress > STUCK

    def flush(self) -> None:
        """Do nothing before the end: that is the point."""
        if self._until:
            self.end()

    def end(self) -> None:
        """Write at once what has been collected, and wait for that, for LAST seconds in all."""
        self._until = self._until or time.monotonic() + LAST
        self._hurry.set()
        while (self._lines or self._writing) and time.monotonic() < self._until and self._thread is not None:
            time.sleep(PAUSE / 20)

    def close(self) -> None:
        """Write what has been collected, and do nothing at the end of the process; the file is the caller's again."""
        self.end()
        self._last.cancel()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        with suppress(RuntimeError):  # the interpreter ends
            thread.start()
            self._thread = thread

    def _lose(self, number: int) -> None:
        with self._mutex:
            self._lost += number

    def _run(self) -> None:
        while True:
            self._come.wait()
            self._progress = time.monotonic()
            self._hurry.wait(PAUSE)
            self._come.clear()
            self._writing = True
            self._write_collected()
            self._writing = False

    def _write_collected(self) -> None:
        lines = self._lines[:]
        del self._lines[: len(lines)]  # others append to the same list meanwhile
        with self._mutex:
            lost, self._lost = self._lost, 0
        for number, piece in pieces(map(self.line, lines)):
            if not self._wrote(piece):
                lost += number
        if lost and not self._wrote(self.line(self._tell(lost))):
            self._lose(lost)

    def _wrote(self, content: bytes) -> bool:
        try:
            self._file.write(content)
        except OSError:
            return False
        self._progress = time.monotonic()
        return True


def pieces(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield lines put together, and how many: none is ever divided, so that writers of one pipe mix whole lines."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        if held and size + len(line) > PIECE:
            yield len(held), b"".join(held)
            held, size = [], 0
        held.append(line)
        size += len(line)
    if held:
        yield len(held), b"".join(held)


class _Raw(io.RawIOBase):
    """The file under a text stream: hands everything to a LineWriter."""

    def __init__(self, number: int, writer: LineWriter) -> None:
        self._number = number
        self._writer = writer

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, content: Any, /) -> int:
        self._writer.write_text(bytes(content))
        return len(content)

    def flush(self) -> None:
        self._writer.flush()


_replaced: dict[str, LineWriter] = {}
_own: set[int] = set()


def own() -> frozenset[int]:
    """Return the numbers of the files that this module writes to, which what a process forks needs as well."""
    return frozenset(_own)


def end() -> None:
    """Write what has been collected, before a process ends without more ado."""
    for writer in _replaced.values():
        writer.end()


def replace(line: Callable[[Any], bytes], dropped: Callable[[int], Any]) -> LineWriter:
    """Have whatever this process prints go through LineWriters, and return the one of standard error.

    So do tracebacks, warnings and what handlers print. Bytes are taken by `line` as they are.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        if name in _replaced:
            _replaced[name].line = line
            continue
        before: TextIO = getattr(sys, name)
        before.flush()
        file = Descriptor(number)
        _own.add(file.number)
        writer = _replaced[name] = LineWriter(file, line, dropped)
        text = io.TextIOWrapper(
            _Raw(number, writer),  # type: ignore[type-var]
            encoding=before.encoding,
            errors="backslashreplace",
            line_buffering=True,
        )
        setattr(sys, name, text)
        Finalize(None, text.flush, exitpriority=2)  # a line that has no end yet
    return _replaced["stderr"]


def stand_in() -> None:
    """Open what is closed of standard input, output and error, so that no other file ever gets their numbers."""
    for number in FILES:
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.fdopen(number, "w" if number else "r", closefd=False)
            setattr(sys, name, opened)
            setattr(sys, f"__{name}__", opened)


class Tolerant:
    """A text file whose errors are no reason for a command to fail."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Write the text if that can be done."""
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        """Write out what is buffered if that can be done."""
        with suppress(OSError):
            self._file.flush()


_dump = 2


def dump_file() -> int:
    """Return the number of the file that the watchdog writes tracebacks to."""
    return _dump


def take_dumps(tell: Callable[[str], object]) -> None:
    """Have the watchdogs of this process's children write to a pipe that never blocks, and `tell` what comes of it.

    The watchdog is a thread in C that ends its process after it wrote: it must not wait for a reader of the log.
    """
    global _dump
    reading, writing = os.pipe()
    _dump = _copied(writing)
    os.close(writing)
    os.set_blocking(_dump, False)
    _own.add(_dump)

    def read() -> None:
        while True:
            found = os.read(reading, 65_536)
            while select.select([reading], [], [], 0.2)[0]:
                found += os.read(reading, 65_536)
            tell(found.decode("utf-8", "replace"))

    threading.Thread(target=read, name="dumps", daemon=True).start()
