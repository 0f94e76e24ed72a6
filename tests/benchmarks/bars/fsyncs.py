"""Bar 3: fsyncs per acknowledged event at 32 connections, counted by strace on the receiver alone.

"Never an answer before its fsync" is proven elsewhere, call by call: tests/power.
"""

import re
import shutil
import subprocess
from pathlib import Path

from tests.benchmarks.bars.backlog import worker
from tests.benchmarks.contestants import Inbox
from tests.benchmarks.figures import Figure, Spread
from tests.benchmarks.plan import Plan
from tests.benchmarks.stored import stored_events
from tests.benchmarks.wrk import Cell, measure


def fsyncs(plan: Plan) -> None:
    """Count in several rounds; everything from the start to the end of the receiver counts."""
    strace = shutil.which("strace")
    if strace is None:
        raise RuntimeError("strace is not installed (Debian, Ubuntu: package strace)")
    ratios, sizes = [], []
    for _ in range(plan.rounds):
        with plan.folder() as folder:
            calls, events = _count(plan, folder, strace)
        ratios.append(calls / events)
        sizes.append(events / calls)
        plan.say(f"fsyncs: {calls} for {events} events")
    name = "fsyncs per acknowledged event, 32 connections"
    plan.report.figures += [
        Figure(bar="3", name=name, value=Spread.of(ratios), bound=("≤", 0.2)),
        Figure(bar="3", name="events per fsync", value=Spread.of(sizes), note="strace slows the receiver down"),
    ]


def _count(plan: Plan, folder: Path, strace: str) -> tuple[int, int]:
    output = folder / "strace.txt"
    before = [strace, "-f", "--seccomp-bpf", "-c", "-e", "trace=fsync,fdatasync", "-o", str(output)]
    receiver = Inbox("serve", before=before)
    with receiver.running(folder, plan.letters.secret) as port:
        with worker(plan, folder):
            measure(plan.letters, port, Cell(), plan.seconds)
        _end_tracee(folder)
    return counted(output.read_text()), stored_events(folder / "inbox.db")


def counted(table: str) -> int:
    """Return how many fsyncs strace's table has; its columns: % time, seconds, usecs/call, calls, (errors,) syscall."""
    lines = [line.split() for line in table.splitlines()]
    return sum(int(line[3]) for line in lines if len(line) >= 5 and line[-1] in ("fsync", "fdatasync"))


def _end_tracee(folder: Path) -> None:
    """Ask the receiver itself to end: strace then writes its table and ends, too."""
    log = (folder / "run-0.log").read_text()
    pids = re.findall(r"pid=(\d+) event=receiver\.starting", log)
    subprocess.run(["kill", "-TERM", pids[-1]], check=True)
    subprocess.run(["tail", "--pid", pids[-1], "-f", "/dev/null"], timeout=30, check=False)
