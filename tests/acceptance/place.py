"""A folder in which a real inbox runs: real processes, real HTTP, real files."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inbox.store.sqlite import open_archive

PATIENCE = 30.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def eventually(look: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Return the first true value of `look`; fail if there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"this did not happen in {seconds:g} s: {what}")


class Place:
    """An inbox made by `inbox init`, with settings changed as a test needs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "run.log"
        self.prefix: list[str] = []
        self.files: tuple[int, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("INBOX_")}
        self.inbox("init")

    def configure(self, server: str = "", worker: str = "", sources: str | None = None) -> None:
        """Set the port and more settings; `sources` replaces those that `inbox init` wrote."""
        path = self.folder / "inbox.toml"
        text = path.read_text()
        if sources is not None:
            text = "[inbox]\n[server]\n[worker]\n" + sources
        text = text.replace("[server]\n", f"[server]\nport = {self.port}\n{server}\n")
        path.write_text(text.replace("[worker]\n", f"[worker]\n{worker}\n"))

    def handler(self, name: str, code: str) -> None:
        """Write a handler file."""
        (self.folder / "handlers" / f"{name}.py").write_text(code)

    def only_handler(self, name: str, code: str) -> None:
        """Write a handler file and remove the shipped ones."""
        for path in (self.folder / "handlers").glob("*.py"):
            path.unlink()
        self.handler(name, code)

    def inbox(self, *arguments: str, ok: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of ours here."""
        done = subprocess.run(
            [sys.executable, "-m", "inbox", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            **options,
        )
        assert done.returncode == 0 or not ok, f"inbox {arguments}: {done.stdout}{done.stderr}{self.log_text()}"
        return done

    def json(self, *arguments: str) -> Any:
        """Run a command with --json and return what it prints."""
        return json.loads(self.inbox(*arguments, "--json").stdout)

    def send(self, source: str, *arguments: str, ok: bool = True) -> list[dict[str, Any]]:
        """Send signed requests and return the answers."""
        found: list[dict[str, Any]] = json.loads(self.inbox("send", source, *arguments, "--json", ok=ok).stdout)
        return found

    def start(self, *command: str) -> None:
        """Start `inbox run` (or another command) and wait until it answers; `prefix` stands in front of it.

        It inherits `files`.
        """
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "inbox", *(command or ("run",))],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=self.files,
            )
        if command != ("worker",):
            eventually(self.answers, f"the receiver answers; {self.log}")

    def answers(self) -> bool:
        """Tell whether the receiver takes connections."""
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"it ended with {self._process.returncode}: {self.log_text()}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Stop what was started and return its exit code."""
        assert self._process is not None
        self._process.send_signal(signum)
        code = self._process.wait(PATIENCE + 10)
        self._process = None
        return code

    def close(self) -> None:
        """End what is still running."""
        if self._process is not None:
            self.stop()

    @property
    def pid(self) -> int:
        """Return the process id of what was started."""
        assert self._process is not None
        return self._process.pid

    def children(self, name: str) -> list[int]:
        """Return the process ids of the receiver or the worker as the supervisor's log names them, newest last."""
        lines = [line for line in self.log_text().splitlines() if "event=child.started" in line and name in line]
        return [int(line.rpartition("pid=")[2]) for line in lines]

    def log_text(self) -> str:
        """Return what was logged so far."""
        return self.log.read_text() if self.log.exists() else ""

    def event(self, event_id: int) -> dict[str, Any]:
        """Return everything about an event."""
        archive = open_archive(self.folder / "inbox.db")
        try:
            return archive.event(event_id)
        finally:
            archive.close()

    def until_status(self, event_id: int, status: str) -> dict[str, Any]:
        """Wait until an event has a status, and return it."""
        return dict(
            eventually(
                lambda: (event := self.event(event_id))["status"] == status and event,
                f"event {event_id} is {status}; {self.event(event_id)}",
            )
        )


def descendants(pid: int) -> list[int]:
    """Return the ids of the processes below a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            child = int(path.parent.name)
            found += [child, *descendants(child)]
    return found
