"""Bar 5: from the answer to the start of the handler when there is nothing else to do, and what waiting costs."""

import http.client
import json
import random
import time
from pathlib import Path

from tests.benchmarks.bars.processes import cpu_seconds, parts
from tests.benchmarks.contestants import Inbox
from tests.benchmarks.figures import Figure, Spread
from tests.benchmarks.letters import PATH, Letters
from tests.benchmarks.plan import Plan

STARTS = '''"""Writes down when it was started."""

import time

from inbox import Event, handles


@handles("roomz", "*")
def note(event: Event) -> None:
    """Note the time."""
    at = time.time()
    with open("starts.txt", "a") as file:
        file.write(f"{event.id} {at!r}\\n")
'''


def latency(plan: Plan) -> None:
    """Send single events at random times; then leave the worker alone and watch its processes."""
    with plan.folder() as folder, Inbox(handler=STARTS).running(folder, plan.letters.secret) as port:
        time.sleep(3)
        answered = {}
        for _ in range(plan.singles):
            event_id, at = _send(plan.letters, port)
            answered[event_id] = at
            time.sleep(random.uniform(0.05, 0.15))  # so that it does not keep step with whoever polls
        time.sleep(2)
        started = _started(folder / "starts.txt")
        waits = sorted((started[event_id] - at) * 1000 for event_id, at in answered.items() if event_id in started)
        if len(waits) < len(answered):
            raise AssertionError(f"{len(answered)} events were answered, {len(waits)} handlers were started")
        workers = [part.pid for part in parts(folder) if part.role == "worker"]
        shares = [_burnt(workers, plan.idle / 2) for _ in range(2)]
    middle, late = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
    plan.report.figures += [
        Figure(
            bar="5", name="answer → start of the handler, idle, p50", value=_one(middle), unit="ms", bound=("≤", 10)
        ),
        Figure(bar="5", name="answer → start of the handler, idle, p99", value=_one(late), unit="ms", bound=("≤", 30)),
        Figure(
            bar="5",
            name="idle worker, all its processes",
            value=Spread.of(shares),
            unit="% of a core",
            bound=("≤", 2),
            note=f"{len(workers)} processes",
        ),
    ]


def _send(letters: Letters, port: int) -> tuple[int, float]:
    """Send one event on a connection of its own; return its id and when the answer was read."""
    headers, body = letters.letter(1024)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", PATH, body, dict(headers))
    answer = connection.getresponse()
    text = answer.read()
    at = time.time()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {text!r}")
    return json.loads(text)["id"], at


def _started(path: Path) -> dict[int, float]:
    return {int(line.split()[0]): float(line.split()[1]) for line in path.read_text().splitlines()}


def _burnt(pids: list[int], seconds: float) -> float:
    """Return how much of a core the processes use, in per cent."""
    begun, before = time.monotonic(), cpu_seconds(pids)
    time.sleep(seconds)
    return (cpu_seconds(pids) - before) / (time.monotonic() - begun) * 100


def _one(value: float) -> Spread:
    return Spread(value, value, value)
