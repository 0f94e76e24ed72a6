"""Handlers that damage the process they run in, with real processes: other deliveries do not suffer, nor run twice."""

import signal
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest

from tests.support.place import Place, alive, descendants, eventually

DAMAGE = {
    "closes standard error": "sys.stderr.close()",
    "closes descriptor 2": "os.close(2)",
    "closes descriptors": "os.closerange(3, 256)",
    "closes descriptors and opens others": "os.closerange(3, 256); files.extend(open('o', 'wb') for _ in range(40))",
    "closes one of the database's": "os.close(next(fd for fd in range(3, 200) if named(fd).endswith('inbox.db-wal')))",
    "closes one of the queue's": "os.close(next(fd for fd in range(3, 200) if named(fd).endswith('queue.db')))",
    "lowers the limit of descriptors": "resource.setrlimit(resource.RLIMIT_NOFILE, (100, resource.getrlimit(7)[1]))",
    "lowers the limit of file sizes": "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.getrlimit(1)[1]))",
    "changes the working directory": "os.chdir('/')",
    "blocks signals": "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGINT, signal.SIGTERM])",
}
HANDLERS = """
import os, resource, signal, sys, time
from pathlib import Path
from inbox import handles
from ._noted import noted

files = []

def named(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""

@handles("roomz", attempts=1)
@noted
def quiet(event):
    with open("effects.txt", "a") as file:
        file.write(f"quiet {event.id}\\n")
    sys.stderr.write("")

@handles("breakcold", attempts=1)
@noted
def damaging(event):
    with open("effects.txt", "a") as file:
        file.write(f"damaging {event.id}\\n")
    DAMAGE
    return "done"
"""


def effects(place: Place) -> list[str]:
    path = place.folder / "effects.txt"
    return path.read_text().splitlines() if path.exists() else []


def runs(event: dict[str, Any]) -> list[str]:
    return [run["result"] for delivery in event["deliveries"] for run in delivery["runs"]]


def worker_of(place: Place) -> int:
    return place.children("worker")[-1]


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_handler_that_damages_its_process_harms_nobody_else(kind: str, place: Place) -> None:
    """Each event runs exactly once and succeeds, the one of the damaging handler too; the log names the handler."""
    place.only_handler("own", HANDLERS.replace("DAMAGE", DAMAGE[kind]))
    place.configure(worker="processes = 1\nlease = 60.0")
    place.start()
    numbers = []
    for _ in range(3):
        for source in ("breakcold", "roomz", "roomz"):
            numbers += [answer["answer"]["id"] for answer in place.send(source)]
    for number in numbers:
        event = place.until_status(number, "succeeded")
        assert (["succeeded"], [0]) == (runs(event), [delivery["crashes"] for delivery in event["deliveries"]])
    assert sorted(numbers) == sorted(int(line.split()[1]) for line in effects(place))
    log = place.log_text()
    assert 3 == log.count("own.damaging damaged its process: ")
    assert 0 == log.count("event=worker.died")
    place.prove()


FORKS = """
import os, sys, time
from inbox import handles

@handles("roomz", attempts=1)
def forks(event):
    pid = os.fork()
    if pid == 0:
        FORKED
    with open("copies.txt", "a") as file:
        file.write(f"{pid}\\n")
    return pid
"""


def copies(place: Place) -> list[int]:
    path = place.folder / "copies.txt"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("forked", ["return 7", "raise RuntimeError('in the copy')", "sys.exit(3)"])
def test_a_copy_that_a_handler_forks_does_not_work_on(forked: str, place: Place) -> None:
    """It ends where the handler ends: nothing is recorded twice, and as many processes work as before."""
    place.only_handler("own", FORKS.replace("FORKED", forked))
    place.configure()
    place.start()
    for _ in range(5):
        event = place.until_status(place.send("roomz")[0]["answer"]["id"], "succeeded")
        assert ["succeeded"] == runs(event)
    eventually(lambda: not any(alive(pid) for pid in copies(place)), "the copies end")
    assert ("in the copy" in forked) == ("RuntimeError: in the copy" in place.log_text())
    assert 0 == place.stop()
    assert 5 == len(copies(place)) == place.log_text().count("event=delivery.succeeded")


