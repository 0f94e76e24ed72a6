"""Lines on standard error: text or JSON; those that are collected in their order, none lost but with the process."""

import io
import json
import multiprocessing
import re
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.processors import LogfmtRenderer

from inbox.log import _ORDER, Collected, _line, as_text
from tests.acceptance.place import eventually
from tests.conftest import PROJECT
from tests.store.stores import in_threads
from tests.store.test_sqlite import exit_code, in_fork


def test_lines_are_written_soon_and_in_order() -> None:
    """Nobody has to flush."""
    file = io.StringIO()
    collected = Collected(file)
    for number in range(100):
        collected.write(f"{number}\n")
    eventually(lambda: file.getvalue() == "".join(f"{number}\n" for number in range(100)), "all lines are there", 5)


def test_lines_of_many_threads_are_all_written() -> None:
    """While it is written more is collected; each line is written once, and those of one thread in their order."""
    file = io.StringIO()
    collected, ended = Collected(file), threading.Event()

    def write(thread: int) -> None:
        for number in range(2000):
            collected.write(f"{thread} {number}\n")

    def write_now() -> None:
        while not ended.wait(0):
            collected.write_now()

    writer = threading.Thread(target=write_now)
    writer.start()
    in_threads([lambda thread=thread: write(thread) for thread in range(4)])  # type: ignore[misc]
    ended.set()
    writer.join()
    collected.write_now()
    lines = file.getvalue().splitlines()
    for thread in range(4):
        assert [f"{thread} {n}" for n in range(2000)] == [line for line in lines if line.startswith(f"{thread} ")]


class Full(io.StringIO):
    """A file on a disk that has no room for a while."""

    full = True

    def write(self, text: str) -> int:
        """Refuse, or take it."""
        if self.full:
            raise OSError("no space left on device")
        return super().write(text)


def test_disk_that_is_full_costs_lines_not_the_log() -> None:
    """Nothing piles up meanwhile, and what comes when there is room again is written."""
    file = Full()
    collected = Collected(file)
    collected.write("lost\n")
    eventually(lambda: not collected._lines and not collected._come.is_set(), "the line is given up", 5)
    file.full = False
    collected.write("kept\n")
    eventually(lambda: file.getvalue() == "kept\n", "the next line is written", 5)


def _one_line(path: Path) -> None:
    Collected(path.open("w")).write("last words\n")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_last_lines_of_a_process_are_written(tmp_path: Path, method: str) -> None:
    """Also in a child of multiprocessing, as the receiver's is, which runs no atexit."""
    child = multiprocessing.get_context(method).Process(target=_one_line, args=(tmp_path / "log",))
    child.start()
    child.join(20)
    assert (0, "last words\n") == (child.exitcode, (tmp_path / "log").read_text())


def test_forked_child_writes_its_own_lines_and_only_those(tmp_path: Path) -> None:
    """Its parent's thread is not there, and what its parent had collected is its parent's to write."""
    with (tmp_path / "log").open("w") as file:
        collected = Collected(file)
        collected._come.set()  # as if the parent's thread were about to write
        collected.write("parent\n")
        child = in_fork(lambda: (collected.write("child\n"), eventually(lambda: not collected._lines, "written", 5)))
        assert 0 == exit_code(child)
        collected.close()
    assert ["child", "parent"] == (tmp_path / "log").read_text().splitlines()


CODE = """
import logging, structlog, sys
from inbox import log
log.configure("info", sys.argv[1], collect="collect" in sys.argv)
log.label("worker")
structlog.get_logger("x").info("event.accepted", id=1, held=True, delivery=None)
structlog.get_logger("x").warning("own.words", timestamp="yesterday", level="high")
logging.getLogger("huey").warning("it is %s", "late")
try:
    1 / 0
except ZeroDivisionError as error:
    structlog.get_logger("x").error("request.failed", exc_info=error)
"""


def lines(form: str, *options: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, form, *options], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stderr.splitlines()


def test_json_is_one_object_a_line() -> None:
    """Also what libraries log, and a traceback; each with time, level and process."""
    own, words, library, failed = map(json.loads, lines("json"))
    assert ("warning", "own.words", own["pid"]) == (words["level"], words["event"], words["pid"])
    assert [("info", "event.accepted", 1, True), ("warning", "it is late", None, None)] == [
        (line["level"], line["event"], line.get("id"), line.get("held")) for line in (own, library)
    ]
    assert ("huey", True) == (library["logger"], failed["exception"].endswith("ZeroDivisionError: division by zero"))
    for line in (own, library, failed):
        assert ("worker", own["pid"], True) == (line["process"], line["pid"], line["timestamp"].endswith("Z"))


@pytest.mark.parametrize("number", [0, 1])
def test_text_begins_with_what_each_line_has(number: int) -> None:
    """Time, level and process, then the event."""
    line = lines("text")[number]
    names = [part.partition("=")[0] for part in line.split()[:5]]
    assert ["timestamp", "level", "process", "pid", "event"] == names


@pytest.mark.parametrize("form", ["json", "text"])
def test_lines_that_are_collected_say_the_same(form: str) -> None:
    """Those of libraries are written at once, the others a moment later."""
    same = re.compile(r"""timestamp\W+[0-9TZ:.-]+|pid\W+\d+""")
    at_once, later = ([same.sub("", line) for line in lines(form, *options)] for options in ([], ["collect"]))
    assert (4, sorted(at_once)) == (len(later), sorted(later))


def test_an_event_that_no_line_can_be_made_of_costs_only_its_own() -> None:
    """Whatever somebody logs, those after it are written."""
    file = io.StringIO()
    collected = Collected(file, partial(_line, [as_text]))
    collected.write({"event": "a", "two words": 1})
    collected.write({"event": "b"})
    eventually(lambda: file.getvalue().count("\n") == 2, "both lines are there", 5)
    first, second = file.getvalue().splitlines()
    assert ('level=error event=log.failed error="ValueError', "event=b") == (first[:46], second)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["a b", "\n", "\\", "="])
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["id", "event", "type", "key", "level", "pid"]), VALUES))
def test_text_is_what_structlog_writes(event: dict[str, object]) -> None:
    """The short way and the long one give the same line; None is only ever a field's value, never an event's name."""
    event = {key: value for key, value in event.items() if key not in _ORDER or value is not None}
    expected = LogfmtRenderer(key_order=_ORDER, drop_missing=True, bool_as_flag=False)(None, "", dict(event))
    assert expected == as_text(None, "", event)


FORKS = """
import os, sys, threading, time
from inbox.log import Collected

class Slow:
    def __init__(self):
        self.lock = threading.Lock()
    def write(self, text):
        with self.lock:
            time.sleep(0.01)
            os.write(1, text.encode())
    def flush(self):
        pass

collected = Collected(Slow())
for number in range(60):
    collected.write(f"parent {number}\\n")
    time.sleep(0.002)
    if number % 3 == 0:
        pid = os.fork()
        if pid == 0:
            collected.write(f"child {number}\\n")
            collected.write_now()
            os._exit(0)
        os.waitpid(pid, 0)
collected.close()
"""


def test_a_fork_in_the_middle_of_writing_leaves_no_lock_behind() -> None:
    """The child's lines are written, too: the lock of a file that another thread was writing is not taken along."""
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60, cwd=PROJECT)
    lines = done.stdout.splitlines()
    counts = [sum(word in line for line in lines) for word in ("parent", "child")]
    assert (0, [60, 20]) == (done.returncode, counts)
