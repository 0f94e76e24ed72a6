"""Looks at a database without changing it: SQLite itself, damage, and what waits in it. For the doctor."""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from inbox.core.elapsed import Passed
from inbox.core.errors import StoreChanged, StoreUnavailable, StoreUnusable
from inbox.store.sql.elapsed import passed
from inbox.store.sqlite import registry
from inbox.store.sqlite.connection import translated
from inbox.store.sqlite.marker import admit

_DUE = "FROM deliveries WHERE status IN ('pending', 'retrying') AND paused_by IS NULL"
# A lease runs out by the steady clock, as in work.py; one from before the machine's start by the time for people.
_ABANDONED = """
SELECT count(*), min(CASE WHEN steady_until <= :steady THEN :now - (:steady - steady_until)
                          ELSE min(lease_until, :now) END) FROM deliveries
WHERE status = 'running' AND (steady_until <= :steady OR steady_until - lease > :steady + 60.0)
"""
_UNROUTED = "FROM events WHERE status = 'received'"
# The newest of each kind, each by its index or the end of its table.
_NEWEST = """
SELECT max(at) FROM (
    SELECT max(received_at) AS at FROM (SELECT received_at FROM events ORDER BY id DESC LIMIT 1000)
    UNION ALL SELECT max(started_at) FROM (SELECT started_at FROM attempts ORDER BY id DESC LIMIT 1000)
    UNION ALL SELECT max(loaded_at) FROM handlers
)
"""
_GROWTH = """
SELECT sum(size), max(received_at) - min(received_at) FROM (
    SELECT size, received_at FROM events ORDER BY id DESC LIMIT 10000
)
"""
_FORWARDED = """
SELECT count(*) FROM (SELECT headers FROM bodies ORDER BY event_id DESC LIMIT 50)
WHERE headers LIKE '%"x-forwarded-for"%'
"""


# Virtual tables have their content in others.
_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"


@dataclass(frozen=True, slots=True)
class Library:
    """The SQLite that this Python uses."""

    version: tuple[int, ...]
    options: frozenset[str]
    json: bool

    @classmethod
    def linked(cls) -> Self:
        """Return the one that is linked."""
        connection = sqlite3.connect(":memory:")
        try:
            options = frozenset(row[0] for row in connection.execute("PRAGMA compile_options"))
            try:
                connection.execute("SELECT value FROM json_each('[1]')")
            except sqlite3.OperationalError:
                return cls(sqlite3.sqlite_version_info, options, json=False)
            return cls(sqlite3.sqlite_version_info, options, json=True)
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class Examined:
    """What is in a database.

    damage     what `PRAGMA quick_check` says, empty if nothing; `checked` is False if there was no time to end it
    newest     the latest time that anything was written down with, None if nothing was
    unrouted, overdue, abandoned   how many there are, and since when the oldest waits: events that nobody routed,
               deliveries that could run, and deliveries whose worker is gone
    growth     bytes of bodies per second over the latest events, 0 if there are too few to tell
    forwarded  whether requests came through a proxy
    passed     what is known of the time that has passed, None before the first look at the clocks
    """

    journal: str
    damage: list[str] = field(default_factory=list)
    checked: bool = True
    newest: float | None = None
    unrouted: tuple[int, float | None] = (0, None)
    overdue: tuple[int, float | None] = (0, None)
    abandoned: tuple[int, float | None] = (0, None)
    dead: int = 0
    growth: float = 0.0
    forwarded: bool = False
    passed: Passed | None = None


def examine(path: Path, *, now: float, steady: float, seconds: float = 5.0) -> Examined:
    """Return what is in the database at this time, also on the steady clock; damage is searched for so many seconds.

    Raises StoreUnavailable and StoreUnusable.
    """
    with translated(), _reading(path) as connection:
        damage, checked = _check(connection, seconds)
        return Examined(
            _one(connection, "PRAGMA journal_mode"),
            damage,
            checked,
            **_contents(connection, now, steady) if not damage else {},
        )