def test_a_copy_that_stays_neither_delays_the_stop_nor_holds_the_lock(place: Place) -> None:
    """The stop takes no longer than without it, and a restore may begin."""
    place.only_handler("own", FORKS.replace("FORKED", "time.sleep(600)"))
    place.configure()
    place.start()
    place.until_status(place.send("roomz")[0]["answer"]["id"], "succeeded")
    (copy,) = copies(place)
    assert alive(copy)
    began = time.monotonic()
    assert 0 == place.stop()
    assert time.monotonic() - began < 20  # it took the whole shutdown_timeout of 30 s
    place.inbox("backup", "copy.db")
    (place.folder / "inbox.db").rename(place.folder / "old.db")
    (place.folder / "inbox.db-wal").unlink(missing_ok=True)
    place.inbox("restore", "copy.db")
    eventually(lambda: not alive(copy), "the copy ends with its worker")


PROCESSES = """
import multiprocessing, os
from concurrent.futures import ProcessPoolExecutor
from inbox import handles
from ._noted import noted

def square(number):
    return number * number

@handles("roomz", attempts=1)
@noted
def process(event):
    child = multiprocessing.Process(target=square, args=(3,))
    child.start()
    child.join()
    return child.exitcode

@handles("breakcold", attempts=1)
@noted
def pool(event):
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(square, range(5)))

@handles("lemlist", attempts=1)
@noted
def kept(event):
    global executor
    executor = ProcessPoolExecutor(2)
    multiprocessing.Process(target=os.pause if hasattr(os, "pause") else __import__("signal").pause).start()
    return executor.submit(square, 4).result()
"""


def test_handlers_may_have_processes(place: Place) -> None:
    """`multiprocessing` and a pool, also one that is never shut down, which does not keep the inbox from stopping."""
    place.only_handler("own", PROCESSES)
    place.configure()
    place.start()
    for source, value in (("roomz", "0"), ("breakcold", "[0, 1, 4, 9, 16]"), ("lemlist", "16")):
        event = place.until_status(place.send(source)[0]["answer"]["id"], "succeeded")
        assert value == event["deliveries"][0]["value"]
    began = time.monotonic()
    place.stop()
    assert time.monotonic() - began < 20
    place.prove()


LEAKS = """
from inbox import handles
from ._noted import noted
hoard = []

@handles("roomz")
@noted
def leak(event):
    hoard.append(bytearray(b"x" * 8 * 2**20))
    return len(hoard)
"""


@pytest.mark.parametrize(
    ("setting", "most", "why"), [("max_runs = 3", 3, "max_runs = 3"), ("max_memory = 120000000", 9, "max_memory")]
)
def test_a_worker_that_has_run_enough_is_replaced(setting: str, most: int, why: str, place: Place) -> None:
    """After so many runs or with so much memory: each event runs once, and no process ran more than it may."""
    place.only_handler("own", LEAKS)
    place.configure(worker=f"processes = 1\nlease = 60.0\n{setting}")
    place.start()
    numbers = [answer["answer"]["id"] for answer in place.send("roomz", times=20)]
    values = []
    for number in numbers:
        event = place.until_status(number, "succeeded")
        assert ["succeeded"] == runs(event)
        values.append(int(event["deliveries"][0]["value"]))
    assert 2 <= max(values) <= most
    assert place.log_text().count("event=worker.renewed") >= 20 // most - 1
    assert why in place.log_text()
    assert 0 == place.log_text().count("event=worker.died")
    place.prove()


