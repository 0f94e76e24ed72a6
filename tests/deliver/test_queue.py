"""The queue: a message is only a wake-up, and its file may be deleted, damaged or unusable at any time."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from huey.storage import SqliteStorage

from inbox.deliver import queue_storage as module
from inbox.deliver.queue import Queue
from inbox.deliver.queue_file import TABLES, check_tables, problem_with
from inbox.deliver.queue_storage import ASIDE


class Jobs:
    """Notes what the messages asked for."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def work(self) -> None:
        self.done.append("work")

    def sweep(self) -> int:
        self.done.append("sweep")
        return 0


class Worked(Queue):
    """A queue and what was asked of it."""

    def __init__(self, path: Path) -> None:
        self.jobs = Jobs()
        super().__init__(path, lambda: self.jobs)

    def work(self, now: datetime | None = None) -> list[str]:
        """Work on everything that waits, as huey's worker does, and return what that was."""
        self.jobs.done.clear()
        while (task := self.huey.dequeue()) is not None:
            self.huey.execute(task, now)
        return list(self.jobs.done)

    def due(self, seconds: float) -> list[str]:
        """Do what huey's scheduler does, so many seconds from now, and then work."""
        now = self.huey._get_timestamp() + timedelta(seconds=seconds)
        for task in self.huey.read_schedule(now):
            self.huey.enqueue(task)
        return self.work(now)


@pytest.fixture
def open_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Worked]]:
    """Return what opens one more Queue on the same file, as another process does."""
    monkeypatch.setattr(module, "LOOK", 3600.0)
    monkeypatch.setattr(module, "AGAIN", 0.0)
    opened: list[Worked] = []

    def make() -> Worked:
        opened.append(Worked(tmp_path / "queue.db"))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def delete(tmp_path: Path) -> None:
    for path in tmp_path.glob("queue.db*"):
        path.unlink(missing_ok=True)


def named(logs: list[Any], event: str) -> list[Any]:
    return [entry for entry in logs if entry["event"] == event]


def test_messages_arrive_in_order_at_another_queue_object(open_queue: Callable[[], Worked]) -> None:
    """The receiver writes, the worker reads; each message once."""
    receiver, worker = open_queue(), open_queue()
    receiver.wake()
    receiver.sweep()
    assert 2 == receiver.size()
    assert ["work", "sweep"] == worker.work()
    assert ([], 0) == (worker.work(), receiver.size())


def test_one_message_wakes_for_everything(open_queue: Callable[[], Worked]) -> None:
    """As long as it waits no other is added, whoever wakes; when it was taken, the next one is."""
    receiver, worker = open_queue(), open_queue()
    receiver.wake()
    receiver.wake()
    worker.wake()
    assert 1 == receiver.size()
    task = worker.huey.dequeue()
    assert 0 == receiver.size()
    receiver.wake()
    worker.huey.execute(task)
    assert ["work", "work"] == [*worker.jobs.done, *worker.work()]


def test_nothing_is_opened_or_made_before_the_first_message(open_queue: Callable[[], Worked], tmp_path: Path) -> None:
    """Making a Queue touches no file, and jobs are not asked for until a message is worked on."""
    made = Queue(tmp_path / "queue.db", lambda: pytest.fail("jobs were asked for"))
    assert [] == list(tmp_path.iterdir())
    made.wake()
    assert 1 == made.size()
    made.close()


def test_later_work_waits_until_it_is_due(open_queue: Callable[[], Worked]) -> None:
    """`after` seconds; what is due now does not wait for the schedule."""
    queue = open_queue()
    for after in (60, 60, 0):
        queue.wake(after)
    assert ["work"] == queue.work()
    assert [] == queue.due(30)
    assert 1 <= len(queue.due(62)) <= 2  # one for each second in which something is due


def test_the_sweep_comes_every_minute(open_queue: Callable[[], Worked]) -> None:
    """huey's scheduler enqueues it by itself."""
    queue = open_queue()
    for task in queue.huey.read_periodic(None):
        queue.huey.enqueue(task)
    assert ["sweep"] == queue.work()


