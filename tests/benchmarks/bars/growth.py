"""Bar 7: the same load on a store that holds many events, and how long a look into it takes."""

import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from inbox.core.config.retention_settings import RetentionSettings
from inbox.operate.retention import Pruner
from inbox.store.protocols import Archive, Filter
from inbox.store.protocols_retention import Keeping
from inbox.store.sqlite import open_archive, open_keeping
from tests.benchmarks.bars.answers import MAIN
from tests.benchmarks.contestants import Bare, Inbox
from tests.benchmarks.contestants.base import Contestant
from tests.benchmarks.figures import Figure, Spread
from tests.benchmarks.filler import fill
from tests.benchmarks.letters import TYPE
from tests.benchmarks.plan import Plan
from tests.benchmarks.stored import rows
from tests.benchmarks.wrk import measure

PAGE = 50
LOOKS = 60
SLOW = 20.0
"""Seconds after which a filter has been looked at often enough."""


def growth(plan: Plan) -> None:
    """Fill a store, compare it with an empty one under the main load, then look into it."""
    with plan.folder() as folder:
        inbox = Inbox()
        folder.mkdir(parents=True)
        inbox.prepare(folder, 8000, plan.letters.secret)
        begun = time.monotonic()
        fill(folder / "inbox.db", plan.letters, plan.events)
        plan.say(f"growth: {plan.events:,} events written in {time.monotonic() - begun:.0f} s")
        size = (folder / "inbox.db").stat().st_size / plan.events
        held = f"{plan.events:,} events"
        name = f"bytes on disk per event of 1 KiB, {held}, with its delivery and attempt"
        plan.report.figures.append(Figure(bar="7", name=name, value=Spread.of([size])))
        _rates(plan, inbox, folder)
        _looks(plan, folder)
        _commands(plan, folder)
        _prunes(plan, folder)


def _rates(plan: Plan, inbox: Inbox, folder: Path) -> None:
    full, bare = [], []
    for number in range(plan.rounds):
        ceiling = _fresh(plan, Bare())
        empty = _fresh(plan, inbox)
        with inbox.running(folder, plan.letters.secret) as port:
            grown = measure(plan.letters, port, MAIN, plan.seconds).per_second
        _forget(folder / "inbox.db", plan.events)
        full.append(grown / empty)
        bare.append(grown / ceiling)
        plan.say(f"growth, round {number + 1}: empty {empty:,.0f}/s, grown {grown:,.0f}/s, bare {ceiling:,.0f}/s")
    held = f"answers/s with {plan.events:,} stored events"
    plan.report.figures += [
        Figure(bar="7", name=f"{held}, × empty", value=Spread.of(full), bound=("≥", 0.9)),
        Figure(bar="7", name=f"{held}, × bare Flask", value=Spread.of(bare), bound=("≥", 0.6 * 0.9)),
    ]


def _fresh(plan: Plan, contestant: Contestant) -> float:
    with plan.folder() as folder, contestant.running(folder, plan.letters.secret) as port:
        return measure(plan.letters, port, MAIN, plan.seconds).per_second


def _forget(database: Path, last: int) -> None:
    """Take out what a round put in, so that the next one can use the same requests."""
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM events WHERE id > ?", (last,))
    for name in ("queue.db", "queue.db-wal", "queue.db-shm"):
        (database.parent / name).unlink(missing_ok=True)


def _filters(database: Path) -> Iterator[tuple[str, Callable[[], Filter]]]:
    """Yield what a list is asked for, with a maker of one such question after another."""
    ((first, last, newest),) = rows(database, "SELECT min(received_at), max(received_at), max(id) FROM events")

    def anywhere() -> float:
        return random.uniform(first, last)

    def some_day() -> Filter:
        at = anywhere()
        return Filter(since=at, until=at + 86400)

    yield "newest", Filter
    yield "a page in the middle", lambda: Filter(before=random.randint(PAGE, newest))
    yield "--source", lambda: Filter(source=random.choice(("roomz", "lemlist", "rootfi")))
    yield "--source, of which there is nothing", lambda: Filter(source="nobody")
    for status in ("succeeded", "dead", "quarantined", "received"):
        yield f"--status {status}", partial(Filter, status=status)
    yield "--type, frequent", lambda: Filter(type=TYPE)
    yield "--type, a glob", lambda: Filter(type="emails*")
    yield "--type, of which there is nothing", lambda: Filter(type="no.such.type")
    yield "--since an hour ago", lambda: Filter(since=last - 3600)
    yield "--until, anywhere", lambda: Filter(until=anywhere())
    yield "--since and --until, a day", some_day
    yield "--source --status dead", lambda: Filter(source="lemlist", status="dead")
    yield "--source --type --status --since", lambda: Filter("roomz", TYPE, "dead", anywhere())


