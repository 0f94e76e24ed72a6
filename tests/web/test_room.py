"""The waiting room: so many are worked on, so many wait, so many bytes; the others are told so at once."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from inbox.config import ServerSettings
from inbox.errors import BodyTooLarge, StoreUnavailable
from inbox.web.room import Room
from tests.acceptance.place import eventually

LONG = 20.0


@contextmanager
def inside(room: Room, *sizes: int) -> Iterator[None]:
    """Let requests with bodies of these sizes be worked on for as long as the block lasts."""
    with ExitStack() as stay:
        for size in sizes:
            room.enter(stay, size, partial(bytes, size))
        yield


@contextmanager
def waiting(room: Room, *sizes: int) -> Iterator[list[Future[bytes]]]:
    """Let requests wait for their turn."""
    with ThreadPoolExecutor(len(sizes)) as pool:
        futures = []
        for size in sizes:
            futures.append(pool.submit(entered, room, size))
            eventually(lambda: room._waiting == len(futures), "it waits", LONG)
        yield futures


def entered(room: Room, size: int) -> bytes:
    """Enter and leave."""
    with ExitStack() as stay:
        return room.enter(stay, size, partial(bytes, size))


def test_so_many_are_worked_on_and_the_next_gets_its_turn_when_one_leaves() -> None:
    """Each gets its body, after somebody has left."""
    room = Room(ServerSettings(threads=2, patience=LONG))
    with ExitStack() as outer:
        with inside(room, 1, 2):
            futures = outer.enter_context(waiting(room, 3, 4))
            assert [False, False] == [future.done() for future in futures]
        assert [bytes(3), bytes(4)] == [future.result(LONG) for future in futures]
    assert (0, 0) == (room._waiting, room._bytes)


def test_whoever_finds_no_place_to_wait_is_refused_at_once() -> None:
    """The number of those that wait is limited, and counts again when they are gone."""
    room = Room(ServerSettings(threads=1, max_waiting=2, patience=LONG))
    with ExitStack() as outer:
        with inside(room, 1):
            futures = outer.enter_context(waiting(room, 1, 1))
            with pytest.raises(StoreUnavailable, match="2 requests are waiting for their turn"):
                entered(room, 1)
        assert [b"\0", b"\0"] == [future.result(LONG) for future in futures]
    assert (b"\0", 0) == (entered(room, 1), room._bytes)


def test_bytes_are_limited_from_when_they_are_expected() -> None:
    """What would not fit beside the others is not even read; what is alone always fits."""
    room = Room(ServerSettings(threads=8, max_waiting_bytes=10))
    with inside(room, 6, 4):
        with ExitStack() as stay, pytest.raises(StoreUnavailable, match="requests with 10 bytes are being worked on"):
            room.enter(stay, 1, never)
        assert b"" == entered(room, 0)
    assert (bytes(11), 0) == (entered(room, 11), room._bytes)


def never() -> bytes:
    """Fail if the body is read."""
    raise AssertionError("it was read")


def test_what_was_expected_and_did_not_come_does_not_count() -> None:
    """A body of unknown length counts as the largest only while it arrives."""
    room = Room(ServerSettings(threads=8, max_waiting_bytes=10))
    with ExitStack() as stay:
        assert b"1" == room.enter(stay, 10, lambda: b"1")
        assert bytes(9) == entered(room, 9)
    assert 0 == room._bytes


def test_body_that_cannot_be_read_leaves_nothing_behind() -> None:
    """Neither bytes nor a place."""
    room = Room(ServerSettings(threads=1))
    for _ in range(3):
        with ExitStack() as stay, pytest.raises(BodyTooLarge):
            room.enter(stay, 5, too_large)
    assert (b"", 0) == (entered(room, 0), room._bytes)


def too_large() -> bytes:
    """Fail as a body does that is too large."""
    raise BodyTooLarge(5)


def test_turn_that_does_not_come_is_not_waited_for_without_end() -> None:
    """After `patience` the request is refused, and leaves nothing behind."""
    room = Room(ServerSettings(threads=1, patience=0.1))
    with inside(room, 1):
        with pytest.raises(StoreUnavailable, match=r"did not get its turn in 0\.1 s"):
            entered(room, 1)
        assert (0, 1) == (room._waiting, room._bytes)
    assert bytes(1) == entered(room, 1)


def test_many_come_and_go() -> None:
    """32 threads, each 100 times: never more inside than there are places, and nobody is left."""
    room = Room(ServerSettings(threads=3, patience=LONG))
    inner, most = threading.Lock(), [0, 0]

    def come(call: Callable[[int], None]) -> None:
        for _ in range(100):
            with ExitStack() as stay:
                room.enter(stay, 1, partial(bytes, 1))
                call(1)
                call(-1)

    def count(change: int) -> None:
        with inner:
            most[0] += change
            most[1] = max(most)

    with ThreadPoolExecutor(32) as pool:
        for _ in pool.map(come, [count] * 32):
            pass
    assert (True, 0, 0) == (1 <= most[1] <= 3, room._waiting, room._bytes)
