"""Bar 4: p99 of answers while the worker drains a backlog, against the p99 without one.

Judged under a paced load (about 300 requests per second), which the worker keeps up with, so that "without a backlog"
is true; a load as fast as it goes is reported beside it, there "without" means without a worker.
"""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.benchmarks.bars.busy import feed, paced
from tests.benchmarks.contestants import Inbox
from tests.benchmarks.contestants.base import processes
from tests.benchmarks.figures import Figure, Spread
from tests.benchmarks.plan import Plan
from tests.benchmarks.stored import unfinished
from tests.benchmarks.wrk import Cell, Load, load


def backlog(plan: Plan) -> None:
    """Measure without and with a backlog in turn, several rounds."""
    without, during, flat, flat_during, left = [], [], [], [], []
    for number in range(plan.rounds):
        a, b = _paced_round(plan)
        without.append(a.p99)
        during.append(b.p99)
        c, d, remaining = _flat_round(plan)
        flat.append(c.p99)
        flat_during.append(d.p99)
        left.append(remaining)
        plan.say(f"backlog, round {number + 1}: paced {a.p99:.1f} → {b.p99:.1f}, flat out {c.p99:.1f} → {d.p99:.1f} ms")
    ratio = [b / a for a, b in zip(without, during, strict=True)]
    flat_ratio = [b / a for a, b in zip(flat, flat_during, strict=True)]
    size = f"{plan.backlog:,}"
    plan.report.figures += [
        Figure(bar="4", name="p99 without a backlog, 300 requests/s", value=Spread.of(without), unit="ms"),
        Figure(
            bar="4", name=f"p99 while {size} events are drained, 300 requests/s", value=Spread.of(during), unit="ms"
        ),
        Figure(bar="4", name="the same, × without", value=Spread.of(ratio), bound=("≤", 3.0)),
        Figure(bar="4", name="flat out, p99 without a worker", value=Spread.of(flat), unit="ms"),
        Figure(bar="4", name="flat out, p99 while draining, × without", value=Spread.of(flat_ratio), bound=("≤", 3.0)),
    ]


def _paced_round(plan: Plan) -> tuple[Load, Load]:
    """Return the load without a backlog, and the load while one is drained."""
    with plan.folder() as folder, Inbox().running(folder, plan.letters.secret) as port:
        warm = paced(plan, port, 1, 0)
        without = paced(plan, port, plan.seconds, warm.position)
    with plan.folder() as folder, Inbox("serve").running(folder, plan.letters.secret) as port:
        position = feed(plan, port, folder / "inbox.db", plan.backlog)
        with worker(plan, folder):
            warm = paced(plan, port, 2, position)
            during = paced(plan, port, plan.seconds, warm.position)
            if not unfinished(folder / "inbox.db"):
                raise RuntimeError("the backlog was gone before the measurement ended: use a larger one")
    return without, during


def _flat_round(plan: Plan) -> tuple[Load, Load, int]:
    with plan.folder() as folder, Inbox("serve").running(folder, plan.letters.secret) as port:
        position = feed(plan, port, folder / "inbox.db", plan.backlog)
        without = load(plan.letters, port, Cell(), plan.seconds, position=position)
        with worker(plan, folder):
            warm = load(plan.letters, port, Cell(), 2, position=without.position)
            during = load(plan.letters, port, Cell(), plan.seconds, position=warm.position)
            return without, during, unfinished(folder / "inbox.db")


def worker(plan: Plan, folder: Path) -> AbstractContextManager[Sequence[Any]]:
    """Run the worker of an inbox whose receiver runs already."""
    logs = folder / "worker"
    logs.mkdir(exist_ok=True)
    environment = {**Inbox().environment(plan.letters.secret), "INBOX_CONFIG": str(folder / "inbox.toml")}
    return processes([[sys.executable, "-m", "inbox", "worker"]], logs, environment)
