"""Bar 9: p99 of answers while old events are replayed by filter, paced and as fast as it goes, against without."""

import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.bars.busy import paced, until_done
from tests.benchmarks.contestants import Inbox
from tests.benchmarks.contestants.base import end, processes
from tests.benchmarks.figures import Figure, Spread
from tests.benchmarks.filler import fill
from tests.benchmarks.plan import Plan
from tests.benchmarks.stored import rows
from tests.benchmarks.wrk import Load

RATE = 1000
"""Events per second of the paced replay."""

_DONE = "SELECT count(*) FROM deliveries WHERE replay_id > 0 AND status = 'succeeded'"


def replays(plan: Plan) -> None:
    """One inbox with many succeeded events: measured without a replay, during a paced one, during an unpaced one."""
    with plan.folder() as folder:
        inbox = Inbox()
        folder.mkdir(parents=True)
        inbox.prepare(folder, 8000, plan.letters.secret)
        fill(folder / "inbox.db", plan.letters, plan.many, only="succeeded", ago=3600)
        with inbox.running(folder, plan.letters.secret) as port:
            warm = paced(plan, port, 2, 0)
            without = paced(plan, port, plan.seconds * 2, warm.position)
            position = without.position
            for word, options in (("paced", ["--rate", str(RATE)]), ("unpaced", [])):
                during, seconds, position = _replay(plan, folder, port, position, options)
                _report(plan, word, without, during, seconds)
                plan.say(f"replay: {word} in {seconds:.0f} s; waiting for the worker")
                until_done(folder / "inbox.db", plan.many / 25 + 120)
        ((done,),) = rows(folder / "inbox.db", _DONE)
    if done != 2 * plan.many:
        raise AssertionError(f"{2 * plan.many} replays were asked for, {done} deliveries succeeded")


def _replay(plan: Plan, folder: Path, port: int, position: int, options: list[str]) -> tuple[list[Load], float, int]:
    """Replay everything in another process; return what senders saw meanwhile, and how long the replay took."""
    logs = folder / "replay"
    logs.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "inbox", "replay", "--source", "roomz", "--until", "30m", "--yes", *options]
    environment = {**Inbox().environment(plan.letters.secret), "INBOX_CONFIG": str(folder / "inbox.toml")}
    loads = []
    begun = time.monotonic()
    with processes([command], logs, environment) as (replay,):
        while replay.poll() is None:
            result = paced(plan, port, plan.seconds, position)
            position = result.position
            loads.append(result)
            if time.monotonic() - begun > plan.many / 20 + 60:
                end(replay)
                raise TimeoutError("the replay does not end")
        seconds = time.monotonic() - begun
    if replay.returncode:
        raise subprocess.CalledProcessError(replay.returncode, command, (logs / "run-0.log").read_text()[-2000:])
    return loads, seconds, position


def _report(plan: Plan, word: str, without: Load, during: list[Load], seconds: float) -> None:
    ratio = Spread.of([item.p99 / without.p99 for item in during])
    name = f"p99 while {plan.many:,} events are replayed {word}, × without"
    note = f"without: {without.p99:.1f} ms; the replay took {seconds:.0f} s, {plan.many / seconds:,.0f} events/s"
    plan.report.figures.append(Figure(bar="9", name=name, value=ratio, bound=("≤", 3.0), note=note))
