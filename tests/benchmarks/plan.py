"""What a run is given: where, how long, how often, how much; and the machine it runs on."""

import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import count
from pathlib import Path

from tests.benchmarks.contestants import Contestant
from tests.benchmarks.figures import Report
from tests.benchmarks.letters import Letters

_NUMBERS = count(1)


@dataclass(kw_only=True)
class Plan:
    """How much is measured.

    events    how many the store holds for the bar "growth"
    backlog   how many wait for the worker in "backlog" and "drain"
    many      how many are received in "memory" and replayed in "replay"
    singles   how many single events "latency" sends
    idle      seconds for which the idle worker is watched
    cells     which loads "answers" measures: all, some, few
    """

    scratch: Path
    letters: Letters
    report: Report
    contestants: Sequence[Contestant]
    rounds: int = 5
    seconds: float = 4.0
    events: int = 1_000_000
    backlog: int = 20_000
    many: int = 100_000
    singles: int = 300
    idle: float = 20.0
    cells: str = "some"
    absent: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Yield the path of a folder that is not there yet; it is removed afterwards."""
        path = self.scratch / "running" / str(next(_NUMBERS))
        shutil.rmtree(path, ignore_errors=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def say(self, text: str) -> None:
        """Tell the person who waits."""
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stderr.flush()


def machine(folder: Path) -> dict[str, str]:
    """Return what the figures depend on."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    return {
        "machine": f"{os.cpu_count()} × {cpu or platform.machine()}, {int(memory) / 2**20:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, {_file_system(folder)}",
        "Python": f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}, granian {version('granian')}, "
        f"Flask {version('flask')}, huey {version('huey')}",
        "load at the start": f"{os.getloadavg()[0]:.1f} (other processes make the figures worse; compare ratios only)",
    }


def _file_system(folder: Path) -> str:
    done = subprocess.run(["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=False)
    kind = done.stdout.strip() or "unknown file system"
    return f"{kind} (in memory: an fsync costs nothing, the figures mean nothing)" if kind == "tmpfs" else kind


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
