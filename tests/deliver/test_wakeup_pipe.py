"""The bell: who waits wakes at once, and whoever rings never waits and never fails."""

import fcntl
import os
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox.deliver.wakeup_pipe import WakeupPipe

LONG = 20.0
"""Seconds that nobody waits when the bell works."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bell"


@pytest.fixture
def listener(path: Path) -> Iterator[WakeupPipe]:
    bell = WakeupPipe(path)
    yield bell
    bell.close()


def waited(bell: WakeupPipe, seconds: float) -> float:
    begun = time.monotonic()
    bell.wait(seconds)
    return time.monotonic() - begun


def test_who_waits_wakes_when_somebody_rings(path: Path, listener: WakeupPipe) -> None:
    """Long before the time is up, and again the next time."""
    for _ in range(2):
        ring = threading.Timer(0.05, WakeupPipe(path).ring)
        ring.start()
        assert waited(listener, LONG) < LONG / 2
        ring.join()


def test_a_ring_before_the_wait_counts(path: Path, listener: WakeupPipe) -> None:
    """Nothing is missed between the look at the queue and the wait; several rings are one."""
    listener.wait(0)
    for _ in range(3):
        WakeupPipe(path).ring()
    assert waited(listener, LONG) < LONG / 2
    assert waited(listener, 0.05) >= 0.05


def test_one_of_those_who_wait_wakes(path: Path) -> None:
    """At least; and another event ends the wait as well, such as that the worker is to stop."""
    bells, times, (reading, writing) = [WakeupPipe(path) for _ in range(3)], [], os.pipe()
    for bell in bells:
        bell.wait(0)

    def wait(bell: WakeupPipe) -> None:
        bell.wait(LONG, [reading])
        times.append(time.monotonic())

    threads = [threading.Thread(target=wait, args=(bell,)) for bell in bells]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    WakeupPipe(path).ring()
    time.sleep(0.1)
    before = len(times)
    os.write(writing, b"!")
    for thread in threads:
        thread.join(LONG / 2)
    for bell in bells:
        bell.close()
    for file in (reading, writing):
        os.close(file)
    assert (True, 3) == (before >= 1, len(times))


def test_ringing_for_nobody_does_nothing(path: Path, listener: WakeupPipe) -> None:
    """No pipe, a pipe that nobody listens to, one that is full, and a file of that name: no error, no wait, no byte."""
    WakeupPipe(path).ring()
    assert not path.exists()
    os.mkfifo(path)
    WakeupPipe(path).ring()
    listener.wait(0)
    for _ in range(70_000):
        WakeupPipe(path).ring()
    path.unlink()
    path.write_bytes(b"mine")
    WakeupPipe(path).ring()
    assert b"mine" == path.read_bytes()


def test_a_pipe_that_was_deleted_is_made_again(path: Path, listener: WakeupPipe) -> None:
    """When the listener waits the next time."""
    listener.wait(0)
    path.unlink()
    listener.wait(0)
    WakeupPipe(path).ring()
    assert waited(listener, LONG) < LONG / 2


def test_without_a_pipe_the_time_is_waited(path: Path, listener: WakeupPipe) -> None:
    """A file of that name, or a folder that is gone."""
    path.write_bytes(b"mine")
    assert waited(listener, 0.05) >= 0.05
    assert waited(WakeupPipe(path / "nowhere" / "bell"), 0.05) >= 0.05


def test_any_number_of_open_files_is_allowed(path: Path, listener: WakeupPipe) -> None:
    """A file with a number above 1023 wakes as well, as in a process whose handlers leak."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1100:
        pytest.skip("so many open files are not allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1100), hard))
    reading, writing = os.pipe()
    high = fcntl.fcntl(reading, fcntl.F_DUPFD_CLOEXEC, 1030)
    try:
        os.write(writing, b"!")
        assert not listener.wait(LONG, [high])
    finally:
        for file in (reading, writing, high):
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_it_says_whether_it_rang(path: Path, listener: WakeupPipe) -> None:
    """And not when the time was up."""
    assert not listener.wait(0)
    WakeupPipe(path).ring()
    assert listener.wait(LONG)


def test_what_is_in_the_way_of_the_pipe_is_named(path: Path, listener: WakeupPipe) -> None:
    """No pipe yet is fine, as is a pipe; a file or a folder is not."""
    assert "" == listener.problem()
    listener.wait(0)
    assert "" == listener.problem()
    path.unlink()
    path.mkdir()
    assert f"{path} is no named pipe" == listener.problem()
