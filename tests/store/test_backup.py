"""A copy of a database that is in use is whole, is checked, and goes back only where nothing is and nobody works."""

import shutil
import sqlite3
import stat
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from inbox.core.errors import InboxError, InTheWay, StoreUnavailable, StoreUnusable
from inbox.store import sqlite
from inbox.store.sqlite import back_up, migrations, restore
from tests.store.test_sqlite_schema import run
from tests.support.stores import SqliteStore, claimed, event, held, refusal, routed

MIB = 1 << 20


def quiet(what: str, done: int, total: int) -> None:
    """Show nothing."""


@pytest.fixture
def copy(store: SqliteStore, tmp_path: Path) -> Path:
    """Return the path for a copy of a store that has something of everything, with bodies of more than one step."""
    for number in range(3):
        store.inlet.add_event(event(f"e{number}", b"%d" % number * 900_000))
    store.inlet.add_event(event("e0", b"other"))
    store.inlet.add_refusal(refusal())
    store.inlet.add_refusal(held())
    claimed(store, routed(store, key="ran")[0])
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies" / "copy.db"


def there(path: Path) -> list[str]:
    """Return the names of what is in the copy's folder."""
    return sorted(found.name for found in path.parent.iterdir())


def test_copy_is_the_database(store: SqliteStore, copy: Path) -> None:
    """Row by row; one file, for its owner only, that needs no log beside it; the numbers are those of the database."""
    found = back_up(store.path, copy, tell=quiet)
    connection = sqlite3.connect(copy)
    assert store.dump() == list(connection.iterdump())
    assert [("delete",)] == connection.execute("PRAGMA journal_mode").fetchall()
    connection.close()
    assert (["copy.db"], 0o600) == (there(copy), stat.S_IMODE(copy.stat().st_mode))
    assert (5, 5, 2, 1, 1) == tuple(found.rows[name] for name in ("events", "bodies", "refusals", "held", "attempts"))
    assert ((run(store.path, "SELECT max(id) FROM events")[0][0], 100.0), copy.stat().st_size) == (
        found.newest,
        found.size,
    )


def test_commits_do_not_make_it_begin_again(store: SqliteStore, copy: Path) -> None:
    """One between any two steps: the copy ends, and has what was there when it began."""
    store.inlet.add_event(event("last before"))
    done: list[int] = []

    def write(what: str, copied: int, total: int) -> None:
        if what == "copying":
            done.append(copied)
            assert len(done) < 50, "it begins again and again"
            store.inlet.add_event(event(f"later {copied}", b"x" * 5000))

    found = back_up(store.path, copy, tell=write)
    keys = [key for (key,) in run(copy, "SELECT key FROM events ORDER BY id")]
    assert (True, sorted(done), "last before", 6) == (len(done) > 2, done, keys[-1], found.rows["events"])


@pytest.mark.parametrize("force", [False, True])
def test_what_is_there_stays_unless_told(store: SqliteStore, copy: Path, force: bool) -> None:
    """A copy replaces a file only with --force; never the database, nor a database whose log lies there."""
    copy.write_text("mine")
    if force:
        back_up(store.path, copy, tell=quiet, force=True)
        assert [(5,)] == run(copy, "SELECT count(*) FROM events")
    else:
        with pytest.raises(InTheWay, match=r"copy.db exists: choose another name, or use --force"):
            back_up(store.path, copy, tell=quiet)
        assert "mine" == copy.read_text()
    with pytest.raises(InTheWay, match="is the database itself"):
        back_up(store.path, store.path, tell=quiet, force=force)
    other = copy.with_name("other.db")
    other.with_name("other.db-wal").touch()
    with pytest.raises(InTheWay, match=r"other\.db-wal belongs to another database"):
        back_up(store.path, other, tell=quiet, force=force)
    assert ["copy.db", "other.db-wal"] == there(copy)


@pytest.mark.parametrize("stage", ["copying", "checking", "reading"])
def test_interrupted_copy_leaves_nothing(store: SqliteStore, copy: Path, stage: str) -> None:
    """As Ctrl-C does; what is there already, too."""

    def interrupt(what: str, done: int, total: int) -> None:
        if what == stage:
            raise KeyboardInterrupt

    copy.write_text("the last one")
    with pytest.raises(KeyboardInterrupt):
        back_up(store.path, copy, tell=interrupt, force=True)
    assert (["copy.db"], "the last one") == (there(copy), copy.read_text())


