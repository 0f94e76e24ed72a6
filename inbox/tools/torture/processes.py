"""`inbox run` as a child in a session of its own, and every process that comes of it, found by a mark they inherit.

Only processes that carry the mark are ever signalled, so nobody else's can be.
"""

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from inbox.core.errors import InboxError
from inbox.process.supervisor import command

MARK = "INBOX_TORTURE"
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """A process of ours.

    role  supervisor, receiver, worker, or "child" after one of these
    """

    pid: int
    parent: int
    role: str


class RunningInbox:
    """Keeps `inbox run` running in a folder, as the owner's init system would, and knows all its processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mark = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def start(self) -> None:
        """Start it, or start it again if it ended."""
        if self.runs:
            return
        kept = {name: value for name, value in os.environ.items() if not name.startswith("INBOX_")}
        with (self._folder / "run.log").open("ab") as log:
            self._process = subprocess.Popen(
                command("run"),
                cwd=self._folder,
                env={**kept, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1

    @property
    def runs(self) -> bool:
        """Tell whether `inbox run` itself runs."""
        return self._process is not None and self._process.poll() is None

    def family(self) -> list[Process]:
        """Return every process of it that runs now."""
        return family(self._mark)

    def stop(self, seconds: float) -> list[Process]:
        """Ask it to end, and return which processes are still there after so many seconds."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        end = time.monotonic() + 5.0
        while (left := self.family()) and time.monotonic() < end:
            time.sleep(0.1)
        return left

    def kill(self) -> None:
        """End every process that is left, by force."""
        for _ in range(100):
            family = self.family()
            for process in family:
                send(process.pid, signal.SIGKILL)
            if self._process is not None and self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            if not family:
                return
            time.sleep(0.05)

    def check_sight(self) -> None:
        """Raise InboxError unless the process that was started can be seen: what is not seen cannot be killed."""
        if self._process is not None and self._process.pid not in {process.pid for process in self.family()}:
            raise InboxError("this system does not show a process's environment, so its processes cannot be found")


def family(mark: str) -> list[Process]:
    """Return every process with this mark that runs now, in the order of their ids; a zombie does not run."""
    found = {pid: (parent, line) for pid, parent, line in _marked(f"{MARK}={mark}")}
    return [Process(pid, found[pid][0], _role(pid, found)) for pid in sorted(found)]


def send(pid: int, signum: int) -> bool:
    """Send a signal and tell whether there was somebody to take it."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return False
    return True


def _role(pid: int, found: dict[int, tuple[int, str]]) -> str:
    """Return what a process is by its command line; a child of a receiver or worker has its parent's."""
    parent, line = found[pid]
    for word, role in (("serve", "receiver"), ("worker", "worker"), ("run", "supervisor")):
        if f"-m inbox {word}" in line:
            beside = found.get(parent)
            return f"{role} child" if beside is not None and f"-m inbox {word}" in beside[1] else role
    return f"{_role(parent, found).removesuffix(' child')} child" if parent in found else "orphan"


def _marked(mark: str) -> Iterator[tuple[int, int, str]]:
    """Yield (process id, parent's id, command line) of every process whose environment has the mark."""
    return _from_proc(mark.encode()) if (_PROC / "self" / "environ").exists() else _from_ps(mark)


def _from_proc(mark: bytes) -> Iterator[tuple[int, int, str]]:
    for folder in _PROC.glob("[0-9]*"):
        try:
            if mark not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if state not in "ZX":
            yield int(folder.name), int(parent), line


def _from_ps(mark: str) -> Iterator[tuple[int, int, str]]:
    listed = subprocess.run(["ps", "-A", "-E", "-ww", "-o", "pid=,ppid=,command="], capture_output=True, text=True)
    for line in listed.stdout.splitlines():
        if mark in line.split():
            pid, parent, text = line.split(maxsplit=2)
            yield int(pid), int(parent), text


def has_open(pid: int, path: Path) -> bool:
    """Tell whether a process has a file open."""
    try:
        return any(file.readlink() == path for file in (_PROC / str(pid) / "fd").iterdir())
    except OSError:
        return False
