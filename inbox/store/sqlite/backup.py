"""A database → a copy that was read from end to end, and back. Neither ever overwrites what it was not told to.

The copy is made inside one read transaction: it is the database as it was at one moment, and no commit of another
process makes SQLite begin again, as it does otherwise (https://sqlite.org/c3ref/backup_finish.html). Readers block
nobody.
"""

import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from inbox.core.errors import Erased, InTheWay, KeyMissing, StoreUnavailable, StoreUnusable, Unreadable
from inbox.store.sealing.sealer import UNSEALED, Sealer
from inbox.store.sqlite import identity, marker
from inbox.store.sqlite.connection import Connection, translated
from inbox.store.sqlite.instance_lock import alone
from inbox.store.sqlite.marker import APPLICATION_ID
from inbox.store.sqlite.migrations import KNOWN, migrate
from inbox.store.sqlite.placement import BESIDE, named_when_done, refuse_to_overwrite
from inbox.verify.event_key import content_digest

Tell = Callable[[str, int, int], None]
"""Is told what is going on, how much of it is done, and of how much; 0 is not known."""

_STEP = 256
"""Pages that are copied at once."""

_SYNC = 16
"""Steps after which what was copied is written to the disk: one fsync of all of it would stall the receiver's."""

_BODIES = """
SELECT events.id, source, key, content_digest, method, path, query, headers, remote, body, {seal} AS seal
FROM bodies JOIN events ON events.id = event_id ORDER BY event_id
"""
_BODILESS = "SELECT count(*) FROM events WHERE {which} id NOT IN (SELECT event_id FROM bodies)"
# Without virtual ones, which cannot be counted where SQLite lacks their module; what they hold is in other tables.
_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
# What ran when the copy was made runs nowhere now; it did not crash either. The lease was measured by a clock that may
# have been another machine's.
_WAIT_AGAIN = """
UPDATE deliveries SET status = 'pending', token = NULL, worker = NULL, lease_until = NULL, steady_until = 0, lease = 0,
                      due_at = :at, waits_since = :at
WHERE status = 'running'
"""
_END_ATTEMPTS = """
UPDATE attempts SET result = 'interrupted', finished_at = :at, error = 'the database was restored from a copy'
WHERE result = 'running'
"""


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a copy: rows by table, the newest event's id and time of receipt, and the size in bytes.

    `unopened` is how many sealed bodies were not read, because there is no key for them; `plain` how many are not
    sealed.
    """

    rows: Mapping[str, int]
    newest: tuple[int, float] | None
    size: int
    unopened: int = 0
    plain: int = 0


def back_up(
    database: Path, target: Path, *, tell: Tell, force: bool = False, reserved: int = 0, sealer: Sealer = UNSEALED
) -> Contents:
    """Copy a database that may be in use to `target`, which appears, readable by its owner only, when it was verified.

    `reserved` bytes stay free where the database is. Raises InTheWay, StoreUnusable and StoreUnavailable.
    """
    if not database.exists():
        raise StoreUnavailable(f"there is no database at {database}")
    marker.admit(database)
    if target.exists() and target.samefile(database):
        raise InTheWay(f"{target} is the database itself")
    refuse_to_overwrite(target, *(BESIDE if force else ("", *BESIDE)), hint="choose another name, or use --force")
    with named_when_done(target, replace=force) as made:
        here = made.stat().st_dev == database.stat().st_dev
        found = _copy(_reading(database), made, tell, spare=reserved if here else 0, number=_of_a_copy)
        found = _verify(made, found, tell, sealer)
    return found


def restore(source: Path, database: Path, *, at: float, tell: Tell, sealer: Sealer = UNSEALED) -> Contents:
    """Put a verified copy of `source` in the place of a database that is not there; what ran in it waits again.

    Raises InTheWay if there is a database, or somebody works on it, StoreUnusable and StoreUnavailable.
    """
    if not database.parent.is_dir():
        raise StoreUnavailable(f"the folder of the database does not exist: {database.parent}")
    with alone(database):
        refuse_to_overwrite(database, "", *BESIDE, hint="move it away first, with its -wal")
        with named_when_done(database, replace=False) as made:
            known = marker.read(database)
            found = _copy(
                *(_reading(source, at_rest=not source.with_name(f"{source.name}-wal").exists()), made, tell),
                number=lambda generation: max(abs(generation), known.generation if known is not None else 0) + 1,
            )
            found = _verify(made, found, tell, sealer, older=True)
        if found.plain and sealer.only:  # it is from before everything was sealed
            sealer.keep_only(False)
        _let_wait(database, at)
    return found


def _of_a_copy(generation: int) -> int:
    return -max(1, abs(generation))


def _copy(
    source: sqlite3.Connection, made: Path, tell: Tell, *, number: Callable[[int], int], spare: int = 0
) -> Contents:
    """Copy the database page by page into an empty file and return what was in it at that moment.

    `number` makes the generation of the copy from the one that it was made from.
    """
    with translated(), closing(source) as origin, closing(_empty(made)) as copy, made.open("rb+") as file:
        origin.execute("BEGIN")
        _recognise(origin)
        found = _contents(origin)
        free = os.statvfs(made.parent)
        if free.f_bavail * free.f_frsize < found.size + spare:
            raise StoreUnavailable(f"{made.parent} has no room for {found.size} bytes and {spare} that stay free")

        def go_on(status: int, remaining: int, total: int) -> None:
            done = total - remaining
            if done % (_STEP * _SYNC) < _STEP:
                os.fsync(file.fileno())
            tell("copying", done, total)

        origin.backup(copy, pages=_STEP, progress=go_on)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file that needs no other, also where nothing can be written
        ((generation,),) = copy.execute("PRAGMA user_version")
        copy.execute(f"PRAGMA user_version = {number(generation)}")
    return found


def _verify(made: Path, expected: Contents, tell: Tell, sealer: Sealer, *, older: bool = False) -> Contents:
    """Read everything in the copy, and count the bodies that there is no key for. Raises StoreUnusable.

    One that may be `older` can be from before everything was sealed, unless it says otherwise.
    """
    unopened = plain = 0
    with translated(), closing(_reading(made, at_rest=True)) as copy:
        tell("checking", 0, 0)
        damage = [str(row[0]) for row in copy.execute("PRAGMA integrity_check(3)")]
        if damage != ["ok"]:
            raise StoreUnusable(f"the copy is damaged: {'; '.join(damage)}")
        if (orphan := copy.execute("PRAGMA foreign_key_check").fetchone()) is not None:
            raise StoreUnusable(f"the copy has a row of {orphan[0]} ({orphan[1]}) without its row of {orphan[2]}")
        if _contents(copy) != expected:
            raise StoreUnusable(f"the copy has not what the database had: {_contents(copy)} instead of {expected}")
        columns = {row["name"] for row in copy.execute("PRAGMA table_info(events)")}
        which = "body_pruned_at IS NULL AND" if "body_pruned_at" in columns else ""
        if missing := copy.execute(_BODILESS.format(which=which)).fetchone()[0]:
            raise StoreUnusable(f"{missing} events of the copy have no body")
        seal = "seal" if any(row["name"] == "seal" for row in copy.execute("PRAGMA table_info(bodies)")) else "NULL"
        may = older and not _sealed_only(copy)
        for number, row in enumerate(copy.execute(_BODIES.format(seal=seal))):
            unopened += not _opens(row, sealer, plain=may)
            plain += row["seal"] is None
            if number % 256 == 0:
                tell("reading", number, expected.rows["bodies"])
    return replace(expected, unopened=unopened, plain=plain)


def _sealed_only(copy: sqlite3.Connection) -> bool:
    known = any(row["name"] == "sealed_only" for row in copy.execute("PRAGMA table_info(seal)"))
    return known and copy.execute("SELECT 1 FROM seal WHERE sealed_only").fetchone() is not None


def _opens(row: sqlite3.Row, sealer: Sealer, *, plain: bool) -> bool:
    """Tell whether there is a key for a body. Raises StoreUnusable if it is not the one that was received."""
    try:
        whole = content_digest(sealer.open(row["id"], row, plain=plain)) == bytes(row["content_digest"])
    except Erased:
        return True
    except KeyMissing:
        return False
    except Unreadable as error:
        raise StoreUnusable(str(error)) from None
    if not whole:
        raise StoreUnusable(f"the body of event {row['id']} is not the one that was received")
    return True


def _let_wait(database: Path, at: float) -> None:
    """Let what ran wait. Atomic: one transaction."""
    with closing(Connection(database, durable=True)) as connection:
        migrate(connection)
        marker.write(database, identity.current(connection))
        with connection.write() as raw:
            raw.execute(_WAIT_AGAIN, {"at": at})
            raw.execute(_END_ATTEMPTS, {"at": at})


def _recognise(connection: sqlite3.Connection) -> None:
    """Raise StoreUnusable unless this is the database of an inbox that this program knows."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreUnusable("this is not the database of an inbox")
    rows = connection.execute("SELECT name FROM _sqlite_migrations WHERE migration_set = 'inbox'")
    newer = [row["name"] for row in rows if row["name"] not in KNOWN]
    if newer:
        raise StoreUnusable(f"it was written by a newer webhook-inbox (it has {', '.join(newer)}): upgrade the program")


def _contents(connection: sqlite3.Connection) -> Contents:
    tables = connection.execute(_TABLES).fetchall()
    rows = {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in tables}
    newest = connection.execute("SELECT id, received_at FROM events ORDER BY id DESC LIMIT 1").fetchone()
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return Contents(rows, tuple(newest) if newest is not None else None, pages * size)


def _reading(path: Path, *, at_rest: bool = False) -> sqlite3.Connection:
    """Open a database for reading; where one is at rest nothing is made beside it."""
    if not path.is_file():
        raise StoreUnavailable(f"there is no file {path}")
    how = "mode=ro&immutable=1" if at_rest else "mode=ro"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None, timeout=5.0)
    connection.row_factory = sqlite3.Row
    return connection


def _empty(path: Path) -> sqlite3.Connection:
    """Open a file that is worth nothing until all of it is written."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    return connection