def look_for_damage(path: Path, seconds: float) -> bool:
    """Tell whether there was time to look for damage everywhere. Raises StoreUnusable if there is any.

    Writes nothing. Raises StoreUnavailable.
    """
    with translated(), _reading(path) as connection:
        damage, checked = _check(connection, seconds)
    if damage:
        raise damaged(path, damage)
    return checked


def inspect(path: Path, seconds: float) -> Iterator[tuple[str, float, bool]]:
    """Yield each table, how many seconds a look for damage in it took, and whether there was time to end it.

    Each has so many seconds, and a snapshot of its own: SQLite cannot empty its log while somebody looks. Raises
    StoreUnusable if there is damage, and StoreUnavailable.
    """
    with translated(), _reading(path) as connection:
        names = [row[0] for row in connection.execute(_TABLES)]
    for name in names:
        began = time.monotonic()
        with translated(), _reading(path) as connection:
            damage, checked = _check(connection, seconds, name)
        if damage:
            raise damaged(path, damage)
        yield name, time.monotonic() - began, checked


def damaged(path: Path, damage: Sequence[str]) -> StoreUnusable:
    """Return the error that says what is wrong with a database, and what to do."""
    found = "; ".join(" ".join(each.split()) for each in damage[:3])
    return StoreUnusable(
        f"the database is damaged, or not an inbox: {path} ({found}): stop everything, move it away with its -wal, and "
        "put a copy back with `inbox restore COPY`"
    )


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the database for reading, after the look at its files that every connection begins with.

    SQLite would make a log that was deleted anew, and the process that could save it would take it for another's.
    Raises StoreUnavailable if the files changed while this process has them open.
    """
    known = registry.files_of(path)
    try:
        known.enter(admit)
    except StoreChanged as error:
        raise StoreUnavailable(str(error)) from None
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        before = known.log()
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0)) as connection:
            connection.execute("PRAGMA schema_version")  # opens the log
            if known.give_up_log(before):
                raise StoreUnavailable(f"the log of {path} was deleted while this process opened it")
            yield connection
    finally:
        known.leave()


def _check(connection: sqlite3.Connection, seconds: float, table: str = "") -> tuple[list[str], bool]:
    """Return what is damaged, in one table or all, and whether there was time to look everywhere."""
    if seconds <= 0:
        return [], False
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, 100_000)
    timer = threading.Timer(seconds, connection.interrupt)  # older versions of SQLite do not ask in the midst of it
    timer.start()
    try:
        found = [str(row[0]) for row in connection.execute(f"PRAGMA quick_check({_quoted(table) or 10})")]
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in (sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_CORRUPT):
            raise
        return ([str(error)], True) if code == sqlite3.SQLITE_CORRUPT else ([], False)
    finally:
        timer.cancel()
        timer.join()
        connection.set_progress_handler(None, 0)
    return ([] if found == ["ok"] else found), True


def _quoted(name: str) -> str:
    return f"'{name}'" if name else ""


def _contents(connection: sqlite3.Connection, now: float, steady: float) -> dict[str, Any]:
    size, span = connection.execute(_GROWTH).fetchone()
    return {
        "newest": _one(connection, _NEWEST),
        "unrouted": tuple(connection.execute(f"SELECT count(*), min(received_at) {_UNROUTED}").fetchone()),
        "overdue": tuple(connection.execute(f"SELECT count(*), min(due_at) {_DUE} AND due_at < ?", (now,)).fetchone()),
        "abandoned": tuple(connection.execute(_ABANDONED, {"now": now, "steady": steady}).fetchone()),
        "dead": _one(connection, "SELECT coalesce(sum(events), 0) FROM kinds WHERE status = 'dead'"),
        "growth": size / span if span and span > 3600 else 0.0,
        "forwarded": bool(_one(connection, _FORWARDED)),
        "passed": _passed(connection),
    }


def _passed(connection: sqlite3.Connection) -> Passed | None:
    connection.row_factory = sqlite3.Row
    return passed(connection)


def _one(connection: sqlite3.Connection, sql: str) -> Any:
    return connection.execute(sql).fetchone()[0]