def test_messages_are_not_fsynced(open_queue: Callable[[], Worked]) -> None:
    """The store is the truth; the queue must be quick."""
    queue = open_queue()
    with queue.huey.storage.db() as cursor:
        assert (0,) == cursor.execute("PRAGMA synchronous").fetchone()
        assert ("wal",) == cursor.execute("PRAGMA journal_mode").fetchone()


@pytest.mark.parametrize("gone", ["queue.db*", "queue.db", "queue.db-*"])
def test_deleting_files_while_they_are_open_costs_only_what_was_in_them(
    gone: str, open_queue: Callable[[], Worked], tmp_path: Path
) -> None:
    """Both sides meet in the new files, whichever comes first: the database, its log, or both are gone."""
    receiver, worker = open_queue(), open_queue()
    for _ in range(3):
        receiver.wake()
        assert 1 == worker.size()
        for path in tmp_path.glob(gone):
            path.unlink()
        assert [] == worker.work()
        receiver.wake()
        assert ["work"] == worker.work()
        worker.wake(after=5)
        assert ["work"] == receiver.due(7)
    with sqlite3.connect(tmp_path / "queue.db") as check:
        assert [("ok",)] == check.execute("PRAGMA integrity_check").fetchall()
    check.close()


def test_the_reader_that_comes_late_finds_the_new_file(open_queue: Callable[[], Worked], tmp_path: Path) -> None:
    """The one who closes the deleted file last does not take the new file's log with it."""
    receiver, worker = open_queue(), open_queue()
    receiver.wake()
    worker.work()
    delete(tmp_path)
    receiver.wake()
    assert ["work"] == worker.work()
    third = open_queue()
    receiver.wake()
    assert ["work"] == third.work()


def test_many_threads_survive_that_the_file_goes(open_queue: Callable[[], Worked], tmp_path: Path) -> None:
    """The receiver's threads share a Queue: no message raises, whatever is lost, and those after that arrive."""
    queue, failures = open_queue(), []

    def send() -> None:
        for _ in range(50):
            try:
                queue.wake()
            except Exception as error:
                failures.append(type(error))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        delete(tmp_path)
    for thread in threads:
        thread.join()
    queue.wake()
    assert [] == failures
    assert {"work"} == set(queue.work())


def test_a_file_that_is_no_database_is_set_aside(open_queue: Callable[[], Worked], tmp_path: Path, logs: Any) -> None:
    """The message that finds it is not even lost, the bad file is kept to look at, and the log says so."""
    (tmp_path / "queue.db").write_bytes(b"not a database " * 1000)
    queue = open_queue()
    queue.wake()
    assert ["work"] == queue.work()
    assert (tmp_path / f"queue.db{ASIDE}").read_bytes().startswith(b"not a database")
    (entry,) = named(logs, "queue.damaged")
    assert ("error", str(tmp_path / "queue.db")) == (entry["log_level"], entry["file"])


def test_damage_while_the_file_is_open_does_not_last(
    open_queue: Callable[[], Worked], tmp_path: Path, logs: Any
) -> None:
    """A message is lost at most, the store is looked into at once, and the next message arrives, on both sides."""
    receiver, worker = open_queue(), open_queue()
    for number in range(200):
        receiver.wake(after=100 + number)
    with receiver.huey.storage.db() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = (tmp_path / "queue.db").stat().st_size
    with (tmp_path / "queue.db").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    receiver.close()
    assert ["work"] == worker.work()  # a look into the store, in place of the message that may be lost
    receiver.wake()
    assert ["work"] == worker.work()
    assert 1 == len(named(logs, "queue.damaged"))


def test_only_one_of_two_sets_the_file_aside(open_queue: Callable[[], Worked], tmp_path: Path, logs: Any) -> None:
    """The second one finds the new file, with the first one's message in it."""
    one, two = open_queue(), open_queue()
    (tmp_path / "queue.db").write_bytes(b"x" * 8192)
    one.wake()
    two.wake()
    assert ["work"] == one.work()
    assert 1 == len(named(logs, "queue.damaged"))


