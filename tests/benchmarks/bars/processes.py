"""Looks at processes through /proc: which belong to an inbox, what they burn, what they hold."""

import os
from dataclasses import dataclass
from pathlib import Path

from tests.support.place import descendants


@dataclass(frozen=True)
class Part:
    """A process: its id and whether it belongs to the receiver, the worker or the supervisor."""

    pid: int
    role: str


def parts(folder: Path) -> list[Part]:
    """Return the processes of the `inbox run` that logs into a folder."""
    log = (folder / "run-0.log").read_text()
    found: dict[str, int] = {}
    for line in log.splitlines():
        if "event=child.started" in line:
            name = line.partition("child=")[2].split()[0]
            found[name] = int(line.rpartition("pid=")[2])
    return [Part(pid, role) for role, root in found.items() for pid in [root, *descendants(root)]]


def cpu_seconds(pids: list[int]) -> float:
    """Return the time on a core that these processes have used so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Return how much memory a process has resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024
