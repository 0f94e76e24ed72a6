"""Handler files → those that end or hang the process that imports them, found in a process made for that.

What is merely raised is no matter here: `inbox.deliver.handler_loader` notes it and goes on. Run as a module, this is
that process.
"""

import faulthandler
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from inbox.core.config import snapshot
from inbox.deliver import handler_loader

log = structlog.get_logger("inbox.deliver.import_check")

SECONDS = 30.0
"""How long one module's import may take."""


def trial(folder: Path, seconds: float = SECONDS) -> dict[str, str]:
    """Return the modules that must not be imported, and what became of the process that did; for `plugins.load`.

    Waits until everything was imported there, for `seconds` per module at most. A module whose import ended the process
    is tried once more: the kernel, or a person, may have killed it.
    """
    names = {name for name, _ in handler_loader.modules(folder)}
    found: dict[str, str] = {}
    before = ""
    try:
        while names - found.keys():
            name, frames, code = _first(folder, list(found), seconds)
            if name not in names - found.keys():
                break
            if frames or name == before:
                found[name] = f"{frames}{_said(code, seconds if frames else None)}"
            before = name
    except (OSError, ValueError) as error:
        log.warning("handlers.not_tried", error=str(error), then="they are imported untried")
    return found


def _first(folder: Path, skipped: Sequence[str], seconds: float) -> tuple[str, str, int]:
    """Have a process import everything but some modules; return the one that ended it, "" if none did.

    And where that stood if it took too long, "" if not, and the exit code. Raises OSError if there is no such process,
    ValueError if it wrote nonsense.
    """
    environment, files = snapshot.passed_on()
    with tempfile.TemporaryFile() as note:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "inbox.deliver.import_check",
                json.dumps([str(folder), skipped, seconds, note.fileno()]),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
            pass_fds=[note.fileno(), *files],
            start_new_session=True,
        )
        try:
            code = process.wait()
        finally:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # what a module has started, and left
            process.wait()
        note.seek(0)
        name, _, frames = note.read().decode("utf-8", "replace").partition("\n")
    return str(json.loads(name or '""')), frames, code


def _said(code: int, seconds: float | None) -> str:
    if seconds is not None:
        return f"its import took longer than {seconds:g} s"
    how = f"by signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"with exit code {code}"
    return f"its import ended the process, {how}"


def main(arguments: str) -> None:
    """Import modules, with the name of each in a file until its import is over; then end what they have started."""
    folder, skipped, seconds, number = json.loads(arguments)
    snapshot.inherit(os.environ)

    def began(name: str) -> None:
        os.ftruncate(number, 0)
        os.lseek(number, 0, os.SEEK_SET)
        os.write(number, f"{json.dumps(name)}\n".encode())
        faulthandler.dump_traceback_later(seconds, exit=True, file=number)

    handler_loader.load(Path(folder), dict.fromkeys(skipped, "was tried"), began)
    began("")
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
