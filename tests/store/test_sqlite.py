"""What only the SQLite store promises: pragmas, what survives, forks, and files that are moved or locked by others."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from inbox.core.errors import StoreUnavailable, StoreUnusable
from inbox.store import sqlite
from inbox.store.protocols import Filter
from inbox.store.protocols_routing import Worker
from inbox.store.sqlite import marker
from inbox.store.sqlite.connection import Connection
from tests.support.needs import strace
from tests.support.stores import PROJECT, SqliteStore, connection_of, event, refusal, routed

FULL, NORMAL = 2, 1


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    """A store of which the test closes what it opens."""
    return SqliteStore(tmp_path)


def pragma(role: object, name: str) -> object:
    """Return the value of a pragma of a role's connection."""
    return connection_of(role).rows(f"PRAGMA {name}")[0][0]


def in_fork(call: Callable[[], object]) -> int:
    """Start the call in a forked child, and return the child's id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            call()
            code = 0
        finally:
            os._exit(code)
    return child


def exit_code(child: int) -> int:
    """Wait for the child."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_what_is_acknowledged_waits_for_the_disk(store: SqliteStore) -> None:
    """Inlet and archive commit with synchronous=FULL, the worker with NORMAL; all in WAL, with foreign keys."""
    roles = (store.inlet, store.work, store.archive)
    assert [FULL, NORMAL, FULL] == [pragma(role, "synchronous") for role in roles]
    assert [("wal", 1)] * 3 == [(pragma(role, "journal_mode"), pragma(role, "foreign_keys")) for role in roles]
    store.close()


def test_pragmas_hold_after_reopening(store: SqliteStore) -> None:
    """A connection that was closed opens again by itself, as it was."""
    store.inlet.close()
    assert (FULL, "wal", 1) == tuple(
        pragma(store.inlet, name) for name in ("synchronous", "journal_mode", "foreign_keys")
    )
    store.close()


def test_event_is_in_the_files_when_it_is_accepted(store: SqliteStore, tmp_path: Path) -> None:
    """A copy of the files, taken at once while everything is open, has the event and its body."""
    new = event(body=b"x" * 10_000)
    stored = store.inlet.add_event(new)
    (tmp_path / "copy").mkdir()
    for name in ("inbox.db", "inbox.db-wal"):
        shutil.copy(tmp_path / name, tmp_path / "copy" / name)
    copy = SqliteStore(tmp_path / "copy")
    assert new.request == copy.archive.request(stored.id)
    assert [stored.id] == copy.work.unrouted(10)
    copy.close()
    store.close()


_TRACED = """
import os, sys
from pathlib import Path
from tests.support.stores import SqliteStore, event, routed
store = SqliteStore(Path(sys.argv[1]))
store.inlet.add_event(event("first"))
os.write(1, b"begin")
store.inlet.add_event(event("second"))
os.write(1, b"end")
store.close()
"""


def test_event_is_synced_before_it_is_accepted(tmp_path: Path) -> None:
    """Between asking and answering, the write-ahead log is written and then synced."""
    log = tmp_path / "calls"
    command = [strace(), "-f", "-y", "-e", "trace=write,pwrite64,fsync,fdatasync", "-o", str(log)]
    done = subprocess.run(
        [*command, sys.executable, "-c", _TRACED, str(tmp_path)], cwd=PROJECT, capture_output=True, text=True
    )
    assert "beginend" == done.stdout, done.stderr
    calls = log.read_text().partition('"begin"')[2].partition('"end"')[0].splitlines()
    on_log = [call.split("(")[0].split()[-1] for call in calls if "inbox.db-wal" in call]
    assert "pwrite64" in on_log
    assert on_log[-1] in ("fdatasync", "fsync")


def test_child_writes_what_is_kept_after_its_parent_closes(store: SqliteStore) -> None:
    """A forked child has a connection of its own: what it is told is accepted outlives the parent's connection."""
    store.inlet.add_event(event("parent"))
    begin, end = os.pipe()

    def child() -> None:
        assert "accepted" == store.inlet.add_event(event("child 1")).outcome
        os.read(begin, 1)
        assert "accepted" == store.inlet.add_event(event("child 2")).outcome

    process = in_fork(child)
    other = SqliteStore(store.folder)
    while other.archive.count(Filter()) < 2:
        pass
    other.close()
    store.close()
    os.write(end, b"x")
    assert 0 == exit_code(process)
    os.close(begin)
    os.close(end)
    assert ["child 2", "child 1", "parent"] == [row["key"] for row in other.archive.events(Filter(), 10)]
    other.close()


