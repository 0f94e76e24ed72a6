"""Bar 8: what receiver and workers hold in memory while many events are received and handled."""

from collections import defaultdict

from tests.benchmarks.bars.busy import feed, until_done
from tests.benchmarks.bars.processes import parts, resident_mib
from tests.benchmarks.contestants import Inbox
from tests.benchmarks.figures import Figure, Spread
from tests.benchmarks.plan import Plan


def memory(plan: Plan) -> None:
    """Sample every process every second or so, until all events are handled."""
    samples: dict[tuple[str, int], list[float]] = defaultdict(list)
    with plan.folder() as folder, Inbox().running(folder, plan.letters.secret) as port:

        def sample(stored: int = 0) -> None:
            for part in parts(folder):
                samples[part.role, part.pid].append(resident_mib(part.pid))

        feed(plan, port, folder / "inbox.db", plan.many, sample)
        plan.say(f"memory: {plan.many:,} events received, waiting for the worker")
        until_done(folder / "inbox.db", plan.many / 50 + 60, sample)
        sample()
    for role in ("receiver", "worker"):
        series = [values for (name, _), values in samples.items() if name == role]
        after = [values[-1] for values in series]
        growth = [values[-1] - values[len(values) // 2] for values in series]
        name = f"{role}: resident after {plan.many:,} events, largest of {len(series)} processes"
        note = "each: " + ", ".join(f"{value:.0f}" for value in sorted(after, reverse=True))
        plan.report.figures += [
            Figure(
                bar="8",
                name=name,
                value=Spread(max(after), max(after), max(max(values) for values in series)),
                unit="MiB",
                bound=("≤", 80),
                note=f"{note}; the highest sample is the upper end",
            ),
            Figure(
                bar="8",
                name=f"{role}: growth in the second half of the samples",
                value=Spread(max(growth), min(growth), max(growth)),
                unit="MiB",
                bound=("≤", 4),
            ),
        ]
