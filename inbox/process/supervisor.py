"""Receiver and worker as children of one process: starts both, restarts one that dies, renews and stops both.

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

from inbox.process.health_probe import HealthProbe
from inbox.process.reload import Reloader

log = structlog.get_logger("inbox.process.supervisor")

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
    """A process that is to run: its name in the log, its command line, and open files that it inherits.

    `renewal` is the signal for taking over what is configured now; SIGTERM has it end, and start anew. `watchdog` tells
    when it is to be replaced because it does not answer.
    """

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[int] = ()
    renewal: int = signal.SIGTERM
    kill_at: float | None = None
    deaths: int = 0
    watchdog: HealthProbe | None = None

    def start(self) -> None:
        """Start the process."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            env={**os.environ, **self.environment, PARENT: str(os.getpid())},
            start_new_session=True,
            pass_fds=self.files,
        )
        if self.watchdog is not None:
            self.watchdog.begin(self.started)
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
            if self.kill_at is not None and now > self.kill_at:
                self._kill(self.process, "it did not end in time")
            elif self.watchdog is not None and (why := self.watchdog.look(now)):
                self._kill(self.process, why)
            return
        renewed, self.process, self.kill_at = self.kill_at is not None, None, None
        if code in ENDED or renewed:
            self.pause, pause = FIRST_PAUSE, 0.0 if renewed else FIRST_PAUSE
            self.due = now + pause
            log.info("child.ended", child=self.name, code=code, restart_in=pause)
            return
        self.deaths += 1
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

    def renew(self, seconds: float) -> None:
        """Have the process take over what is configured now; one that ends for that has so many seconds."""
        self.due = 0.0
        if self.process is not None:
            self.process.send_signal(self.renewal)
            if self.renewal == signal.SIGTERM:
                self.kill_at = time.monotonic() + seconds

    def _kill(self, process: subprocess.Popen[bytes], why: str) -> None:
        log.error("child.killed", child=self.name, child_pid=process.pid, why=why)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self, seconds: float) -> None:
        """Ask the process to end, and kill it and its own children after so many seconds."""
        if self.watchdog is not None:
            self.watchdog.close()
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._kill(self.process, "it did not end in time")
        self.process = None


def supervise(
    children: Sequence[Child],
    *,
    shutdown_timeout: float,
    interval: float = 0.2,
    reloading: Reloader | None = None,
) -> None:
    """Keep the children running until SIGTERM or SIGINT, then stop them in their order; renew them on SIGHUP."""
    stopping = threading.Event()

    def stop(signum: int, frame: FrameType | None) -> None:
        stopping.set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)
    if reloading is not None:
        signal.signal(signal.SIGHUP, lambda signum, frame: reloading.ask())

    def renew() -> None:
        for child in children:
            child.renew(shutdown_timeout)

    deaths = 0
    try:
        while not stopping.wait(interval):
            for child in children:
                child.look()
            if reloading is not None:
                if deaths != (deaths := sum(child.deaths for child in children)):
                    reloading.suspect()
                reloading.look(renew)
    finally:
        if reloading is not None:
            reloading.close()
        log.info("stopping")
        for child in children:
            child.stop(shutdown_timeout)


def command(*arguments: str) -> list[str]:
    """Return the command line of one of our own commands under this Python."""
    return [sys.executable, "-m", "inbox", *arguments]
