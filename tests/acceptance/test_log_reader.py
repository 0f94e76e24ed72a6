"""The reader of the log sleeps, is gone, or never was there: the inbox receives, handles, restarts and stops."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.place import Place, descendants, eventually

HANDLER = """
import sys, time
from inbox import handles
from ._noted import noted

@handles("*", timeout=0.5, backoff=0.1)
@noted
def own(event):
    print("x" * 10_000, flush=True)
    if event.payload.get("hang"):
        while True:
            try:
                time.sleep(60)
            except BaseException:
                pass
"""
SOURCES = '[sources.open]\nprovider = "unsigned"\nevent_id = "json:/id"\n'


@pytest.fixture
def asleep(place: Place) -> Iterator[Place]:
    """An inbox whose standard output and error are a pipe that is full and that nothing reads."""
    place.only_handler("own", HANDLER)
    place.configure(sources=SOURCES, worker="processes = 1\nkill_after = 0.5\nlease = 2.0\nmax_crashes = 2")
    reading, writing = os.pipe()
    place.files = (writing,)
    place.prefix = ["bash", "-c", f'exec "$0" "$@" >&{writing} 2>&{writing}']
    place.start()
    eventually(lambda: "handlers.loaded" in os.read(reading, 65_536).decode(), "the worker is ready")
    threading.Thread(target=fill, args=(writing,), daemon=True).start()
    yield place
    place.close()
    os.close(reading)


def fill(end: int) -> None:
    """Write more than the pipe takes, and wait there."""
    try:
        while True:
            os.write(end, b"x" * 4096)
    except OSError:
        os.close(end)


def _workers(place: Place) -> list[int]:
    return [pid for pid in descendants(place.pid) if b"\0worker" in _command(pid)]


def _command(pid: int) -> bytes:
    """Return the command line of a process, nothing of one that has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_full_pipe_as_log_stops_nothing(asleep: Place) -> None:
    """A worker that dies is replaced, a handler that hangs is ended with its process, and SIGTERM stops the inbox."""
    for number in range(50):
        asleep.send("open", body=b'{"id": "n%d"}' % number)
    main = min(_workers(asleep))
    asleep.kill(main)
    eventually(lambda: _workers(asleep) and main not in _workers(asleep), "the worker is started again")
    after = asleep.send("open", body=b'{"id": "after"}')[0]["answer"]["id"]
    asleep.until_status(after, "succeeded")
    hangs = asleep.send("open", body=b'{"id": "hangs", "hang": true}', fate="dead")[0]["answer"]["id"]
    asleep.until_status(hangs, "dead")
    assert 0 == asleep.stop()


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-", "2> >(true)", "2>/dev/full >/dev/full"])
def test_an_inbox_without_a_log_works(place: Place, closed: str) -> None:
    """Standard error is closed, its reader has ended, or its disk is full."""
    place.only_handler("own", HANDLER)
    place.configure(sources=SOURCES)
    place.prefix = ["bash", "-c", f'exec "$0" "$@" {closed}']
    place.start()
    place.until_status(place.send("open", body=b'{"id": "one"}')[0]["answer"]["id"], "succeeded")
    assert 0 == place.stop()


@pytest.fixture
def served(place: Place) -> Iterator[tuple[Place, int, int]]:
    """A receiver that keeps few lines for a reader that sleeps: the inbox, and both ends of the pipe."""
    place.only_handler("own", "from inbox import handles\n")
    place.configure(sources=SOURCES)
    reading, writing = os.pipe()
    code = "import inbox.core.streams; inbox.core.streams.LIMIT = 5; from inbox.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve"], cwd=place.folder, env=place.environment, stderr=writing
    )
    try:
        eventually(place.answers, "it answers")
        yield place, reading, writing
    finally:
        process.terminate()
        os.close(reading)
        os.close(writing)
        assert 0 == process.wait(30)


def test_what_is_dropped_is_counted(served: tuple[Place, int, int]) -> None:
    """The reader sleeps and wakes up: a line says how many are missing, and those after it are there."""
    place, reading, writing = served
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 1024)
    except BlockingIOError:
        os.set_blocking(writing, True)
    place.send("open", 40, body=b'{"id": "same"}')
    os.set_blocking(reading, False)
    found = bytearray()

    def has(word: bytes) -> bool:
        try:
            found.extend(os.read(reading, 65_536))
        except BlockingIOError:
            return word in found
        return False

    eventually(lambda: has(b"event=log.dropped lines="), "the lines are counted")
    place.send("open", body=b'{"id": "later"}')
    eventually(lambda: has(b"key=later"), "the next line is there")
