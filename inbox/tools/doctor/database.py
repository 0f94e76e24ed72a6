"""SQLite and what is in the store: damage, work that nobody does, and growth beyond the disk."""

import os
from collections.abc import Iterator

from inbox.core.config.settings import ServerSettings
from inbox.core.models import iso
from inbox.runtime import Runtime
from inbox.store.sqlite.inspect import Examined, Library
from inbox.tools.doctor.finding import Finding, ok, problem, warning

NEEDED = (3, 37)
"""STRICT tables; RETURNING came with 3.35."""

FORBIDDEN = frozenset(("OMIT_WAL", "THREADSAFE=0", "OMIT_FOREIGN_KEY"))
LATE = 300.0
"""Seconds; the sweep comes every minute."""

DAYS = 30
LOG = 256 * 2**20
"""Bytes; SQLite empties its log from 4 MiB on, unless somebody reads all the time."""

WORKER = "start the worker (`inbox run` or `inbox worker`), or look at its log"


def library(linked: Library) -> Iterator[Finding]:
    """Yield whether this SQLite can do what is needed, and how safe it is."""
    text = f"SQLite {'.'.join(map(str, linked.version))}"
    lacking = sorted(linked.options & FORBIDDEN) + ([] if linked.json else ["no JSON"])
    if linked.version < NEEDED or lacking:
        why = ", ".join(lacking) or f"{'.'.join(map(str, NEEDED))} is needed"
        yield problem("sqlite", f"{text} cannot be used: {why}", "use a Python with a newer or more complete SQLite")
    elif resets_unsafely(linked.version):
        yield warning(
            "sqlite",
            f"{text} has the WAL-reset bug: very rarely, two processes that write at the same moment damage the "
            "database (https://sqlite.org/wal.html#walresetbug)",
            "use SQLite 3.51.3 or newer (or 3.50.7, 3.44.6), unless your distribution repaired this one; keep backups",
        )
    else:
        yield ok("sqlite", text)


def resets_unsafely(version: tuple[int, ...]) -> bool:
    """Tell whether this version has the bug that 3.51.3, 3.50.7 and 3.44.6 repaired."""
    return version < (3, 51, 3) and not (3, 50, 7) <= version < (3, 51) and not (3, 44, 6) <= version < (3, 45)


def look(runtime: Runtime, examined: Examined, now: float) -> Iterator[Finding]:
    """Yield findings about a database."""
    if examined.damage:
        yield problem(
            "database",
            f"it is damaged: {'; '.join(examined.damage[:3])}",
            "stop everything, move it away, `inbox restore` a backup or use `sqlite3 inbox.db .recover`",
        )
        return
    if examined.checked:
        yield ok("database", "no damage found (PRAGMA quick_check)")
    else:
        yield warning(
            "database",
            "it is too large to be searched for damage here",
            f"run `sqlite3 {runtime.settings.database} 'PRAGMA integrity_check'` when there is time",
        )
    if examined.journal != "wal":
        yield problem(
            "database", f"its journal mode is {examined.journal}, not wal", "restart `inbox run`, which sets it"
        )
    yield from backlog(examined, now)
    yield from orphans(runtime)
    yield from pauses(runtime)
    yield from _size(runtime, examined)
    yield from proxies(examined, runtime.settings.server)


def backlog(examined: Examined, now: float) -> Iterator[Finding]:
    """Yield what should have been worked on, and was not."""
    late = False
    for (number, since), what in (
        (examined.unrouted, "events were not routed"),
        (examined.overdue, "deliveries are due"),
        (examined.abandoned, "deliveries were left by a worker that is gone"),
    ):
        if since is not None and now - since > LATE:
            late = True
            yield problem("backlog", f"{number} {what}, the oldest since {iso(since)}", WORKER)
    if not late:
        waiting = examined.unrouted[0] + examined.overdue[0]
        yield ok("backlog", f"{waiting} things to do, none for longer than {LATE / 60:.0f} minutes")
    if examined.dead:
        yield warning(
            "backlog",
            f"{examined.dead} events are dead",
            "`inbox events --status dead` lists them, `inbox replay --status dead` runs them again",
        )


def orphans(runtime: Runtime) -> Iterator[Finding]:
    """Yield handlers that are gone while deliveries wait for them."""
    known = {*runtime.registry.handlers} | {spec.name for spec in runtime.archive.handlers() if spec.failure}
    for name, number in runtime.archive.backlog().items():
        if name not in known:
            yield warning(
                "handlers",
                f"{number} deliveries wait for {name}, which no handler is called any more",
                "put the handler back under this name; the deliveries are kept until then",
            )


def pauses(runtime: Runtime) -> Iterator[Finding]:
    """Yield what somebody paused: no alarm tells of what waits for it."""
    for row in runtime.acting.pauses():
        if row["ended_at"] is None:
            yield warning(
                "backlog",
                f"the {row['kind']} {row['name']} is paused since {iso(row['at'])} by {row['who']}; "
                f"{row['waiting']} deliveries wait",
                f"`inbox resume {row['kind']} {row['name']}`",
            )


def _size(runtime: Runtime, examined: Examined) -> Iterator[Finding]:
    database = runtime.settings.database
    log = database.with_name(f"{database.name}-wal")
    if log.exists() and log.stat().st_size > LOG:
        yield warning(
            "database",
            f"its log has {log.stat().st_size / 2**20:,.0f} MiB: a program reads the database without ever stopping",
            f"end the program that keeps {database} open (lsof shows it)",
        )
    limit = runtime.settings.inbox.max_store_bytes
    if limit and database.stat().st_size > 0.9 * limit:
        text = f"it has {database.stat().st_size / limit:.0%} of max_store_bytes; at 100 % events get 503"
        yield warning("database", text, "raise max_store_bytes, or remove old events")
    disk = os.statvfs(database.parent)
    free = disk.f_bavail * disk.f_frsize
    if examined.growth and free / examined.growth < DAYS * 86400:
        days = free / examined.growth / 86400
        text = f"at the rate of the latest events the disk is full in {days:.1f} days"
        yield warning("space", text, "free space, or move the database to a larger disk")


def proxies(examined: Examined, settings: ServerSettings) -> Iterator[Finding]:
    """Yield whether requests come through a proxy that the settings do not know."""
    if examined.forwarded and not settings.trusted_proxies:
        yield warning(
            "address",
            "requests come through a proxy (X-Forwarded-For), but trusted_proxies is 0: of each request the proxy's "
            "address is kept",
            "set server.trusted_proxies to the number of your proxies",
        )
