"""What beats beside the work: signs of life and durations reach the store, also from a process that ends."""

import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox.core.errors import StoreUnavailable
from inbox.core.histograms import Recorder
from inbox.operate.heartbeat import Heartbeat
from tests.support.place import eventually
from tests.support.stores import SqliteStore

NOW = 1_767_225_600.0


class Time:
    """A clock that is moved by hand."""

    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path)
    yield made
    made.close()


def pulse_of(store: SqliteStore, timings: Recorder, time: Time, **options: Any) -> Heartbeat:
    return Heartbeat("worker", lambda: store.watch, timings, clock=time, steady=time, **options)


def test_each_beat_gives_a_sign_and_stores_what_was_measured(store: SqliteStore) -> None:
    """Nothing is left in memory, and old minutes are rolled up now and then."""
    timings, time = Recorder(), Time()
    pulse = pulse_of(store, timings, time)
    pulse.start()
    eventually(lambda: store.watch.look(NOW, NOW).processes, "the first sign of life")
    pulse.stop()
    timings.observe("answer", "roomz", 0.5)
    time.now += 30
    pulse.beat()
    assert (0.0, NOW) == (
        store.watch.look(NOW, time.now).processes["worker"].age,
        store.watch.look(NOW, time.now).processes["worker"].since,
    )
    assert ({("roomz", "answer/0.5"): 1, ("roomz", "answer/sum"): 500_000}, {}) == (
        store.watch.totals(),
        timings.take(),
    )
    time.now += 10 * 3600
    for _ in range(12):
        pulse.beat()
    assert ({}, 1) == (store.watch.recent(0), store.watch.totals()["roomz", "answer/0.5"])


def test_store_that_is_locked_is_tried_again(store: SqliteStore, logs: list[Any], monkeypatch: Any) -> None:
    """What was measured is kept, and the log says it once, not every five seconds."""
    timings, time = Recorder(), Time()
    pulse = pulse_of(store, timings, time)
    pulse.start()
    pulse.stop()
    timings.observe("commit", "", 0.5)

    def locked(*arguments: Any) -> None:
        raise StoreUnavailable("locked")

    with monkeypatch.context() as patch:
        patch.setattr(store.watch, "add", locked)
        for _ in range(3):
            pulse.beat()
    assert ["pulse.not_stored"] == [entry["event"] for entry in logs]
    pulse.beat()
    assert 1 == store.watch.totals()["", "commit/0.5"]


def test_failure_does_not_end_the_beat(store: SqliteStore, logs: list[Any]) -> None:
    """A defect in what is run beside it is logged, and run again."""
    called = threading.Semaphore(0)

    def broken() -> None:
        called.release()
        raise ZeroDivisionError

    pulse = pulse_of(store, Recorder(), Time(), minutely=broken, interval=0.01)
    pulse.start()
    assert all(called.acquire(timeout=20) for _ in range(3))
    pulse.stop()
    assert "alarms.failed" in {entry["event"] for entry in logs}


def _measure(folder: Path) -> None:
    store = SqliteStore(folder)
    timings = Recorder()
    pulse = pulse_of(store, timings, Time(), interval=1000.0)
    pulse.start()
    eventually(lambda: store.watch.look(NOW, NOW).processes, "the first beat")
    timings.observe("answer", "roomz", 0.5)


def test_process_that_ends_stores_what_it_measured(store: SqliteStore) -> None:
    """A child that returns, as receiver and worker do when they are stopped, loses nothing."""
    child = multiprocessing.get_context("spawn").Process(target=_measure, args=(store.folder,))
    child.start()
    child.join(60)
    assert (0, 1) == (child.exitcode, store.watch.totals()["roomz", "answer/0.5"])
