"""What all contestants have in common: they are installed once, and started in a fresh folder for every run."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.place import descendants, free_port

PATIENCE = 60.0
APPS = Path(__file__).parent / "apps"


class Missing(Exception):
    """A contestant cannot be installed here; the message says why."""


class Contestant:
    """Somebody who takes webhooks.

    key     short name for --contestants and folders
    name    what the table says
    what    what is done before the answer
    """

    key: str
    name: str
    what: str

    def install(self, scratch: Path) -> None:
        """Install what it needs below `scratch`. Raises Missing."""

    def prepare(self, folder: Path, port: int, secret: str) -> None:
        """Write its files into an empty folder."""

    def commands(self, folder: Path, port: int) -> Sequence[Sequence[str]]:
        """Return the command lines of its processes."""
        raise NotImplementedError

    def environment(self, secret: str) -> Mapping[str, str]:
        """Return what its processes get besides the usual environment."""
        return {"ROOMZ_WEBHOOK_SECRET": secret}

    @contextmanager
    def running(self, folder: Path, secret: str) -> Iterator[int]:
        """Start it in a folder, yield its port when it answers, and stop it."""
        port = free_port()
        if not folder.exists():
            folder.mkdir(parents=True)
            self.prepare(folder, port, secret)
        else:
            self.move(folder, port)
        with processes(self.commands(folder, port), folder, self.environment(secret)) as started:
            wait_for_port(port, started, folder)
            yield port

    def move(self, folder: Path, port: int) -> None:
        """Make a prepared folder use another port."""


@contextmanager
def processes(
    commands: Sequence[Sequence[str]], folder: Path, environment: Mapping[str, str]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run commands in a folder, and end them and all that they started."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INBOX_")}
    started = []
    try:
        for number, command in enumerate(commands):
            with (folder / f"run-{number}.log").open("ab") as log:
                started.append(
                    subprocess.Popen(
                        command,
                        cwd=folder,
                        env={**kept, **environment},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
        yield started
    finally:
        for process in started:
            end(process)


def end(process: "subprocess.Popen[bytes]", seconds: float = 20.0) -> None:
    """Ask a process to end; after a while kill it and those below it."""
    below = descendants(process.pid)
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        below = [*below, *descendants(process.pid)]
        process.kill()
        process.wait()
        for pid in below:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def wait_for_port(port: int, started: "Sequence[subprocess.Popen[bytes]]", folder: Path) -> None:
    """Return when somebody listens. Raises RuntimeError with the logs if a process ends or nobody does in time."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if any(process.poll() is not None for process in started):
            break
        time.sleep(0.05)
    logs = "".join(path.read_text("utf-8", "replace")[-2000:] for path in folder.glob("run-*.log"))
    raise RuntimeError(f"it does not listen on its port: {logs}")


def granian(python: str, target: str, port: int, *options: str) -> list[str]:
    """Return the command line of the server that the inbox uses, with one process and 8 threads."""
    command = [python, "-m", "granian", "--interface", "wsgi", "--http", "1", "--no-ws", "--workers", "1"]
    command += ["--blocking-threads", "8", "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    return [*command, *options, target]


def virtual_environment(scratch: Path, name: str, python: str, packages: Sequence[str]) -> str:
    """Make a virtual environment with these packages, if it is not there, and return its Python. Raises Missing."""
    folder = scratch / "installed" / name
    interpreter = folder / "bin" / "python"
    if not (folder / "complete").exists():
        run([python, "-m", "venv", "--clear", str(folder)])
        run([str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
        (folder / "complete").touch()
    return str(interpreter)


def run(command: Sequence[str], cwd: Path | None = None) -> None:
    """Run an installer. Raises Missing with the last thing that it said."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(str(error)) from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise Missing(f"{Path(command[0]).name} {' '.join(command[1:4])} … failed: {last}")


def python_from(minimum: tuple[int, int]) -> str:
    """Return a Python that is at least so new: this one, or one from the PATH or pyenv. Raises Missing."""
    if sys.version_info[:2] >= minimum:
        return sys.executable
    names = [f"python3.{minor}" for minor in range(minimum[1], minimum[1] + 4)]
    found = [
        str(path) for name in names for path in sorted(Path.home().glob(f".pyenv/versions/{name[6:]}*/bin/python"))
    ]
    for candidate in [*names, *found]:
        with suppress(OSError, subprocess.SubprocessError):
            test = f"import sys; sys.exit(sys.version_info < {minimum})"
            if subprocess.run([candidate, "-c", test], capture_output=True, timeout=20).returncode == 0:
                return candidate
    raise Missing(f"there is no Python {minimum[0]}.{minimum[1]} or newer")