def test_no_room_is_said_before_anything_is_written(store: SqliteStore, copy: Path) -> None:
    """What the inbox keeps free for its own work is not taken by a copy of it; a folder that is not there is named."""
    with pytest.raises(StoreUnavailable, match=r"has no room for \d+ bytes and 1125899906842624 that stay free"):
        back_up(store.path, copy, tell=quiet, reserved=2**50)
    with pytest.raises(StoreUnavailable, match="missing cannot be written to: No such file"):
        back_up(store.path, copy.parent / "missing" / "copy.db", tell=quiet)
    with pytest.raises(StoreUnavailable, match="there is no database at"):
        back_up(copy.parent / "nothing.db", copy, tell=quiet)
    with store.no_writing(after=100_000), pytest.raises(StoreUnavailable):
        back_up(store.path, copy, tell=quiet)
    assert [] == there(copy)


DAMAGE = {
    "a body": ("UPDATE bodies SET body = x'00' WHERE event_id = 2", "the body of event 2 is not the one"),
    "no body": ("DELETE FROM bodies WHERE event_id = 1", "1 events of the copy have no body"),
    "an orphan": ("DELETE FROM deliveries", "a row of attempts .1. without its row of deliveries"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found(store: SqliteStore, copy: Path, what: str, tmp_path: Path) -> None:
    """In what is copied, and in what is put back: nothing appears, and the message names it."""
    statement, message = DAMAGE[what]
    back_up(store.path, copy, tell=quiet)
    for path in (store.path, copy):
        run(path, statement)
    with pytest.raises(StoreUnusable, match=message):
        back_up(store.path, copy.with_name("new.db"), tell=quiet)
    with pytest.raises(StoreUnusable, match=message):
        restore(copy, tmp_path / "new.db", at=200.0, tell=quiet)
    assert (["copy.db"], False) == (there(copy), (tmp_path / "new.db").exists())


def test_flipped_bytes_are_found(store: SqliteStore, copy: Path, tmp_path: Path) -> None:
    """In the middle of bodies, where SQLite does not look: one byte of every hundredth page, one at a time."""
    back_up(store.path, copy, tell=quiet)
    good, missed = copy.read_bytes(), []
    for place in range(410_200, len(good), 409_600):
        copy.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        try:
            restore(copy, tmp_path / f"{place}.db", at=200.0, tell=quiet)
            missed.append(place)
        except InboxError:
            pass
    assert [] == missed
    assert [] == list(tmp_path.glob("[0-9]*.db"))


def test_bodies_are_read_one_at_a_time(store: SqliteStore, tmp_path: Path) -> None:
    """24 MiB of bodies, one of 4 MiB, in at most thrice the memory of that one."""
    for number in range(20):
        store.inlet.add_event(event(f"e{number}", b"%2d" % number * (MIB // 2)))
    store.inlet.add_event(event("large", b"l" * 4 * MIB))
    tracemalloc.start()
    back_up(store.path, tmp_path / "copy.db", tell=quiet)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * MIB


def test_restored_database_is_the_copy_and_what_ran_waits(store: SqliteStore, copy: Path, tmp_path: Path) -> None:
    """At once, without counting as a crash: whoever ran it is gone, and its lease was another machine's."""
    claimed(store, routed(store, key="runs")[0], "t2", at=1e9)
    back_up(store.path, copy, tell=quiet)
    restored = SqliteStore(tmp_path / "other")
    restored.folder.mkdir()
    found = restore(copy, restored.path, at=200.0, tell=quiet)
    assert (6, ["copy.db"]) == (found.rows["events"], there(copy))
    assert [(1, 200.0), (2, 200.0)] == restored.work.waiting(200.0, 9, 5.0)
    again = claimed(restored, 2, "t3", at=200.0)
    assert (2, 0) == (again.attempt, again.crashes)
    runs = [run["result"] for run in restored.archive.event(again.event_id)["deliveries"][0]["runs"]]
    assert ["interrupted", "running"] == runs
    assert 0o600 == stat.S_IMODE(restored.path.stat().st_mode)
    restored.close()


@pytest.mark.parametrize("ending", ["", "-wal", "-journal"])
def test_restore_overwrites_nothing(store: SqliteStore, copy: Path, tmp_path: Path, ending: str) -> None:
    """Neither a database nor the log of one, which SQLite would play into the restored file."""
    back_up(store.path, copy, tell=quiet)
    target = tmp_path / "there.db"
    there_already = tmp_path / f"there.db{ending}"
    there_already.write_text("mine")
    with pytest.raises(InTheWay, match=f"there.db{ending} .*: move it away first, with its -wal"):
        restore(copy, target, at=200.0, tell=quiet)
    assert ("mine", bool(not ending)) == (there_already.read_text(), target.exists())


def test_restore_and_work_exclude_each_other(store: SqliteStore, copy: Path, tmp_path: Path) -> None:
    """Whoever works on the database, though its file was moved away, keeps it from being replaced; and the reverse."""
    back_up(store.path, copy, tell=quiet)
    target = tmp_path / "new.db"
    first, second = sqlite.InstanceLock(target), sqlite.InstanceLock(target)
    for someone in (first, second):
        with pytest.raises(InTheWay, match=r"a receiver or worker of new\.db is running: stop it first"):
            restore(copy, target, at=200.0, tell=quiet)
        for path in target.parent.glob("new.db*"):
            path.unlink()
        someone.close()
    refused: list[str] = []

    def work(*_: Any) -> None:
        with pytest.raises(InTheWay) as error:
            sqlite.InstanceLock(target)
        refused.append(str(error.value))

    restore(copy, target, at=200.0, tell=work)
    assert {"new.db is being restored: start when that is done"} == set(refused)
    sqlite.InstanceLock(target).close()


def test_strange_files_are_not_restored(store: SqliteStore, copy: Path, tmp_path: Path) -> None:
    """Text, another program's database, one of a newer inbox: each is named for what it is."""
    back_up(store.path, copy, tell=quiet)
    run(copy, "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('inbox', '0099_later', '')")
    text, other = tmp_path / "text.db", tmp_path / "other.db"
    text.write_text("no database at all " * 500)
    run(other, "CREATE TABLE a (b)")
    for file, message in (
        (text, "damaged, or not an inbox"),
        (other, "this is not the database of an inbox"),
        (copy, r"a newer webhook-inbox \(it has 0099_later\): upgrade the program"),
        (tmp_path / "gone.db", "there is no file"),
    ):
        with pytest.raises(InboxError, match=message):
            restore(file, tmp_path / "new.db", at=200.0, tell=quiet)
    with pytest.raises(StoreUnavailable, match="the folder of the database does not exist"):
        restore(copy, tmp_path / "missing" / "new.db", at=200.0, tell=quiet)
    assert not (tmp_path / "new.db").exists()


def test_copy_of_an_older_program_is_brought_up_to_date(tmp_path: Path) -> None:
    """Its tables are migrated when it is restored, and it can be used."""
    old = tmp_path / "old.db"
    migrations.migrations.apply(Database(connection := sqlite3.connect(old)), stop_before="0002_steady_leases")
    connection.close()
    restored = SqliteStore(tmp_path / "other")
    restored.folder.mkdir()
    restore(old, restored.path, at=200.0, tell=quiet)
    assert [(len(migrations.KNOWN),)] == run(restored.path, "SELECT count(*) FROM _sqlite_migrations")
    assert "accepted" == restored.inlet.add_event(event()).outcome
    restored.close()


def test_snapshot_of_the_files_is_restored_with_its_log(store: SqliteStore, tmp_path: Path) -> None:
    """As a file system makes one: what is only in the -wal belongs to it."""
    store.inlet.add_event(event("in the log"))
    taken = tmp_path / "taken.db"
    for ending in ("", "-wal"):
        shutil.copyfile(f"{store.path}{ending}", f"{taken}{ending}")
    restored = tmp_path / "restored.db"
    restore(taken, restored, at=200.0, tell=quiet)
    assert [("in the log",)] == run(restored, "SELECT key FROM events")