def _looks(plan: Plan, folder: Path) -> None:
    database = folder / "inbox.db"
    archive = open_archive(database)
    try:
        for name, make in _filters(database):
            _time(plan, f"list: {name}", partial(_page, archive, make))
        _time(plan, "show", lambda: archive.event(random.randint(1, plan.events)))
        _counts(plan, archive)
    finally:
        archive.close()


def _page(archive: Archive, make: Callable[[], Filter]) -> object:
    return archive.events(make(), PAGE)


def _counts(plan: Plan, archive: Archive) -> None:
    """What `replay`, `sources` and `handlers` ask before they do anything."""
    for name, look in (
        ("count: all", lambda: archive.count(Filter())),
        ("count: --status dead", lambda: archive.count(Filter(status="dead"))),
        ("count: --since --until, a day", lambda: archive.count(Filter(since=time.time() - 86400, until=time.time()))),
        ("sources", archive.sources),
        ("backlog", archive.backlog),
    ):
        _time(plan, name, look)


def _time(plan: Plan, name: str, look: Callable[[], object]) -> None:
    """Report the 95th percentile of some looks, in ms; the lowest and highest beside it."""
    taken: list[float] = []
    end = time.monotonic() + SLOW
    while len(taken) < LOOKS and (time.monotonic() < end or len(taken) < 3):
        begun = time.perf_counter()
        look()
        taken.append((time.perf_counter() - begun) * 1000)
    taken.sort()
    value = Spread(taken[int(len(taken) * 0.95)], taken[0], taken[-1])
    note = f"{plan.events:,} events, {len(taken)} looks"
    plan.report.figures.append(
        Figure(bar="7", name=f"{name}, p95", value=value, unit="ms", bound=("≤", 50.0), note=note)
    )


class _Timed:
    """A store that notes how long each look and each step of pruning takes, in ms."""

    def __init__(self, store: Keeping) -> None:
        self._store = store
        self.taken: dict[str, list[float]] = {"look": [], "prune": []}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in self.taken:
            return found

        def timed(*arguments: Any) -> Any:
            begun = time.perf_counter()
            done = found(*arguments)
            self.taken[name].append((time.perf_counter() - begun) * 1000)
            return done

        return timed


def _prunes(plan: Plan, folder: Path) -> None:
    """How long others wait for a step of pruning, and how long a look for what may go takes: bodies, after 30 days."""
    store = open_keeping(folder / "inbox.db")
    timed = _Timed(store)
    settings = RetentionSettings(keep_bodies=30 * 86400.0)
    pruner = Pruner(
        timed, settings, {}, passed=time.time, clock=time.time, steady=time.monotonic, pause=lambda seconds: None
    )
    try:
        rows_gone = sum(done.rows for done in pruner.run(SLOW))
    finally:
        store.close()
    for name, what in (("look", "a look at 500 rows"), ("prune", "a step of at most 50 bodies")):
        taken = sorted(timed.taken[name])
        value = Spread(taken[int(len(taken) * 0.95)], taken[0], taken[-1])
        note = f"{plan.events:,} events, {len(taken)} times, {rows_gone:,} bodies went"
        plan.report.figures.append(
            Figure(bar="7", name=f"pruning: {what}, p95", value=value, unit="ms", bound=("≤", 50.0), note=note)
        )


def _commands(plan: Plan, folder: Path) -> None:
    """How long the commands take as a person sees them, Python's start included; no bar."""
    environment = {**os.environ, "INBOX_CONFIG": str(folder / "inbox.toml")}
    commands = (["events", "--limit", "50"], ["events", "--status", "dead"], ["show", "1"], ["--help"])
    for arguments in commands:
        taken = []
        for _ in range(max(3, plan.rounds)):
            begun = time.perf_counter()
            command = [sys.executable, "-m", "inbox", *arguments]
            subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
            taken.append((time.perf_counter() - begun) * 1000)
        name = f"inbox {' '.join(arguments)}"
        plan.report.figures.append(Figure(bar="7", name=name, value=Spread.of(taken), unit="ms", note="whole process"))