def test_a_reload_takes_the_limits(place: Place) -> None:
    """Without one no worker is replaced; after the reload they are."""
    place.only_handler("own", LEAKS)
    place.configure(worker="processes = 1")
    place.start()
    for answer in place.send("roomz", times=5):
        place.until_status(answer["answer"]["id"], "succeeded")
    assert "worker.renewed" not in place.log_text()
    path = place.folder / "inbox.toml"
    path.write_text(path.read_text().replace("processes = 1", "processes = 1\nmax_runs = 1"))
    place.inbox("reload")
    eventually(lambda: len(place.children("worker")) == 2, "the worker is started anew")
    for answer in place.send("roomz", times=3):
        place.until_status(answer["answer"]["id"], "succeeded")
    eventually(lambda: place.log_text().count("event=worker.renewed") >= 3, "each run is the last")
    place.prove()


LEAVES_THREAD = """
import threading, time
from inbox import handles
from ._noted import noted

@handles("roomz")
@noted
def leave(event):
    threading.Thread(target=time.sleep, args=(600,)).start()
"""


def test_a_thread_that_a_handler_left_keeps_no_worker_from_ending(place: Place) -> None:
    """Neither when it is replaced nor when the inbox stops."""
    place.only_handler("own", LEAVES_THREAD)
    place.configure(worker="processes = 1\nmax_runs = 2")
    place.start()
    for answer in place.send("roomz", times=6):
        place.until_status(answer["answer"]["id"], "succeeded")
    began = time.monotonic()
    assert 0 == place.stop(signal.SIGTERM)
    assert time.monotonic() - began < 20
    place.prove()


def test_a_worker_whose_own_code_fails_is_replaced(place: Place) -> None:
    """A handler breaks what the worker needs in its process: the next process does the work, and nothing is lost."""
    code = """
from inbox import handles
from ._noted import noted

@handles("breakcold", attempts=1)
@noted
def breaks(event):
    from inbox.store.sql.deliveries import SqliteWork
    SqliteWork.take = None

@handles("roomz", attempts=1)
@noted
def quiet(event):
    pass
"""
    place.only_handler("own", code)
    place.configure(worker="processes = 1\nlease = 60.0")
    place.start()
    for source in ("breakcold", "roomz", "breakcold", "roomz"):
        event = place.until_status(place.send(source)[0]["answer"]["id"], "succeeded")
        assert ["succeeded"] == runs(event)
    assert 1 == len(place.children("worker"))
    assert "event=worker.gave_up" in place.log_text()
    eventually(lambda: len(descendants(worker_of(place))) == 2, "a scheduler and a worker")
    place.prove()


SLOW = """
import time
from pathlib import Path
from inbox import handles
from ._noted import noted

@handles("roomz", attempts=1)
@noted
def slow(event):
    Path("begun.txt").touch()
    while not Path("go.txt").exists():
        time.sleep(0.02)
"""


def test_a_worker_that_cannot_record_hands_over_to_its_parent(place: Place) -> None:
    """Another program has the database for longer than a lease: the worker is replaced, and its outcome is kept."""
    place.only_handler("own", SLOW)
    place.configure(worker="processes = 1\nlease = 3.0")
    place.start()
    number = place.send("roomz")[0]["answer"]["id"]
    eventually((place.folder / "begun.txt").exists, "the handler runs")
    since = time.time()
    with closing(sqlite3.connect(place.folder / "inbox.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        (place.folder / "go.txt").touch()
        eventually(lambda: "event=worker.gave_up" in place.log_text(), "the worker gives up", 60)
        eventually(lambda: "event=worker.not_settled" in place.log_text(), "its parent waits", 60)
        place.witness.disturbed("stop", 0, since)
        other.execute("ROLLBACK")
    event = place.until_status(number, "succeeded")
    assert 0 == event["deliveries"][0]["crashes"] or "succeeded" in runs(event)
    place.until_status(place.send("roomz")[0]["answer"]["id"], "succeeded")
    place.prove()
