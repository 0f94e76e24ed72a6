"""What a process writes never waits for the reader: lines in their order, none lost that fits, the others counted."""

import io
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inbox.core import streams
from inbox.core.streams import PIECE, Descriptor, LineWriter, pieces
from tests.store.test_sqlite import exit_code, in_fork
from tests.support.place import eventually
from tests.support.stores import in_threads


def encoded(item: Any) -> bytes:
    return item if isinstance(item, bytes) else str(item).encode()


def writer(file: streams.File) -> LineWriter:
    return LineWriter(file, encoded, lambda number: f"dropped {number}\n")


def test_lines_are_written_soon_and_in_order() -> None:
    """Nothing has to be flushed."""
    file = io.BytesIO()
    made = writer(file)
    for number in range(100):
        made.write(f"{number}\n")
    eventually(lambda: file.getvalue().decode() == "".join(f"{number}\n" for number in range(100)), "all are there", 5)


def test_lines_of_many_threads_are_all_written() -> None:
    """Each line is written once, and those of one thread in their order."""
    file = io.BytesIO()
    made = writer(file)

    def write(thread: int) -> None:
        for number in range(2000):
            made.write(f"{thread} {number}\n")

    in_threads([lambda thread=thread: write(thread) for thread in range(4)])  # type: ignore[misc]
    made.close()
    lines = file.getvalue().decode().splitlines()
    for thread in range(4):
        assert [f"{thread} {n}" for n in range(2000)] == [line for line in lines if line.startswith(f"{thread} ")]


class Full(io.BytesIO):
    """A file on a disk that has no room for a while."""

    full = True

    def write(self, content: Any, /) -> int:
        """Refuse, or take it."""
        if self.full:
            raise OSError("no space left on device")
        return super().write(content)


def test_disk_that_is_full_costs_lines_and_says_how_many() -> None:
    """Nothing piles up meanwhile, and what comes when there is room again is written."""
    file = Full()
    made = writer(file)
    made.write("lost\n")
    made.write("lost, too\n")
    eventually(lambda: made._lost == 2, "the lines are given up", 5)
    file.full = False
    made.write("kept\n")
    eventually(lambda: file.getvalue() == b"kept\ndropped 2\n", "the next line is written", 5)


def _one_line(path: Path) -> None:
    writer(path.open("wb", buffering=0)).write("last words\n")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_last_lines_of_a_process_are_written(tmp_path: Path, method: str) -> None:
    """Also in a child of multiprocessing, as the receiver's is, which runs no atexit."""
    child = multiprocessing.get_context(method).Process(target=_one_line, args=(tmp_path / "log",))
    child.start()
    child.join(20)
    assert (0, "last words\n") == (child.exitcode, (tmp_path / "log").read_text())


def test_forked_child_writes_its_own_lines_and_only_those(tmp_path: Path) -> None:
    """Its parent's thread is not there, and what its parent had collected is its parent's to write."""
    with (tmp_path / "log").open("wb", buffering=0) as file:
        made = writer(file)
        made._come.set()  # as if the parent's thread were about to write
        made.write("parent\n")
        child = in_fork(lambda: (made.write("child\n"), eventually(lambda: not made._lines, "written", 5), made.end()))
        assert 0 == exit_code(child)
        made._start()
        made.close()
    assert ["child", "parent"] == (tmp_path / "log").read_text().splitlines()


def test_lines_are_written_whole() -> None:
    """A pipe takes PIPE_BUF bytes at once: nothing of another process comes between. A longer line stands alone."""
    lines = [b"a" * 1000, b"b" * 3000, b"c" * 200, b"d" * (2 * PIECE), b"e"]
    assert [(1, lines[0]), (2, b"b" * 3000 + b"c" * 200), (1, lines[3]), (1, b"e")] == [
        *pieces(lines[:1]),
        *pieces(lines[1:]),
    ]


@pytest.fixture
def pipe() -> Any:
    """A pipe; the end for reading first."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def fill(end: int) -> int:
    """Write into a pipe as much as it takes, and return how many bytes."""
    os.set_blocking(end, False)
    size = 0
    try:
        while True:
            size += os.write(end, b"x" * 1024)
    except BlockingIOError:
        os.set_blocking(end, True)
    return size


def take(end: int, until: Callable[[bytes], bool]) -> bytes:
    """Read from a pipe until what came is enough."""
    found = b""
    while not until(found):
        found += os.read(end, 65_536)
    return found


def test_a_reader_that_sleeps_costs_lines_not_time(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue is bounded; what does not fit is counted, and the count stands where the lines would."""
    monkeypatch.setattr(streams, "LIMIT", 100)
    reading, writing = pipe
    size = fill(writing)
    made = writer(Descriptor(writing))
    made.write("first\n")
    eventually(lambda: made._writing, "the thread waits for the reader", 5)
    begun = time.monotonic()
    for number in range(1000):
        made.write(f"{number}\n")
    assert time.monotonic() - begun < 5
    assert 100 == len(made._lines)
    found = take(reading, lambda found: b"dropped" in found)[size:].decode().splitlines()
    assert ["first", *map(str, range(100)), "dropped 900"] == found
    made.write("after\n")
    assert b"after\n" == take(reading, lambda found: b"after\n" in found)
    made.close()


