"""Receiver and worker as children of one process: starts both, restarts one that dies, stops both.

Knows nothing of what they do. A child that dies again and again is restarted more and more slowly; one that was asked
to end, by SIGTERM, has not died.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

import structlog

log = structlog.get_logger("inbox.supervisor")

PARENT = "INBOX_SUPERVISOR_PID"
"""Environment variable that tells a child whose child it is, so that it ends when its supervisor is killed."""

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
STEADY = 10.0
"""Seconds after which a child counts as having started well."""

ENDED = (0, -signal.SIGTERM)
"""Exit codes of a child that somebody asked to end: also when it could not listen to that yet."""


@dataclass
class Child:
    """A process that is to run: its name in the log, its command line, and open files that it inherits."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[int] = ()

    def start(self) -> None:
        """Start the process."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            env={**os.environ, **self.environment, PARENT: str(os.getpid())},
            start_new_session=True,
            pass_fds=self.files,
        )
        log.info("child.started", child=self.name, child_pid=self.process.pid)

    def look(self) -> None:
        """Start the process if it is due; notice that it ended."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.due:
                self._try_to_start(now)
            return
        code = self.process.poll()
        if code is None:
            return
        self.process = None
        if code in ENDED:
            self.pause, self.due = FIRST_PAUSE, now + FIRST_PAUSE
            log.info("child.ended", child=self.name, code=code, restart_in=FIRST_PAUSE)
            return
        self._put_off(now)
        log.error("child.died", child=self.name, code=code, restart_in=round(self.pause, 1))

    def _try_to_start(self, now: float) -> None:
        try:
            self.start()
        except OSError as error:
            self._put_off(now)
            log.error("child.not_started", child=self.name, error=str(error), restart_in=round(self.pause, 1))

    def _put_off(self, now: float) -> None:
        self.pause = FIRST_PAUSE if now - self.started > STEADY else min(self.pause * 2, LONGEST_PAUSE)
        self.due = now + self.pause

    def stop(self, seconds: float) -> None:
        """Ask the process to end, and kill it and its own children after so many seconds."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            log.warning("child.killed", child=self.name, why=f"it did not end in {seconds:g} s")
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None


def supervise(children: Sequence[Child], *, shutdown_timeout: float, interval: float = 0.2) -> None:
    """Keep the children running until SIGTERM or SIGINT, then stop them in their order."""
    stopping = threading.Event()

    def stop(signum: int, frame: FrameType | None) -> None:
        stopping.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)
    try:
        while not stopping.wait(interval):
            for child in children:
                child.look()
    finally:
        log.info("stopping")
        for child in children:
            child.stop(shutdown_timeout)


def command(*arguments: str) -> list[str]:
    """Return the command line of one of our own commands under this Python."""
    return [sys.executable, "-m", "inbox", *arguments]