def foreign(path: Path) -> None:
    """Lay the database of another program at the path."""
    with sqlite3.connect(path) as other:
        other.executescript("CREATE TABLE events (id INTEGER PRIMARY KEY); INSERT INTO events VALUES (7)")
    other.close()


def lay_folder(path: Path) -> None:
    path.mkdir()
    (path / "mine").touch()


def lay_other_columns(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE task (title TEXT)")
    other.close()


UNUSABLE: list[tuple[str, Callable[[Path], object]]] = [
    ("is a folder", lay_folder),
    ("is another program's database: it has the table events", foreign),
    ("has other columns", lay_other_columns),
    ("is not a file", lambda path: os.mkfifo(path)),
]


def content(path: Path) -> object:
    return path.read_bytes() if path.is_file() else [path.stat().st_mode, *(path.iterdir() if path.is_dir() else ())]


@pytest.mark.parametrize(("why", "lay"), UNUSABLE)
def test_what_cannot_be_a_queue_is_left_alone_and_done_without(
    why: str, lay: Callable[[Path], object], open_queue: Callable[[], Worked], tmp_path: Path, logs: Any
) -> None:
    """Nothing raises, the log says why once, and it works as soon as the path is free."""
    path = tmp_path / "queue.db"
    lay(path)
    before, queue = content(path), open_queue()
    assert f"{path} {why}" == problem_with(path) == queue.problem()
    for _ in range(3):
        queue.wake()
        queue.wake(after=5)
        assert [] == [message for message in queue.work() if message not in ("work", "sweep")]
    assert before == content(path)
    assert [f"{path} {why}"] == [entry["error"] for entry in named(logs, "queue.unusable")]
    path.rename(tmp_path / "elsewhere")
    queue.wake()
    assert (["work"], "", "") == (queue.work(), queue.problem(), problem_with(path))
    assert 1 == len(named(logs, "queue.usable"))
    assert [] == named(logs, "queue.damaged")


def test_without_a_queue_workers_look_into_the_store(
    open_queue: Callable[[], Worked], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while without a message, at once when this process wanted to wake, and what comes every minute comes."""
    monkeypatch.setattr(module, "AGAIN", 3600.0)
    lay_folder(tmp_path / "queue.db")
    queue = open_queue()
    other: list[str] = []
    queue.every_minute("prune", lambda: other.append("prune"))
    assert (["sweep", "work"], ["prune"]) == (queue.work(), other)
    assert [] == queue.work()
    queue.wake()
    assert ["work"] == queue.work()
    assert [] == queue.work()
    monkeypatch.setattr(module, "LOOK", 0.2)
    began = time.monotonic()
    while not (done := queue.work()):
        assert time.monotonic() < began + 10
    assert ["work"] == done


def test_a_worker_looks_into_the_store_although_the_queue_works(
    open_queue: Callable[[], Worked], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message may be lost on its way, such as one that another user's process could not write."""
    monkeypatch.setattr(module, "LOOK", 0.0)
    assert "work" == open_queue().huey.dequeue().name


def test_the_bell_wakes_also_without_a_queue(open_queue: Callable[[], Worked], tmp_path: Path) -> None:
    """The receiver rings although it could not leave a message, and whoever hears it looks at once."""
    lay_folder(tmp_path / "queue.db")
    receiver, worker = open_queue(), open_queue()
    worker.work()
    worker.huey.storage.wait(0)
    receiver.wake()
    began = time.monotonic()
    worker.huey.storage.wait(20)
    assert (["work"], True) == (worker.work(), time.monotonic() - began < 10)


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    """Also when it goes while the queue is in use, as one in /run does; it is for its owner only."""
    path = tmp_path / "run" / "inbox" / "queue.db"
    queue = Worked(path)
    for _ in range(2):
        assert "" == problem_with(path)
        queue.wake()
        assert ["work"] == queue.work()
        assert 0o700 == path.parent.stat().st_mode & 0o777
        for file in path.parent.iterdir():
            file.unlink()
        path.parent.rmdir()
    queue.close()


def test_an_empty_folder_in_its_place_is_taken_away(open_queue: Callable[[], Worked], tmp_path: Path) -> None:
    """A container that mounts a file which is not there makes one."""
    (tmp_path / "queue.db").mkdir()
    assert "" == problem_with(tmp_path / "queue.db")
    queue = open_queue()
    queue.wake()
    assert (["work"], True) == (queue.work(), (tmp_path / "queue.db").is_file())


def test_a_queue_of_another_version_is_begun_anew(open_queue: Callable[[], Worked], tmp_path: Path, logs: Any) -> None:
    """It has the tables of a queue with other columns: what was in it the sweep repeats."""
    with sqlite3.connect(tmp_path / "queue.db") as old:
        old.executescript("CREATE TABLE kv (a); CREATE TABLE schedule (a); CREATE TABLE task (a)")
    old.close()
    queue = open_queue()
    queue.wake()
    assert ["work"] == queue.work()
    assert (tmp_path / f"queue.db{ASIDE}").exists()
    assert 1 == len(named(logs, "queue.damaged"))


def test_a_queue_without_its_tables_has_them_again(open_queue: Callable[[], Worked], tmp_path: Path) -> None:
    """What is in the way of one message is not in the way of the next."""
    queue = open_queue()
    queue.wake()
    with sqlite3.connect(tmp_path / "queue.db") as other:
        other.execute("DROP TABLE task")
    other.close()
    assert ["sweep", "work"] == queue.work()
    queue.wake()
    assert ["work"] == queue.work()


def test_a_queue_that_is_locked_keeps_nobody_waiting_for_long(
    open_queue: Callable[[], Worked], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a second it is done without, and tried again a while later."""
    monkeypatch.setattr(module, "AGAIN", 3600.0)
    queue = open_queue()
    queue.wake()
    holder = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    for _ in range(20):
        queue.wake(after=10)
    assert time.monotonic() - began < 15
    assert "locked" in queue.problem()
    holder.close()
    queue.huey.storage._again = 0.0
    assert "" == queue.problem()


OF_ANOTHER_USER = """
import os, sys
from pathlib import Path
from inbox.deliver import queue_storage
from inbox.deliver.queue import Queue

path, jobs = Path(sys.argv[1]), []
queue_storage.AGAIN = 0.0
class Jobs:
    def work(self): jobs.append("work")
    def sweep(self): return 0
Queue(path, Jobs).wake()
for name in sys.argv[2].split():
    os.chmod(path.with_name(name), 0o444)
os.setegid(65534)
os.seteuid(65534)
os.setreuid(65534, 65534)
queue = Queue(path, Jobs)
said = queue_storage.problem_with(path)
queue.wake()
while (task := queue.huey.dequeue()) is not None:
    queue.huey.execute(task)
print(jobs, said, queue.problem())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
@pytest.mark.parametrize(("mode", "repaired"), [(0o777, True), (0o755, False)])
def test_a_queue_of_another_user_is_replaced_where_that_is_possible(mode: int, repaired: bool) -> None:
    """As `sudo inbox` leaves one: where this user may make files it begins a new one, elsewhere it says why not."""
    with TemporaryDirectory() as made:
        folder = Path(made, "place")
        folder.mkdir()
        folder.parent.chmod(0o711)
        look_as_another_user(folder, mode, repaired)


def look_as_another_user(folder: Path, mode: int, repaired: bool) -> None:
    path = folder / "queue.db"
    code = OF_ANOTHER_USER.replace("os.setegid", f"os.chmod(path.parent, {mode})\nos.setegid")
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), "queue.db"], capture_output=True, text=True, timeout=60, cwd="/"
    )
    assert 0 == done.returncode, done.stderr
    if repaired:
        assert "['work']  " in done.stdout
        assert path.with_name(f"queue.db{ASIDE}").exists()
    else:
        said = f"{folder} is not a folder in which this user may make files"
        assert f"['work'] {said} {said}" in done.stdout
        assert not path.with_name(f"queue.db{ASIDE}").exists()


def test_the_tables_that_are_known_are_those_of_huey() -> None:
    """Or a queue of the version that is installed would be taken for another program's."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in SqliteStorage.ddl:
            connection.execute(statement)
        check_tables(connection)
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert TABLES.keys() == names
