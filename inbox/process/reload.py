"""What is configured now → the processes that run: checked first, in a process of its own, and only then taken over.

What is checked is what is taken over: a snapshot of the files. Children start from the last one that was right, however
the files on disk are by then. `inbox reload` finds the supervisor through a file beside the database, which also says
what became of the last reload.
"""

import fcntl
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO

import structlog

from inbox.core.config.snapshot import Shared, Snapshot, when
from inbox.core.errors import InboxError, NotFound
from inbox.core.run_status import RunStatus, notice

log = structlog.get_logger("inbox.process.reload")

CHECK = 60.0
"""Seconds that the check may take."""


Taken = tuple[Snapshot, str]
"""What is on disk, and what of it only a restart can change; "" if nothing is."""


class Reloader:
    """The supervisor's part.

    path    of the file that tells who runs; it is locked meanwhile, so that no process is asked that is gone
    check   a command that says on stderr what is wrong with the snapshot that it inherits
    take    reads what is on disk. Raises InboxError
    shared  where children find the snapshot to start from; `running` is what it has
    """

    def __init__(
        self, path: Path, check: Sequence[str], take: Callable[[], Taken], shared: Shared, running: Snapshot
    ) -> None:
        self._path = path
        self._check = check
        self._take = take
        self._shared = shared
        self._running = running
        self._file = -1
        self._ended = 0
        self._asked = False
        self._suspected = False
        self._taking_over = False
        self._candidate: Snapshot = running
        self._fixed = ""
        self._problem = ""
        self._stale = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._until = 0.0

    def ask(self) -> None:
        """Have the next `look` begin; the signal's handler calls this."""
        self._asked = True

    def suspect(self) -> None:
        """Have it said what is wrong with the files on disk: a child died, and is started without them."""
        self._suspected = True

    def look(self, take_over: Callable[[], None]) -> None:
        """Begin a check, or see what it found; call `take_over` if that is nothing."""
        if self._file < 0:
            self._open()
        if self._process is None and (self._asked or self._suspected):
            self._taking_over, self._asked, self._suspected = self._asked, False, False
            self._begin(take_over)
        elif self._process is not None:
            if time.monotonic() > self._until:
                self._process.kill()
            if self._process.poll() is not None:
                self._end(self._found(), take_over)

    def close(self) -> None:
        """End a check that still runs, and be no more to be asked."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._said is not None:
            self._said.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _begin(self, take_over: Callable[[], None]) -> None:
        self._fixed = ""
        try:
            self._candidate, self._fixed = self._take()
        except InboxError as error:
            return self._end(str(error), take_over)
        if not self._taking_over and self._candidate.digest == self._running.digest:
            return self._tell(False, "")
        self._until = time.monotonic() + CHECK
        try:
            self._said = tempfile.TemporaryFile()  # noqa: SIM115 – read when the process has ended
            with closing(Shared(self._candidate)) as shared:
                self._process = subprocess.Popen(
                    self._check,
                    stdout=subprocess.DEVNULL,
                    stderr=self._said,
                    env={**os.environ, **shared.environment},
                    pass_fds=[shared.number],
                )
        except OSError as error:
            self._end(f"it could not be checked: {error}", take_over)

    def _found(self) -> str:
        assert self._process is not None
        assert self._said is not None
        code, self._process = self._process.returncode, None
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").splitlines()
        if code == 0:
            return ""
        said = [line.removeprefix("inbox: ") for line in lines if line.startswith("inbox: ")]
        return "; ".join(said) or f"the check ended with {code}: {lines[-1:]}"

    def _end(self, stale: str, take_over: Callable[[], None]) -> None:
        if self._said is not None:
            self._said.close()
            self._said = None
        if not self._taking_over:
            return self._tell(True, stale)
        self._problem, self._stale = stale or self._fixed, stale
        if self._problem:
            log.error("not_reloaded", error=self._problem, then=self._then)
        else:
            log.info("reloading")
            self._running = self._candidate
            self._shared.put(self._running)
            take_over()
        self._ended += 1
        self._write()

    @property
    def _then(self) -> str:
        return f"what was read at {when(self._running.at)} stays in use; processes that die start from it again"

    def _tell(self, differ: bool, stale: str) -> None:
        """Say how the files on disk are, from which a child that died does not start."""
        self._stale = stale
        if stale:
            log.error("files.would_not_start", error=stale, then=self._then)
        elif differ:
            log.warning("files.not_loaded", why="they have changed; `inbox reload` takes them over", then=self._then)
        self._write()

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
        self._write()

    def _write(self) -> None:
        if self._file >= 0:
            running = self._running
            told = RunStatus(os.getpid(), self._ended, self._problem, self._stale, running.at, running.digest)
            text = json.dumps(told).encode()
            os.pwrite(self._file, text, 0)
            os.ftruncate(self._file, len(text))


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
