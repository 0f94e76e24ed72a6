"""The queue: a message is only a wake-up, and its file may be deleted, damaged or unreadable at any time."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from inbox import queue as module
from inbox.queue import ASIDE, Queue


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
    monkeypatch.setattr(module, "PAUSE", 0.0)
    opened: list[Worked] = []

    def make() -> Worked:
        opened.append(Worked(tmp_path / "queue.db"))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def delete(tmp_path: Path) -> None:
    for path in tmp_path.glob("queue.db*"):
        path.unlink()


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
    """The receiver's threads share a Queue: some messages fail, which the sweep repairs, and none after that."""
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
    assert set(failures) <= {sqlite3.OperationalError}
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
    """The next message fails at most, and the one after it arrives, on both sides."""
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
    with pytest.raises(sqlite3.DatabaseError):
        worker.work()
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


def test_a_file_that_cannot_be_opened_is_an_error_each_time(
    open_queue: Callable[[], Worked], tmp_path: Path, logs: Any
) -> None:
    """It is not damage: nothing is renamed, and it works as soon as it can be opened."""
    (tmp_path / "queue.db").mkdir()
    queue = open_queue()
    for action in (lambda: queue.wake(), queue.work):
        with pytest.raises(sqlite3.OperationalError):
            action()
    assert [] == named(logs, "queue.damaged")
    (tmp_path / "queue.db").rmdir()
    queue.wake()
    assert ["work"] == queue.work()
