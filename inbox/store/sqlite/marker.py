"""The marker: a small file beside a database that remembers which database was there, and how far it was.

The database has an id and a generation (`PRAGMA user_version`), which grows with each start and every few seconds. The
marker has a generation that was on disk before the marker was written: a lower bound, so that no crash makes a sound
database look old. A database that is missing, empty, another one or older than its marker is not opened.
"""

import json
import os
import time
from pathlib import Path
from tempfile import mkstemp
from typing import NamedTuple

import structlog

from inbox.core.errors import StoreUnavailable, StoreUnusable
from inbox.store.sqlite import files
from inbox.store.sqlite.owner import give_to_owner

log = structlog.get_logger("inbox.store")

APPLICATION_ID = 0x77686978
"""Marks the file as ours ("whix"), https://sqlite.org/pragma.html#pragma_application_id."""

PATIENCE = 2.0
"""Seconds that a process waits for the files of a database that another process has open."""

RESTORE = "put a copy back with `inbox restore COPY`"


class Mark(NamedTuple):
    """What a marker says; one that cannot be read only says that there was a database."""

    database: str
    generation: int


def path_of(database: Path) -> Path:
    """Return the path of the marker; `mv inbox.db* elsewhere` leaves it where it is."""
    return database.with_name(f".{database.name}-marker")


def read(database: Path) -> Mark | None:
    """Return what the marker of a database says, None if there is no marker."""
    try:
        found = json.loads(path_of(database).read_bytes())
        return Mark(str(found["database"]), int(found["generation"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        return Mark("", 0)


def write(database: Path, mark: Mark) -> None:
    """Replace the marker; a disk that does not take it is told in the log, for the older one is right as well."""
    target = path_of(database)
    try:
        file, name = mkstemp(dir=target.parent, prefix=f"{target.name}-")
        try:
            with os.fdopen(file, "w") as made:
                give_to_owner(made.fileno(), database)
                json.dump(mark._asdict(), made)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        log.warning("marker.not_written", file=str(target), error=error.strerror)


def admit(database: Path) -> None:
    """Raise StoreUnusable unless the files of a database belong together and are those that were there before.

    Looks at bytes only, before SQLite opens anything: SQLite would write a foreign log into the database. Raises
    StoreUnavailable while another process has the database open, and its log is missing.
    """
    mark, log_file = read(database), files.beside(database, "-wal")
    if not files.size_of(database):
        what = "is empty" if database.exists() else "is not there"
        if mark is not None:
            raise StoreUnusable(
                f"{database} {what}, and this inbox had a database: {RESTORE}{_first_away(database)}; "
                f"to begin a new inbox, delete {path_of(database)}"
            )
        if files.size_of(log_file):
            raise StoreUnusable(f"{database} {what}, but its log {log_file} lies there: bring the database back")
        return
    if files.size_of(files.beside(database, "-journal")):
        return  # SQLite brings the file in order first
    with files.opened(database) as file:
        used = _complete(database, file)
        known = files.header(os.pread(file, files.HEADER, 0))
    if known is None:
        raise StoreUnusable(
            f"the database is damaged, or not an inbox: {database} does not begin as one does; {RESTORE}"
        )
    if known.application != APPLICATION_ID:
        return  # a new one, keys.db, or another program's, which the schema tells
    if known.generation < 0:
        raise StoreUnusable(
            f"{database} is a copy that `inbox backup` made: move it away{_with_log(database)}, and {RESTORE}"
        )
    if not used:  # who has it open has looked
        _belong(database, known, mark)


def is_ours(database: Path) -> bool:
    """Tell whether a file is the database of an inbox."""
    with files.opened(database) as file:
        found = files.header(os.pread(file, files.HEADER, 0))
    return found is not None and found.application == APPLICATION_ID


def _complete(database: Path, file: int) -> bool:
    """Tell whether another process has the database open. Raises StoreUnavailable if then its log is not there."""
    end = time.monotonic() + PATIENCE
    needed = [files.beside(database, ending) for ending in ("-wal", "-shm")]
    while missing := [path for path in needed if not path.exists()]:
        if not files.in_use(file):
            return False
        if time.monotonic() > end:
            raise StoreUnavailable(
                f"{missing[0]} was deleted, and another process has the database open: that process saves what it can; "
                "end it if this goes on"
            )
        time.sleep(0.01)
    return files.in_use(file)


def _belong(database: Path, known: files.Header, mark: Mark | None) -> None:
    """Raise StoreUnusable if the log is another file's, or both are older than the marker.

    The file has a header that the log brought into it before, or the one on which the log builds.
    """
    log_file = files.beside(database, "-wal")
    for checked in (False, True):
        found = files.headers(log_file, checked=checked)
        fits = (
            not found
            or known.generation in {each.generation for each in found}
            or (known.generation, known.rest) == (found[0].generation - 1, found[0].rest)
        )
        newest = found[-1].generation if found else known.generation
        if fits and (mark is None or newest >= mark.generation):
            return
    if not fits:
        raise StoreUnusable(
            f"{log_file} does not belong to {database}, which was put there from elsewhere: move both away, and "
            f"{RESTORE}"
        )
    raise StoreUnusable(
        f"{database} is older than what this inbox has stored: move it away{_with_log(database)}, and {RESTORE}; to "
        f"go on with it as it is, delete {path_of(database)}"
    )


def _with_log(database: Path) -> str:
    return " with its -wal" if files.size_of(files.beside(database, "-wal")) else ""


def _first_away(database: Path) -> str:
    return " after moving the empty file away" if database.exists() else ""