def test_fork_leaves_the_parent_working(store: SqliteStore) -> None:
    """The parent's roles go on, and the child's end changes nothing for them."""
    store.inlet.add_event(event("before"))
    routed(store, key="routed")
    child = in_fork(lambda: store.archive.count(Filter()))
    assert "accepted" == store.inlet.add_event(event("while")).outcome
    assert 0 == exit_code(child)
    assert "accepted" == store.inlet.add_event(event("after")).outcome
    assert (4, 3) == (store.archive.count(Filter()), len(store.work.unrouted(10)))
    store.close()


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_fork_waits_for_a_write_in_another_thread(store: SqliteStore) -> None:
    """The transaction ends first, so that the child finds neither half of it nor a lock that nobody lets go."""
    connection = connection_of(store.inlet)
    inside = threading.Event()
    ended: list[bool] = []

    def write() -> None:
        with connection.write() as raw:
            raw.execute("INSERT INTO probes (id, at) VALUES (1, 7)")
            inside.set()
            threading.Event().wait(0.1)
        ended.append(True)

    thread = threading.Thread(target=write)
    thread.start()
    assert inside.wait(20)

    def child() -> None:
        assert [7.0] == [row["at"] for row in connection.rows("SELECT at FROM probes")]
        store.inlet.probe()

    assert 0 == exit_code(in_fork(child))
    thread.join()
    assert [True] == ended
    store.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_deleted_database_accepts_nothing(store: SqliteStore, tmp_path: Path, replaced: bool) -> None:
    """Events are not written into a file that has no name any more: the sender is told to come again."""
    store.inlet.add_event(event("before"))
    other = SqliteStore(tmp_path / "other")
    other.folder.mkdir()
    assert 0 == other.archive.count(Filter())
    other.close()
    for path in tmp_path.glob("inbox.db*"):
        path.unlink()
    if replaced:
        other.path.rename(store.path)
    with pytest.raises(StoreUnusable, match="moved, deleted or replaced"):
        store.inlet.add_event(event("after"))
    store.close()
    again = SqliteStore(tmp_path)
    with pytest.raises(StoreUnusable, match="is older than" if replaced else "is not there, and this inbox had"):
        again.inlet.probe()
    marker.path_of(store.path).unlink()
    assert "accepted" == again.inlet.add_event(event("after")).outcome
    again.close()


def test_write_that_raises_is_rolled_back(store: SqliteStore) -> None:
    """Whatever is raised in the block, nothing of it stays, and the next one works."""
    connection = connection_of(store.inlet)

    def fail(kind: type[BaseException]) -> None:
        with connection.write() as raw:
            raw.execute("INSERT INTO probes (id, at) VALUES (1, 7)")
            raise kind

    for kind in (ValueError, KeyboardInterrupt):
        with pytest.raises(kind):
            fail(kind)
    assert [] == connection.rows("SELECT * FROM probes")
    store.inlet.probe()
    store.close()


def test_snapshot_does_not_see_what_comes_meanwhile(store: SqliteStore) -> None:
    """All queries in the block agree with each other; those after it see the rest."""
    store.inlet.add_event(event("1"))
    with connection_of(store.archive).snapshot():
        before = store.archive.count(Filter())
        store.inlet.add_event(event("2"))
        assert 1 == before == store.archive.count(Filter())
    assert 2 == store.archive.count(Filter())
    store.close()


def test_reader_waits_while_another_program_has_the_file_to_itself(store: SqliteStore) -> None:
    """As a program has that closes last or recovers: readers get their rows a moment later, not an error."""
    store.inlet.add_event(event())
    store.close()
    other = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("UPDATE events SET size = size")
    impatient = Connection(store.path, durable=False, patience=0.01)
    with pytest.raises(StoreUnavailable, match="locked"):
        impatient.rows("SELECT * FROM events")
    impatient.close()
    timer = threading.Timer(0.05, other.close)
    timer.start()
    assert 1 == store.archive.count(Filter())
    timer.join()
    store.close()


def test_missing_table_is_unusable(store: SqliteStore) -> None:
    """A database without our tables needs a person; trying again later does not help."""
    with pytest.raises(StoreUnusable, match="no such table: nonsense"):
        connection_of(store.inlet).rows("SELECT * FROM nonsense")
    store.close()


def test_too_many_waiting_are_unavailable(tmp_path: Path) -> None:
    """The limit of the inlet is that of its group commit."""
    inlet = sqlite.open_inlet(tmp_path / "inbox.db", limit=0)
    connection = connection_of(inlet)
    waiting = threading.Thread(target=inlet.probe)
    with connection.write():
        waiting.start()
        while not inlet._commit._busy or inlet._commit._waiting:
            pass
        with pytest.raises(StoreUnavailable, match="0 requests are waiting"):
            inlet.add_refusal(refusal())
    waiting.join()
    inlet.close()


def test_delivery_without_a_body_is_dead_and_keeps_nobody_waiting(store: SqliteStore) -> None:
    """Somebody deleted it by hand: it is named as dead, and what waits with it runs."""
    bad, good = (routed(store, key=key)[0] for key in "ab")
    with closing(sqlite3.connect(store.path)) as other, other:
        other.execute("DELETE FROM bodies WHERE event_id = 1")
    found, more = store.work.take(Worker("w", iter(("t1", "t2")).__next__, 100.0, 100.0, 30.0), 9)
    assert ([good], False) == ([each.id for each in found], more)
    (delivery,) = store.archive.event(1)["deliveries"]
    assert (bad, "dead", "the event has no body any more") == tuple(delivery[k] for k in ("id", "status", "error"))
