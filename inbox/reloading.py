"""What is configured now → the processes that run: checked first, in a process of its own, and only then taken over.

`inbox reload` finds the supervisor through a file beside the database, which also says what became of the last reload.
"""

import fcntl
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import structlog

from inbox.errors import InboxError, NotFound

log = structlog.get_logger("inbox.reloading")

CHECK = 60.0
"""Seconds that the check may take."""


class Notice(NamedTuple):
    """Whom to ask, how many reloads ended so far, and what was wrong with the last."""

    pid: int
    ended: int
    problem: str


class Reloading:
    """The supervisor's part. `check` is a command that says on stderr what is wrong; so does `fixed`, or returns "".

    The file at `path` is locked while the supervisor runs, so that nobody asks a process that is gone.
    """

    def __init__(self, path: Path, check: Sequence[str], fixed: Callable[[], str]) -> None:
        self._path = path
        self._check = check
        self._fixed = fixed
        self._file = -1
        self._ended = 0
        self._asked = False
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._until = 0.0

    def ask(self) -> None:
        """Have the next `look` begin; the signal's handler calls this."""
        self._asked = True

    def look(self, take_over: Callable[[], None]) -> None:
        """Begin a check, or see what it found; call `take_over` if that is nothing."""
        if self._file < 0:
            self._open()
        if self._process is None and self._asked:
            self._asked = False
            self._begin()
        elif self._process is not None:
            if time.monotonic() > self._until:
                self._process.kill()
            if self._process.poll() is not None:
                self._end(self._found(), take_over)

    def close(self) -> None:
        """End a check that still runs, and be nobody to ask."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._said is not None:
            self._said.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _begin(self) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 – read when the process has ended
        self._until = time.monotonic() + CHECK
        try:
            self._process = subprocess.Popen(self._check, stdout=subprocess.DEVNULL, stderr=self._said)
        except OSError as error:
            self._end(f"it could not be checked: {error}", lambda: None)

    def _found(self) -> str:
        assert self._process is not None
        assert self._said is not None
        code, self._process = self._process.returncode, None
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").splitlines()
        if code == 0:
            return self._fixed()
        said = [line.removeprefix("inbox: ") for line in lines if line.startswith("inbox: ")]
        return "; ".join(said) or f"the check ended with {code}: {lines[-1:]}"

    def _end(self, problem: str, take_over: Callable[[], None]) -> None:
        if problem:
            log.error("not_reloaded", error=problem, then="what was read before stays in use")
        else:
            log.info("reloading")
            take_over()
        if self._said is not None:
            self._said.close()
        self._ended += 1
        self._write(problem)

    def _open(self) -> None:
        """Lock the file, unless another supervisor is still about to end."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:  # SIGHUP works without it
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return
        self._file = file
        self._write("")

    def _write(self, problem: str) -> None:
        if self._file >= 0:
            text = json.dumps(Notice(os.getpid(), self._ended, problem)).encode()
            os.pwrite(self._file, text, 0)
            os.ftruncate(self._file, len(text))


def place(database: Path) -> Path:
    """Return where the file of a database's supervisor is."""
    return database.with_name(f".{database.name}-supervisor")


def notice(path: Path) -> Notice | None:
    """Return what the file says, None if nobody runs."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return Notice(*json.loads(file.read()))
    except (OSError, ValueError):
        return None
    return None


def reload(path: Path, seconds: float = CHECK + 10) -> str:
    """Ask the supervisor to reload, and return what is wrong with what is configured, "" if nothing is.

    Raises NotFound if none runs, InboxError if it does not answer.
    """
    before = notice(path)
    if before is None:
        raise NotFound("no `inbox run` works on this database; `inbox check` tells whether one could")
    os.kill(before.pid, signal.SIGHUP)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now = notice(path)
        if now is not None and now.ended > before.ended:
            return now.problem
        time.sleep(0.05)
    raise InboxError(f"process {before.pid} does not say what became of it; its log may")
