"""Real conditions of a machine: a disk that fails or is slow, a small file system, another answer of the kernel."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from inbox.tools.doctor.finding import Finding
from tests.support.needs import need, strace


def doctor(folder: Path, *, before: Sequence[str] = ()) -> list[Finding]:
    """Run `inbox doctor` in a folder, with a command in front of it, and return what it found."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("INBOX_")}
    done = subprocess.run(
        [*before, sys.executable, "-m", "inbox", "doctor", "--json"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = [Finding(**item) for item in json.loads(done.stdout or "null") or pytest.fail(done.stderr)]
    assert any(item.level == "problem" for item in found) == bool(done.returncode)
    return found


def injected(fault: str) -> list[str]:
    """Return what has to stand in front of a command so that strace makes the kernel answer otherwise."""
    calls = fault.partition(":")[0]
    return [strace(), "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={fault}"]


def mounted(folder: Path, options: str, then: str = "true") -> list[str]:
    """Return what has to stand in front of a command so that it runs in an inbox on a small file system of its own.

    `then` are shell commands that come after `inbox init`. Nobody else sees the file system, and it goes by itself.
    """
    unshare = [shutil.which("unshare") or "unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    probe = subprocess.run([*unshare, "true"], capture_output=True, text=True)
    need(probe.returncode == 0, f"nothing can be mounted here: {probe.stderr}")
    here, init = shlex.quote(str(folder)), shlex.join([sys.executable, "-m", "inbox", "init"])
    script = f'mount -t tmpfs -o {options} tmpfs {here} && cd {here} && {init} >&2 && {then} && exec "$@"'
    return [*unshare, "sh", "-c", script, "sh"]


def of(findings: Sequence[Finding], subject: str) -> list[Finding]:
    """Return the findings on a subject."""
    return [item for item in findings if item.subject == subject]


def levels(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """Return level and subject of what is not as it should be."""
    return [(item.level, item.subject) for item in findings if item.level != "ok"]
