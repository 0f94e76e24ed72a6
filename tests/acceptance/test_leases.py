"""A worker that is asleep for longer than its lease, and a clock that is set, with real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.place import Place, eventually

SLEEPER = """
import os, signal
from inbox import Event, handles
from ._noted import noted

def note(line):
    file = os.open("notes.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode() + b"\\n")

@handles("roomz")
@noted
def sleep(event: Event) -> int:
    if event.attempt == 1:
        note(f"asleep {os.getpid()}")
        os.kill(os.getpid(), signal.SIGSTOP)
    if event.still_mine():
        note(f"effect {event.attempt}")
    return event.attempt
"""
WAITER = """
import os, time
from pathlib import Path
from inbox import Event, Retry, handles
from ._noted import noted

@handles("roomz")
@noted
def wait(event: Event) -> None:
    with Path("notes.txt").open("a") as file:
        file.write(f"begun {event.attempt}\\n")
    while event.attempt == 1 and not Path("go").exists():
        time.sleep(0.02)
    if Path("fail").exists() and event.attempt == 1:
        raise Retry(after=3)
"""
CLOCK = """
import datetime, os, time
real, path = time.time, os.path.join(os.path.dirname(__file__), "offset")

def offset():
    with open(path) as file:
        return float(file.read())

class shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return cls.fromtimestamp(time.time(), datetime.timezone.utc).replace(tzinfo=None)

time.time = lambda: real() + offset()
shifted.__qualname__ = shifted.__name__
datetime.datetime = shifted
"""
"""Loaded by every Python that is started with it on PYTHONPATH: its clock is off by what the file `offset` says."""


def notes(place: Place, word: str) -> list[str]:
    path = place.folder / "notes.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.partition(" ")[2] for line in lines if line.startswith(word)]


@pytest.fixture
def another(place: Place) -> Iterator[Callable[[], Callable[[], None]]]:
    """Return what starts one more worker, which sweeps when it starts, and returns what ends it."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> Callable[[], None]:
        before = place.log_text().count("handlers.loaded")
        with place.log.open("ab") as log:
            command = [sys.executable, "-m", "inbox", "worker"]
            started.append(subprocess.Popen(command, cwd=place.folder, env=place.environment, stdout=log, stderr=log))
        eventually(lambda: place.log_text().count("handlers.loaded") >= before + 2, "the other worker is there")
        return partial(end, started)

    yield start
    end(started)


def end(started: list[subprocess.Popen[bytes]]) -> None:
    """Stop workers and wait for their end."""
    for process in started:
        process.terminate()
    for process in started:
        process.wait(40)
    started.clear()


def set_clock(place: Place, seconds: float) -> None:
    """Set the clock of all processes of the place, at once."""
    new = place.folder / "clock" / "new"
    new.write_text(str(seconds))
    new.rename(place.folder / "clock" / "offset")


@pytest.fixture
def clocked(place: Place) -> Place:
    """A place whose processes have a clock that the test sets."""
    folder = place.folder / "clock"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CLOCK)
    set_clock(place, 0)
    place.environment["PYTHONPATH"] = str(folder)
    place.only_handler("waiter", WAITER)
    place.configure(worker="lease = 60.0")  # long, so that no heartbeat repairs in time what the clock breaks
    return place


def results(place: Place, number: int) -> list[str]:
    return [run["result"] for delivery in place.event(number)["deliveries"] for run in delivery["runs"]]


def test_a_worker_that_slept_longer_than_its_lease_loses_it(
    place: Place, another: Callable[[], Callable[[], None]]
) -> None:
    """SIGSTOP in the middle of a handler: another worker does the work; after SIGCONT the sleeper changes nothing."""
    place.only_handler("sleeper", SLEEPER)
    place.configure(worker="lease = 1.0")
    place.start()
    number = place.send("roomz")[0]["answer"]["id"]
    pid, since = int(eventually(lambda: notes(place, "asleep"), "the handler sleeps")[0]), time.time()
    end_other = another()
    before = place.until_status(number, "succeeded")
    os.kill(pid, signal.SIGCONT)
    place.witness.disturbed("stop", pid, since)
    eventually(lambda: "delivery.lease_lost" in place.log_text(), "the sleeper notices")
    after = place.event(number)
    assert ["lost", "succeeded"] == results(place, number)
    assert (["2"], "2", 1) == (
        notes(place, "effect"),
        after["deliveries"][0]["value"],
        after["deliveries"][0]["crashes"],
    )
    assert (before["status"], 1) == (after["status"], place.log_text().count("event=delivery.lease_lost"))
    end_other()
    place.prove()


def test_setting_the_clock_forward_doubles_nothing(clocked: Place, another: Callable[[], Callable[[], None]]) -> None:
    """By an hour while a handler runs, and a second worker starts: it leaves the delivery alone."""
    clocked.start()
    number = clocked.send("roomz")[0]["answer"]["id"]
    eventually(lambda: notes(clocked, "begun"), "the handler runs")
    set_clock(clocked, 3600)
    end_other = another()
    second = clocked.send("roomz")[0]["answer"]["id"]
    eventually(lambda: len(notes(clocked, "begun")) == 2, "the second event is begun, so the sweep is done")
    (clocked.folder / "go").touch()
    for event in (number, second):
        clocked.until_status(event, "succeeded")
        assert ["succeeded"] == results(clocked, event)
    assert ["1", "1"] == notes(clocked, "begun")
    end_other()
    clocked.prove()


def test_setting_the_clock_back_delays_nothing(clocked: Place, another: Callable[[], Callable[[], None]]) -> None:
    """By an hour between a failure and its retry: it comes after its pause."""
    for name in ("go", "fail"):
        (clocked.folder / name).touch()
    set_clock(clocked, 3600)
    clocked.start()
    number = clocked.send("roomz")[0]["answer"]["id"]
    eventually(lambda: results(clocked, number) == ["retry"], "the first attempt failed")
    set_clock(clocked, 0)
    end_other = another()
    clocked.until_status(number, "succeeded")
    assert ["retry", "succeeded"] == results(clocked, number)
    assert 1 == clocked.log_text().count("event=clock.set_back")
    end_other()
    clocked.prove()


def test_the_clock_of_the_tests_is_what_the_inbox_sees(clocked: Place) -> None:
    """Or the tests above would prove nothing."""
    set_clock(clocked, 10 * 365 * 86400)
    code = "import time, datetime; print(time.gmtime(time.time()).tm_year, datetime.datetime.now().year)"
    years = subprocess.run([sys.executable, "-c", code], env=clocked.environment, capture_output=True, text=True)
    real = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert [year + 10 for year in map(int, real.stdout.split())] == [*map(int, years.stdout.split())]
    assert Path(clocked.folder, "clock", "offset").exists()
