"""What the checks are run against: a small flawed receiver, or this project. Real processes, one folder each."""

import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from tests.support.place import Place, descendants, free_port

RECEIVERS = Path(__file__).parent / "receivers"

SOURCE = """
[sources.acme]
provider = "hmac"
secrets = ["env:ACME_SECRET"]
header = "X-Acme-Signature"
signed = "{timestamp}.{body}"
timestamp_header = "X-Acme-Timestamp"
event_id = "json:/id"
event_type = "json:/type"
"""

HANDLER = """
from pathlib import Path

from inbox import Event, handles

from ._effects import work

@handles("acme")
def effect(event: Event) -> None:
    work(Path.cwd(), event.payload)
"""


class Target(ABC):
    """A receiver in a folder: where it is, what it did, and how to end it.

    patience      seconds after which what did not happen counts as lost
    calm          seconds after which work that a crash interrupted has been taken up again
    keeps_secret  the files that are allowed to hold the secret
    """

    patience = 1.5
    calm = 0.05
    keeps_secret: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = secrets.token_hex(16)
        self.port = free_port()
        self.path = "/in/acme"

    @abstractmethod
    def start(self) -> None:
        """Start every process and wait until it answers."""

    @abstractmethod
    def kill(self) -> None:
        """End every process with SIGKILL."""

    @abstractmethod
    def log_text(self) -> str:
        """Return what was logged so far."""

    @property
    @abstractmethod
    def running(self) -> bool:
        """Tell whether it was started and not killed since."""

    def effects(self, event_id: str) -> int:
        """Return how often the work for this event was done."""
        path = self.folder / "effects.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return sum(line.split()[0] == event_id for line in lines)

    def version(self, entity: str) -> int | None:
        """Return the version of the entity that the work left behind."""
        with closing(sqlite3.connect(self.folder / "state.db", timeout=10)) as database:
            row = database.execute("SELECT version FROM state WHERE entity = ?", (entity,)).fetchone()
        return None if row is None else int(row[0])

    def hold(self, when: str) -> None:
        """Let the work stop "before" or "after" its effect from now on."""
        (self.folder / f"hold-{when}").touch()

    def release(self) -> None:
        """Let the work go on."""
        for path in (self.folder / "hold-before", self.folder / "hold-after", self.folder / "held"):
            path.unlink(missing_ok=True)

    @property
    def held(self) -> bool:
        """Tell whether the work has reached the point where it stops."""
        return (self.folder / "held").exists()


class Small(Target):
    """One of the receivers beside this file: a process of the standard library."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder)
        self._script = RECEIVERS / f"{name}.py"
        self._log = folder / "receiver.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; without `site`, because it needs nothing that is installed."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-S", str(self._script), str(self.folder), str(self.port)],
                env={"ACME_SECRET": self.secret},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        if not until(lambda: listens(self.port), 10):
            raise RuntimeError(f"{self._script.stem} does not answer: {self.log_text()}")

    def kill(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def log_text(self) -> str:
        """Return what it wrote to standard error."""
        return self._log.read_text()

    @property
    def running(self) -> bool:
        """Tell whether it was started and not killed since."""
        return self._process is not None


class ThisProject(Target):
    """A folder made by `inbox init`, an `hmac` source, one handler file, `inbox run`."""

    patience = 20.0
    calm = 3.0
    keeps_secret = (".env",)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._place = Place(folder)
        self._place.port = self.port
        self._place.configure(sources=SOURCE, worker="lease = 1.0\nmax_crashes = 20")
        self._place.only_handler("acme", HANDLER)
        (folder / "handlers" / "_effects.py").write_bytes((RECEIVERS / "_effects.py").read_bytes())
        with (folder / ".env").open("a") as file:
            file.write(f"ACME_SECRET={self.secret}\n")
        self._running = False

    def start(self) -> None:
        """Start receiver and worker."""
        self._running = True
        self._place.start()

    def kill(self) -> None:
        """End the supervisor first, so that it restarts nobody, then everything below it."""
        if not self._running:
            return
        below = descendants(self._place.pid)
        self._place.stop(signal.SIGKILL)
        for pid in below:
            kill(pid)
        self._running = False
        if not until(lambda: not listens(self.port) and not any(alive(pid) for pid in below), 10):
            raise RuntimeError("a process survived SIGKILL")

    def log_text(self) -> str:
        """Return what all its processes wrote to standard error."""
        return self._place.log_text()

    @property
    def running(self) -> bool:
        """Tell whether it was started and not killed since."""
        return self._running


def kill(pid: int) -> None:
    """End a process, which may be gone already."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def listens(port: int) -> bool:
    """Tell whether somebody takes connections there; the kernel closes a killed process's socket a little later."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie that nobody waits for does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(look: Callable[[], object], seconds: float) -> bool:
    """Wait until `look` gives something true; return whether it did in time."""
    end = time.monotonic() + seconds
    while not look():
        if time.monotonic() >= end:
            return False
        time.sleep(0.005)
    return True
