"""How long each page takes as a browser sees it, before a store that holds many events, and has them indexed."""

import http.client
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

from inbox.core.config.settings import load
from inbox.runtime import Runtime
from tests.benchmarks.contestants import Inbox
from tests.benchmarks.figures import Figure, Spread
from tests.benchmarks.filler import fill
from tests.benchmarks.letters import TYPE
from tests.benchmarks.plan import Plan
from tests.benchmarks.stored import rows

LOOKS = 60
PASSWORD = "a password for the benchmark"


class Owner:
    """Somebody who has logged in; one connection, as a browser keeps it."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        page, self._cookie = self._ask("GET", "/inbox/login")
        token = re.search(r'name="csrf_token" value="([^"]+)"', page)
        assert token is not None, page
        form = urlencode({"csrf_token": token[1], "user": "admin", "password": PASSWORD})
        _, self._cookie = self._ask("POST", "/inbox/login", form)

    def look(self, path: str) -> None:
        """Ask for a page."""
        self._ask("GET", path)

    def _ask(self, method: str, path: str, form: str | None = None) -> tuple[str, str]:
        headers = {"Cookie": getattr(self, "_cookie", ""), "Content-Type": "application/x-www-form-urlencoded"}
        self._connection.request(method, path, form, headers)
        answer = self._connection.getresponse()
        page = answer.read().decode()
        assert answer.status in (200, 302), f"{path}: {answer.status} {page}"
        return page, (answer.headers["Set-Cookie"] or "").partition(";")[0]


def pages(plan: Plan) -> None:
    """Fill and index a store, then look at every page."""
    with plan.folder() as folder:
        inbox = Inbox()
        folder.mkdir(parents=True)
        inbox.prepare(folder, 8000, plan.letters.secret)
        fill(folder / "inbox.db", plan.letters, plan.events)
        _index(plan, folder)
        command = [sys.executable, "-m", "inbox", "admin", "set-password"]
        environment = {**os.environ, "INBOX_CONFIG": str(folder / "inbox.toml")}
        subprocess.run(command, input=PASSWORD, text=True, env=environment, check=True, capture_output=True, timeout=60)
        with inbox.running(folder, plan.letters.secret) as port:
            owner = Owner(port)
            for name, make in _places(folder / "inbox.db"):
                _time(plan, name, lambda make=make: owner.look(make()))  # type: ignore[misc]


def _index(plan: Plan, folder: Path) -> None:
    runtime, begun = Runtime(load(folder / "inbox.toml")), time.monotonic()
    steps = runtime.indexer.catch_up()
    runtime.close()
    taken = time.monotonic() - begun
    plan.say(f"pages: {plan.events:,} events indexed in {taken:.0f} s, {steps} steps")
    value = Spread.of([plan.events / taken])
    plan.report.figures.append(Figure(bar="pages", name="indexed without pauses", value=value, unit="events/s"))


def _places(database: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    ((last,),) = rows(database, "SELECT max(id) FROM events")
    keys = [key for (key,) in rows(database, f"SELECT key FROM events WHERE id > {last} - 200")]

    def some() -> int:
        return random.randint(1, last)

    yield "overview", lambda: "/inbox/"
    yield "events", lambda: "/inbox/events"
    yield "events, in the middle", lambda: f"/inbox/events?before={some()}"
    yield "events of a source that are dead", lambda: "/inbox/events?source=roomz&status=dead"
    yield "events of a type, by a glob", lambda: "/inbox/events?type=workspace.*"
    yield "events of an hour", lambda: f"/inbox/events?since={random.randint(2, 48)}h&until=1h"
    yield "events of a handler", lambda: f"/inbox/events?handler=benchmark.nothing&before={some()}"
    yield "events with a frequent word", lambda: f"/inbox/events?text={TYPE.split('.')[0]}"
    yield "events with a key", lambda: "/inbox/events?" + urlencode({"text": random.choice(keys)})
    yield "newer events", lambda: f"/inbox/events/newer?after={last - 10}"
    yield "one event", lambda: f"/inbox/events/{some()}"
    yield "refusals", lambda: "/inbox/refusals"
    yield "handlers", lambda: "/inbox/handlers"
    yield "actions", lambda: "/inbox/actions"
    yield (
        "a replay of all that a filter finds, before it is begun",
        (lambda: "/inbox/actions/new?kind=replay&all=1&source=roomz&since=1d"),
    )


def _time(plan: Plan, name: str, look: Callable[[], object]) -> None:
    taken = []
    for _ in range(LOOKS):
        begun = time.perf_counter()
        look()
        taken.append((time.perf_counter() - begun) * 1000)
    taken.sort()
    value = Spread(taken[int(LOOKS * 0.95)], taken[0], taken[-1])
    note = f"{plan.events:,} events, {LOOKS} looks, p50 {taken[LOOKS // 2]:.1f}"
    plan.report.figures.append(
        Figure(bar="pages", name=f"{name}, p95", value=value, unit="ms", bound=("≤", 50.0), note=note)
    )
