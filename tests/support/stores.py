"""The stores that the contract is tested with, what is put into them, and how to use them from several places at once.

A backend is a class with the methods of SqliteStore; adding it to BACKENDS runs the whole contract on it.
"""

import multiprocessing
import resource
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeVar

from inbox.core.errors import Violation
from inbox.core.handles import Handles
from inbox.core.models import Claimed, HandlerSpec, Held, NewEvent, Refusal, Request
from inbox.store.protocols import Archive, Inlet, Work
from inbox.store.protocols_accounts import Access
from inbox.store.protocols_actions import Acting, ActionKind, ActionStep, NewAction
from inbox.store.protocols_alarms import AlarmBook
from inbox.store.protocols_elapsed import Timekeeping
from inbox.store.protocols_monitor import Watch
from inbox.store.protocols_retention import Keeping
from inbox.store.protocols_search import EventSearch, Indexing
from inbox.store.sqlite import (
    open_access,
    open_acting,
    open_alarms,
    open_archive,
    open_finding,
    open_indexing,
    open_inlet,
    open_keeping,
    open_timekeeping,
    open_watch,
    open_work,
)
from inbox.store.sqlite.connection import Connection

T = TypeVar("T")
PROJECT = Path(__file__).parents[2]
Role = TypeVar(
    "Role", Inlet, Work, Archive, Keeping, Watch, AlarmBook, Access, Acting, EventSearch, Indexing, Timekeeping
)


class SqliteStore:
    """An inbox in one SQLite file, with one connection per role and as many more as a test opens."""

    def __init__(self, folder: Path, *, patience: float = 5.0) -> None:
        self.folder = folder
        self.path = folder / "inbox.db"
        self.patience = patience
        self._opened: list[
            Inlet
            | Work
            | Archive
            | Keeping
            | Watch
            | AlarmBook
            | Access
            | Acting
            | EventSearch
            | Indexing
            | Timekeeping
        ] = []

    @cached_property
    def inlet(self) -> Inlet:
        return self.open_inlet()

    @cached_property
    def work(self) -> Work:
        return self.open_work()

    @cached_property
    def archive(self) -> Archive:
        return self._closing(open_archive(self.path, patience=self.patience))

    @cached_property
    def access(self) -> Access:
        return self._closing(open_access(self.path, patience=self.patience))

    @cached_property
    def acting(self) -> Acting:
        return self.open_acting()

    @cached_property
    def keeping(self) -> Keeping:
        return self._closing(open_keeping(self.path, patience=self.patience))

    @cached_property
    def finding(self) -> EventSearch:
        return self._closing(open_finding(self.path, patience=self.patience))

    @cached_property
    def indexing(self) -> Indexing:
        return self._closing(open_indexing(self.path, patience=self.patience))

    @cached_property
    def watch(self) -> Watch:
        return self.open_watch()

    @cached_property
    def alarms(self) -> AlarmBook:
        return self._closing(open_alarms(self.path, patience=self.patience))

    @cached_property
    def timekeeping(self) -> Timekeeping:
        return self.open_timekeeping()

    def open_timekeeping(self) -> Timekeeping:
        """Return a further timekeeping on the same data."""
        return self._closing(open_timekeeping(self.path, patience=self.patience))

    def open_watch(self) -> Watch:
        """Return a further watch on the same data."""
        return self._closing(open_watch(self.path, patience=self.patience))

    def open_acting(self) -> Acting:
        """Return a further side of actions and pauses on the same data."""
        return self._closing(open_acting(self.path, patience=self.patience))

    def open_inlet(self, **options: Any) -> Inlet:
        """Return a further inlet on the same data."""
        return self._closing(open_inlet(self.path, patience=self.patience, **options))

    def open_work(self) -> Work:
        """Return a further worker's side of the same data."""
        return self._closing(open_work(self.path, patience=self.patience))

    def close(self) -> None:
        """Close everything that was opened; what is used afterwards opens again, and wants to be closed again."""
        for role in self._opened:
            role.close()

    def dump(self) -> list[str]:
        """Return everything that is stored, as another program sees it."""
        connection = sqlite3.connect(self.path)
        try:
            return list(connection.iterdump())
        finally:
            connection.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let another program write for as long as the block lasts."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")
        finally:
            connection.close()

    @contextmanager
    def full(self) -> Iterator[None]:
        """Let the data have no further page; what is there may still be overwritten."""
        with self._pragmas("max_page_count = 1", "max_page_count = 1000000"):
            yield

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Let nothing be changed."""
        with self._pragmas("query_only = ON", "query_only = OFF"):
            yield

    @contextmanager
    def no_writing(self, *, after: int = 1) -> Iterator[None]:
        """Let the operating system refuse this process every write behind `after` bytes of a file (EFBIG)."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (after, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    @contextmanager
    def nearly_full(self) -> Iterator[None]:
        """Let the log have space for two more pages, so that a larger transaction is cut off in the middle."""
        log = self.path.with_name(f"{self.path.name}-wal")
        with self.no_writing(after=log.stat().st_size + 10_000):
            yield

    @contextmanager
    def _pragmas(self, first: str, then: str) -> Iterator[None]:
        connections = [connection_of(role).database.conn for role in (self.inlet, self.work, self.archive, self.acting)]
        for connection in connections:
            connection.execute(f"PRAGMA {first}")
        yield
        for connection in connections:
            connection.execute(f"PRAGMA {then}")

    def _closing(self, role: Role) -> Role:
        self._opened.append(role)
        return role


