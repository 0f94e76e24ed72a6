"""A folder in which a real inbox runs: real processes, real HTTP, real files."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from inbox.cli.send import post, signed
from inbox.cli.setup import init
from inbox.core.config.settings import FILE, Settings, load
from inbox.store.sqlite import open_archive
from inbox.tools.torture.evidence import at_work
from inbox.tools.torture.processes import MARK, Process, family
from inbox.verify.providers import build
from tests.support.witness import NOTED, Witness, key_of, wanted

PATIENCE = 30.0
SETTLE = 90.0
"""Seconds; a sweep comes every minute."""


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
    """An inbox made by `inbox init`, with settings changed as a test needs them.

    What is sent with `send` and done with `kill` is written down; `prove` has the checker of `inbox torture` find
    everything in it. For that, handlers have to be `@noted`: `only_handler` lays this decorator beside them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "run.log"
        self.prefix: list[str] = []
        self.files: tuple[int, ...] = ()
        self.witness = Witness(folder)
        self._mark = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        self._command: tuple[str, ...] = ()
        self._handlers: dict[str, frozenset[str]] = {}
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("INBOX_")}
        self.environment[MARK] = self._mark
        umask = os.umask(0o022)
        init.main([str(folder)], standalone_mode=False)
        os.umask(umask)

    @property
    def settings(self) -> Settings:
        """Return the settings as the processes read them."""
        return load(self.folder / FILE, self.environment)

    def configure(self, server: str = "", worker: str = "", sources: str | None = None) -> None:
        """Set the port and more settings; `sources` replaces those that `inbox init` wrote."""
        path = self.folder / "inbox.toml"
        text = path.read_text()
        if sources is not None:
            text = "[inbox]\n[server]\n[worker]\n" + sources
        text = text.replace("[server]\n", f"[server]\nport = {self.port}\n{server}\n")
        path.write_text(text.replace("[worker]\n", f"[worker]\n{worker}\n"))

    def seal(self, key: str = "") -> None:
        """Set a key with which what is stored is sealed."""
        (self.folder / "seal").write_text(key or secrets.token_hex(32))
        path = self.folder / "inbox.toml"
        path.write_text(path.read_text().replace("[inbox]\n", '[inbox]\nseal_key = ["file:seal"]\n', 1))

    def handler(self, name: str, code: str) -> None:
        """Write a handler file."""
        (self.folder / "handlers" / f"{name}.py").write_text(code)

    def only_handler(self, name: str, code: str) -> None:
        """Write a handler file and remove the shipped ones."""
        for path in (self.folder / "handlers").glob("*.py"):
            path.unlink()
        (self.folder / "handlers" / "_noted.py").write_text(NOTED)
        self.handler(name, code)
        self._handlers = wanted(name, code)

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

    def send(
        self, source: str, times: int = 1, *, body: bytes | None = None, fate: str = "succeeded"
    ) -> list[dict[str, Any]]:
        """Send signed requests as `inbox send` does, write down what each became, and return the answers.

        Without a body each is around a fresh sample; `fate` is what the checker expects to become of the events.
        """
        provider = build(self.settings.sources[source])
        answers = []
        for _ in range(times):
            request = signed(provider, "", body, at=time.time())
            found = post(f"http://127.0.0.1:{self.port}/in/{source}", request)
            told, key = found["answer"], key_of(provider, request)
            outcome = str(told.get("status") or told.get("error"))
            self.witness.told(source, key, request.body, found["http_status"], outcome, told.get("id", 0), fate=fate)
            answers.append(found)
        return answers

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
        self._command = command
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

    def kill(self, *pids: int) -> None:
        """End processes with kill -9, and write that down."""
        for pid in pids:
            self.witness.disturbed("kill", pid)
            with suppress(ProcessLookupError):  # it ended with its parent, which was killed before it
                os.kill(pid, signal.SIGKILL)

    def prove(self, patience: float = 10.0) -> None:
        """Let all work come to its end, stop everything, and have the checker find that the promise was kept.

        Processes have `patience` seconds to be gone after the stop.
        """
        if self._process is None or self._command == ("serve",):
            self.close()
            if at_work(self.settings.database):
                self.start("worker")
        eventually(lambda: not at_work(self.settings.database), "everything comes to its end", SETTLE)
        self.close()
        self.witness.prove(self.settings.database, self._handlers, self._left(patience))

    def _left(self, patience: float) -> list[str]:
        """Return what still runs of what was ever started here."""
        end = time.monotonic() + patience
        left: list[Process] = family(self._mark)
        while left and time.monotonic() < end:
            time.sleep(0.05)
            left = family(self._mark)
        return [f"{process.role}, process {process.pid}" for process in left]

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
        with closing(open_archive(self.folder / "inbox.db")) as archive:
            return archive.event(event_id)

    def until_status(self, event_id: int, status: str) -> dict[str, Any]:
        """Wait until an event has a status, and return it."""
        with closing(open_archive(self.folder / "inbox.db")) as archive:
            return dict(
                eventually(
                    lambda: (event := archive.event(event_id))["status"] == status and event,
                    f"event {event_id} is {status}; {archive.event(event_id)}",
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


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie that nobody waits for does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
