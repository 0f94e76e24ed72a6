"""A database that this program must not touch: every process refuses to start, in one line, and changes nothing."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from inbox.store.sqlite import migrations, open_archive
from tests.support.place import Place


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('inbox', 'z', '')")


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 3996 + path.read_bytes()[4096:])


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE events (a)")


def older(path: Path) -> None:
    """Make it what the first version wrote: its own tables, and in them what they can hold of what is there."""
    made = path.with_name("older.db")
    with closing(sqlite3.connect(made)) as connection, connection:
        migrations.migrations.apply(Database(connection), stop_before="0002_steady_leases")
        connection.execute("ATTACH ? AS newer", (str(path),))
        for table in ("events", "bodies"):
            columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA main.table_info({table})"))
            connection.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM newer.{table}")
        connection.commit()
    for name in ("inbox.db-wal", "inbox.db-shm", ".inbox.db-marker"):
        path.with_name(name).unlink(missing_ok=True)
    made.replace(path)


@pytest.mark.parametrize(
    ("change", "commands", "message"),
    [
        (
            newer,
            ("run", "events"),
            "the database was written by a newer webhook-inbox (it has z): upgrade the program, or restore",
        ),
        (damaged, ("run", "serve", "worker", "events"), "the database is damaged, or not an inbox: "),
        (foreign, ("serve", "worker"), "this is another program's database: name a file of its own in inbox.database"),
    ],
)
def test_an_unusable_database_is_refused(
    place: Place, change: Callable[[Path], None], commands: Sequence[str], message: str
) -> None:
    """`run`, `serve`, `worker` and the owner's commands: exit code 1, one line, not a byte changed."""
    place.configure()
    open_archive(place.settings.database).close()
    path = place.folder / "inbox.db"
    change(path)
    before = path.read_bytes()
    for command in commands:
        done = place.inbox(command, ok=False)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line]
        assert (1, 1) == (done.returncode, len(lines)), done.stderr
        assert lines[0].startswith(f"inbox: {message}")
    assert before == path.read_bytes()


def test_an_older_database_is_migrated_with_what_is_in_it(place: Place) -> None:
    """What the first version took in, and did not get to, is worked on by this one."""
    place.configure()
    place.start("serve")
    number = place.send("roomz")[0]["answer"]["id"]
    place.stop()
    older(place.folder / "inbox.db")
    place.start()
    place.until_status(number, "succeeded")