BACKENDS: dict[str, Callable[..., SqliteStore]] = {"sqlite": SqliteStore}


def connection_of(role: object) -> Connection:
    """Return the connection inside a role of the SQLite store."""
    connection = role._connection  # type: ignore[attr-defined]
    assert isinstance(connection, Connection)
    return connection


def event(
    key: str = "k1",
    body: bytes = b'{"a": 1}',
    *,
    source: str = "acme",
    type: str = "order.paid",
    at: float = 100.0,
    violations: tuple[Violation, ...] = (),
    since: float | None = None,
    request: Request | None = None,
    until: float | None = None,
    bound: bool = False,
) -> NewEvent:
    """Return an event on its way into the store."""
    request = request or Request(path="p", query="q=1", headers=(("x-id", key),), body=body, remote="192.0.2.1")
    digest = sha256(request.body).digest()
    return NewEvent(source, key, type, at, request, digest, digest, "test", violations, since, until, bound)


def invalid(key: str = "k1", **options: Any) -> NewEvent:
    """Return an event that breaks its schema."""
    return event(key, violations=(Violation("/a", "is not text"),), **options)


def refusal(source: str = "acme", *, at: float = 100.0, padding: int = 0) -> Refusal:
    """Return a refusal."""
    return Refusal(source, at, "not_authentic", "mismatch", "d" * padding, "POST", "192.0.2.1", (("a", "b"),), 7)


def held(
    body: bytes = b"{}",
    *,
    source: str = "acme",
    at: float = 100.0,
    seconds: float = 50.0,
    rows: int = 9,
    size: int = 10**6,
    network: str = "",
) -> Refusal:
    """Return a refusal whose request is to be kept: among at most so many rows and bytes, for so many seconds."""
    request = Request("PUT", "p", "q=1", (("x-id", "1"),), body, "192.0.2.1")
    return replace(refusal(source, at=at), held=Held(request, at + seconds, rows, size, at, network))


def acted(store: SqliteStore, kind: ActionKind = "replay", *, at: float = 100.0, **fields: Any) -> int:
    """Begin an action, go its only step, which says this, and return its id."""
    about = {name: fields.pop(name) for name in ("handler", "who", "why") if name in fields}
    number = begun(store, kind, at=at, **about)
    step = ActionStep(action=number, begun=0, ended=1, last=True, number=1, **fields)
    assert store.acting.step(step, at=at, held_until=0.0) is not None
    return number


def begun(
    store: SqliteStore, kind: ActionKind = "replay", *, at: float = 100.0, held_until: float = 0.0, **fields: Any
) -> int:
    """Begin an action on three events and return its id."""
    new = {"who": "ann", "why": "", "selection": "{}", "cursor": 0, "upto": 3, "total": 3} | fields
    return store.acting.begin(NewAction(kind=kind, **new), at=at, held_until=held_until)


def routed(store: "SqliteStore", *names: str, key: str = "k1", at: float = 100.0) -> list[int]:
    """Store an event, route it to handlers that can run, and return the ids of their deliveries."""
    stored = store.inlet.add_event(event(key, at=at))
    return store.work.route(stored.id, dict.fromkeys(names or ("m.f",), True), at)


def claimed(store: "SqliteStore", delivery: int, token: str = "t1", *, at: float = 100.0) -> Claimed:
    """Claim a delivery for 30 s."""
    found = store.work.claim(delivery, token=token, worker="w1", at=at, lease=30.0)
    assert found is not None
    return found


HELD = Claimed(1, "t1", "m.f", 1, 0, 100.0, False, 1, "acme", "order.paid", "k1", 100.0, Request())
"""What a worker holds who claimed delivery 1 with the token t1."""


def handler(name: str, *, failure: str = "") -> HandlerSpec:
    """Return a handler `module.function`, or a module that failed."""
    return HandlerSpec(name, name.partition(".")[0], () if failure else (Handles("acme", "order.*"),), failure)


class Task(Protocol):
    """What runs in another process: opens what it needs, waits for the others, and acts."""

    def __call__(self, folder: Path, number: int, wait: Callable[[], object]) -> Any: ...


def in_threads(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Run the calls at the same moment in threads, and return what they return."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        barrier.wait(20)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def in_processes(count: int, task: Task, folder: Path) -> list[Any]:
    """Run the task at the same moment in so many processes, and return what each returns."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, spawn, _set_barrier, (spawn.Barrier(count),)) as pool:
        return list(pool.map(_run, [task] * count, [folder] * count, range(count)))


def _set_barrier(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _run(task: Task, folder: Path, number: int) -> Any:
    return task(folder, number, lambda: _barrier.wait(20))


_barrier: Any = None
