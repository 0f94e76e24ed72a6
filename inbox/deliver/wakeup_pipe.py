"""A bell between processes: who has put something into the queue rings, who waits for it wakes at once.

A named pipe beside the queue's file. Ringing never waits and never fails: if nobody listens, or the pipe is gone, the
listener looks a little later by itself.
"""

import os
import select
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from inbox.core.process_integrity import descriptors_change


class WakeupPipe:
    """The named pipe at `path`; it is made by whoever listens first, and made again if it was deleted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def ring(self) -> None:
        """Wake one who listens, or more."""
        with suppress(OSError):
            file = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if stat.S_ISFIFO(os.fstat(file).st_mode):
                    os.write(file, b"!")
            finally:
                os.close(file)

    def wait(self, seconds: float, others: Sequence[int] = ()) -> bool:
        """Return when the bell rings, or has rung since the last time, and after so many seconds at the latest.

        Also when one of the other files can be read or is closed. If several wait, one of them wakes, or more. The
        result tells whether it rang.
        """
        try:
            file = self._listen()
        except OSError:
            _readable(others, seconds)
            return False
        if file not in _readable([file, *others], seconds):
            return False
        with suppress(BlockingIOError):  # another listener was quicker
            os.read(file, 4096)
        return True

    def problem(self) -> str:
        """Return why nobody can ring here, "" if the pipe is fine or can be made."""
        try:
            mode = self._path.stat().st_mode
        except OSError:
            return ""
        if not stat.S_ISFIFO(mode):
            return f"{self._path} is no named pipe"
        return "" if os.access(self._path, os.R_OK | os.W_OK) else f"{self._path} cannot be used by this user"

    def close(self) -> None:
        """Stop listening."""
        descriptors_change()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _listen(self) -> int:
        """Return the open pipe, which is one that also this process could write to, so that it never ends."""
        if self._file is not None and not self._in_place(self._file):
            self.close()
        if self._file is None:
            with suppress(FileExistsError):
                os.mkfifo(self._path, 0o600)
            file = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            if not stat.S_ISFIFO(os.fstat(file).st_mode):
                os.close(file)
                raise FileExistsError(f"{self._path} is no pipe")
            self._file = file
            descriptors_change()
        return self._file

    def _in_place(self, file: int) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(file))


def _readable(files: Sequence[int], seconds: float) -> set[int]:
    """Return which files can be read or are closed, after so many seconds at the latest; any number of file is allowed.

    `select` takes no number above 1023.
    """
    poller = select.poll()
    for file in files:
        poller.register(file, select.POLLIN)
    return {file for file, _ in poller.poll(seconds * 1000)}