def test_what_a_program_prints_fast_is_not_dropped_while_it_is_read(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for room, as it always did; only if nothing is read it goes on without."""
    monkeypatch.setattr(streams, "LIMIT", 10)
    reading, writing = pipe
    made = writer(Descriptor(writing))
    text = "".join(f"{number}\n" for number in range(50_000)).encode()
    thread = threading.Thread(target=made.write_text, args=(text,))
    thread.start()
    assert text == take(reading, lambda found: len(found) >= len(text))
    thread.join(20)
    fill(writing)
    made.write_text(text)  # ends, though nothing is read
    assert made._lost > 0
    os.close(reading)
    made.close()


def test_the_end_of_a_process_does_not_wait_for_ever(pipe: Any) -> None:
    """Standard output and error are full pipes: a process with lines left, a printed word and a traceback ends."""
    _reading, writing = pipe
    fill(writing)
    code = """
import sys, threading
from inbox.core import log
log.configure("info", collect=True)
log.structlog.get_logger("x").info("event.accepted", id=1)
print("no end", end="")
threading.Thread(target=lambda: 1 / 0).start()
print("x" * 100_000, file=sys.stderr)
raise ValueError("the last words")
"""
    done = subprocess.Popen([sys.executable, "-c", code], stdout=writing, stderr=writing)
    assert 1 == done.wait(60)


def test_everything_that_is_printed_is_there_at_the_end() -> None:
    """Printed words without an end, tracebacks of threads, warnings, and the log, in their order."""
    code = """
import logging, sys, threading, warnings
from inbox.core import log
log.configure("info", collect=True)
sys.stderr.write("one\\n")
log.structlog.get_logger("x").info("two")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start(); thread.join()
warnings.warn("three")
print("\\ud800 no end", end="")
raise ValueError("the last words")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "\\ud800 no end" == done.stdout
    places = [done.stderr.find(word) for word in ("one\n", "event=two", "ZeroDivisionError", "three", "the last words")]
    assert (sorted(places), True) == (places, -1 not in places), done.stderr


@pytest.mark.parametrize("file", ["/dev/full", "closed pipe", "nothing"])
def test_a_file_that_takes_nothing_is_no_reason_to_end(file: str, tmp_path: Path) -> None:
    """A full disk, a reader that is gone, or no standard error at all."""
    code = f"""
import os, sys
from inbox.core import log, streams
streams.stand_in()
log.configure("info", collect=len(sys.argv) > 1)
log.structlog.get_logger("x").info("event.accepted", id=1)
print("said", file=sys.stderr, flush=len(sys.argv) > 1)
opened = os.open({str(tmp_path / "new")!r}, os.O_CREAT | os.O_WRONLY)
sys.exit(0 if opened > 2 else 3)
"""
    where = {"/dev/full": "2>/dev/full", "closed pipe": "2> >(true)", "nothing": "2>&- >&- <&-"}[file]
    done = subprocess.run(["bash", "-c", f'exec "$0" "$@" {where}', sys.executable, "-c", code, "collect"], timeout=60)
    assert 0 == done.returncode
    assert b"" == (tmp_path / "new").read_bytes()


def test_a_dump_never_waits_for_a_reader(pipe: Any) -> None:
    """The watchdog writes into a pipe that is read by the parent, and ends its process though that pipe is full."""
    code = """
import faulthandler, os, signal, sys, time
from inbox.core import streams
told = []
streams.take_dumps(told.append)
def child():
    faulthandler.dump_traceback_later(0.2, exit=True, file=streams.dump_file())
    time.sleep(60)
    os._exit(9)
for full in (False, True):
    if full:
        os.kill(os.getpid(), 0)
        blocked = os.fork()
        if not blocked:
            try:
                while True:
                    os.write(streams.dump_file(), b"x" * 4096)
            except BlockingIOError:
                child()
        print(os.waitstatus_to_exitcode(os.waitpid(blocked, 0)[1]))
    else:
        pid = os.fork() or child()
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        time.sleep(1)
        print("Timeout (0:00:00.2" in told[0], 'in child' in told[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ["1", "True True", "1"] == done.stdout.splitlines(), done.stderr
