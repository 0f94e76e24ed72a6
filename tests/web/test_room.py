"""The room: so many requests, so many bytes; the others are told so at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from inbox.config import ServerSettings
from inbox.errors import StoreUnavailable
from inbox.web.room import Room, Stay


@contextmanager
def inside(room: Room, *sizes: int) -> Iterator[None]:
    """Let requests with bodies of these sizes be worked on for as long as the block lasts."""
    stays = [Stay(room) for _ in sizes]
    for stay, size in zip(stays, sizes, strict=True):
        stay.begin(size)
    yield
    for stay in stays:
        stay.end()


def test_request_that_finds_no_place_is_refused_at_once() -> None:
    """The number of requests is limited, and there is a place again when one is gone."""
    room = Room(ServerSettings(max_waiting=2))
    with inside(room, 1, 0), pytest.raises(StoreUnavailable, match="2 requests are being worked on"):
        Stay(room).begin(0)
    with inside(room, 1, 1):
        pass
    assert (0, 0) == (room._requests, room._bytes)


def test_bytes_are_limited_from_when_they_are_expected() -> None:
    """What would not fit beside the others is refused; what is alone always fits."""
    room = Room(ServerSettings(max_waiting_bytes=10))
    with inside(room, 6, 4):
        with pytest.raises(StoreUnavailable, match="requests with 10 bytes are being worked on"):
            Stay(room).begin(1)
        with inside(room, 0):
            pass
    with inside(room, 11):
        assert 11 == room._bytes
    assert (0, 0) == (room._requests, room._bytes)


def test_what_was_expected_and_did_not_come_does_not_count() -> None:
    """A body of unknown length counts as the largest only while it arrives."""
    room = Room(ServerSettings(max_waiting_bytes=10))
    stay = Stay(room)
    stay.begin(10)
    stay.has(1)
    with inside(room, 9):
        assert 10 == room._bytes
    stay.end()
    assert (0, 0) == (room._requests, room._bytes)


def test_leaving_twice_or_without_having_come_changes_nothing() -> None:
    """A request that was refused leaves like any other."""
    room = Room(ServerSettings(max_waiting=1))
    with inside(room, 1):
        refused = Stay(room)
        with pytest.raises(StoreUnavailable):
            refused.begin(5)
        refused.end()
        refused.end()
        assert (1, 1) == (room._requests, room._bytes)
    assert (0, 0) == (room._requests, room._bytes)


def test_many_come_and_go() -> None:
    """32 threads, each 100 times: nobody is left."""
    room = Room(ServerSettings(max_waiting=16, max_waiting_bytes=10))

    def come(_: int) -> None:
        for size in range(100):
            stay = Stay(room)
            try:
                stay.begin(size % 7)
                stay.has(0)
            except StoreUnavailable:
                continue
            finally:
                stay.end()

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(come, range(32)))
    assert (0, 0) == (room._requests, room._bytes)
