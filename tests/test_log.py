"""Collected log lines: written together, in order, none twice, none lost but with the process."""

import io
import multiprocessing
import threading
from pathlib import Path

import pytest

from inbox.log import Collected
from tests.acceptance.place import eventually
from tests.store.stores import in_threads


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
