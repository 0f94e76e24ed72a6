"""A database that this program must not touch: every process refuses to start, in one line, and changes nothing."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from inbox.store.sqlite import open_archive
from tests.acceptance.place import Place


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
    """Make it what the first version wrote."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for column in ("steady_until", "lease", "waits_since"):
            connection.execute(f"ALTER TABLE deliveries DROP COLUMN {column}")
        for trigger in ("events_added", "events_changed", "events_removed"):
            connection.execute(f"DROP TRIGGER {trigger}")
        for index in (
            "attempts_source",
            "events_bodies",
            "events_bodiless",
            "events_stripped",
            "events_kind",
            "events_request",
            "events_subject",
        ):
            connection.execute(f"DROP INDEX {index}")
        connection.execute("CREATE INDEX events_source ON events (source, id)")
        connection.execute("CREATE INDEX events_status ON events (status, id)")
        for column in ("body_pruned_at", "pruned_at", "subject", "erased_at"):
            connection.execute(f"ALTER TABLE events DROP COLUMN {column}")
        for table in (
            "keeps",
            "counts",
            "processes",
            "alarms",
            "alarm_changes",
            "notices",
            "kinds",
            "spans",
            "matches",
            "seal",
            "erasures",
        ):
            connection.execute(f"DROP TABLE {table}")
        for table in ("bodies", "held"):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN seal")
        for table in ("events", "refusals", "held"):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN request_id")
        for column in ("together", "source"):
            connection.execute(f"ALTER TABLE attempts DROP COLUMN {column}")
        connection.execute("DELETE FROM _sqlite_migrations WHERE name > '0002'")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (newer, "the database was written by a newer webhook-inbox (it has z): upgrade the program, or restore"),
        (damaged, "the database is damaged, or not an inbox: "),
        (foreign, "this is another program's database: name a file of its own in inbox.database"),
    ],
)
def test_an_unusable_database_is_refused(place: Place, change: Callable[[Path], None], message: str) -> None:
    """`run`, `serve`, `worker` and the owner's commands: exit code 1, one line, not a byte changed."""
    place.configure()
    open_archive(place.settings.database).close()
    path = place.folder / "inbox.db"
    change(path)
    before = path.read_bytes()
    for command in ("run", "serve", "worker", "events"):
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
