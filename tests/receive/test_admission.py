"""The room: so many requests, so many bytes, a part of both for what nothing proves; the others are told so at once."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from inbox.core.config.settings import ServerSettings
from inbox.core.errors import StoreUnavailable
from inbox.receive.admission import LARGE, PARSED_AT_ONCE, PROBE, AdmissionControl, Reservation


def stay(
    room: AdmissionControl, size: int = 0, *, remote: str = "192.0.2.1", proven: bool = False, more: bool = False
) -> Reservation:
    """Return a request of which so much has come."""
    made = Reservation(room, remote)
    made.proven = proven
    made.grow(size, more=more)
    return made


@contextmanager
def inside(room: AdmissionControl, *sizes: int) -> Iterator[None]:
    """Let proven requests with bodies of these sizes be worked on for as long as the block lasts."""
    stays = [stay(room, size, proven=True) for size in sizes]
    for one in stays:
        one.enter(proven=True)
    yield
    for one in stays:
        one.end()


def is_empty(room: AdmissionControl) -> bool:
    found = (room._requests, room._bytes, room._unproven_requests, room._unproven_bytes, room._parsing, room._shares)
    return found == (0, 0, 0, 0, 0, {})


def test_request_that_finds_no_place_is_refused_at_once() -> None:
    """The number of requests is limited, and there is a place again when one is gone."""
    room = AdmissionControl(ServerSettings(max_in_flight=2))
    with inside(room, 1, 0), pytest.raises(StoreUnavailable, match="2 requests are being worked on"):
        Reservation(room, "").enter(proven=True)
    with inside(room, 1, 1):
        pass
    assert is_empty(room)


def test_bytes_are_limited() -> None:
    """What would not fit beside the others is refused; what is alone always fits."""
    room = AdmissionControl(ServerSettings(max_in_flight_bytes=10))
    with inside(room, 6, 4):
        with pytest.raises(StoreUnavailable, match="requests with 10 bytes are being worked on"):
            stay(room, 1, proven=True)
        with inside(room, 0):
            pass
    with inside(room, 11):
        assert 11 == room._bytes
    assert is_empty(room)


def test_leaving_twice_or_without_having_come_changes_nothing() -> None:
    """A request that was refused leaves like any other."""
    room = AdmissionControl(ServerSettings(max_in_flight=1))
    with inside(room, 1):
        refused = stay(room, 5)
        with pytest.raises(StoreUnavailable):
            refused.enter(proven=True)
        refused.end()
        refused.end()
        assert (1, 1) == (room._requests, room._bytes)
    assert is_empty(room)


def test_what_proves_nothing_gets_half_of_the_bytes_and_of_the_places() -> None:
    """The other half is for what is proven, which may use both."""
    room = AdmissionControl(ServerSettings(max_in_flight=4, max_in_flight_bytes=20))
    strangers = [stay(room, 5), stay(room, 5)]
    with pytest.raises(StoreUnavailable, match="10 bytes that prove nothing yet"):
        stay(room, 1)
    for one in strangers:
        one.enter(proven=False)
    third = Reservation(room, "")
    with pytest.raises(StoreUnavailable, match="2 requests that prove nothing"):
        third.enter(proven=False)
    with inside(room, 5, 5):
        assert (4, 20) == (room._requests, room._bytes)
    for one in (*strangers, third):
        one.end()
    assert is_empty(room)


def test_what_its_body_proves_leaves_the_part_of_the_others() -> None:
    """A signed body counts as unproven while it comes, and from then on as every proven one."""
    room = AdmissionControl(ServerSettings(max_in_flight_bytes=20))
    first = stay(room, 10)
    first.enter(proven=True)
    second = stay(room, 10)
    assert (20, 10) == (room._bytes, room._unproven_bytes)
    for one in (first, second):
        one.end()
    assert is_empty(room)


def test_oldest_of_the_address_that_has_most_is_taken_back() -> None:
    """Whether a stranger or a proven sender needs the room; whoever has less than others loses nothing."""
    room = AdmissionControl(ServerSettings(max_in_flight_bytes=200))
    told: list[str] = []

    def arriving(name: str, size: int, remote: str) -> Reservation:
        one = stay(room, size, remote=remote, more=True)
        one.interrupt = lambda: told.append(name)
        return one

    slow = arriving("genuine", 10, "192.0.2.9")
    flood = [arriving(f"flood {number}", 30, f"2001:db8::{number}") for number in range(3)]
    last = stay(room, 20, remote="192.0.2.9")
    assert ["flood 0"] == told
    with pytest.raises(StoreUnavailable, match="needed for others"):
        flood[0].grow(1, more=True)
    proven = stay(room, 130, proven=True)
    assert ["flood 0", "flood 1"] == told
    for one in (slow, *flood, last, proven):
        one.end()
    assert is_empty(room)


def test_address_that_has_most_pays_for_its_own_growth() -> None:
    """Its oldest body goes; if that is the one that grows, that one is refused."""
    room = AdmissionControl(ServerSettings(max_in_flight_bytes=200))
    other = stay(room, 40, remote="192.0.2.9", more=True)
    first, second = (stay(room, 30, more=True) for _ in range(2))
    second.grow(10, more=True)
    assert (True, False, 80) == (first.taken_back, other.taken_back, room._bytes)
    with pytest.raises(StoreUnavailable):
        second.grow(50, more=True)
    assert not other.taken_back
    for one in (other, first, second):
        one.end()
    assert is_empty(room)


def test_nothing_is_taken_back_where_that_would_not_help() -> None:
    """What has come whole, or is proven, stays; then what arrives stays as well."""
    room = AdmissionControl(ServerSettings(max_in_flight_bytes=100))
    arriving = stay(room, 5, more=True)
    with inside(room, 90):
        with pytest.raises(StoreUnavailable):
            stay(room, 20)
        assert not arriving.taken_back
    arriving.grow(0, more=False)
    with pytest.raises(StoreUnavailable):
        stay(room, 50)
    arriving.end()
    assert is_empty(room)


def test_room_is_ready_as_long_as_a_body_would_be_taken() -> None:
    """What strangers could be made to give back counts as free; what they have sent whole does not."""
    room = AdmissionControl(ServerSettings(max_in_flight=2, max_in_flight_bytes=4 * PROBE))
    arriving = stay(room, 2 * PROBE, more=True)
    room.check()
    arriving.grow(0, more=False)
    with pytest.raises(StoreUnavailable, match="prove nothing yet"):
        room.check()
    arriving.end()
    with inside(room, 4 * PROBE), pytest.raises(StoreUnavailable, match="bytes are being worked on"):
        room.check()
    with inside(room, 0, 0), pytest.raises(StoreUnavailable, match="2 requests"):
        room.check()
    room.check()


def test_large_bodies_are_parsed_a_few_at_a_time() -> None:
    """So many bytes at once; one alone may have more; small ones never wait."""
    room = AdmissionControl(ServerSettings())
    first, second, small = (stay(room, size, proven=True) for size in (PARSED_AT_ONCE + 1, LARGE + 1, LARGE))
    first.parse()
    small.parse()
    thread = threading.Thread(target=second.parse)
    thread.start()
    time.sleep(0.05)
    assert (0, PARSED_AT_ONCE + 1) == (second.parsing, room._parsing)
    first.parsed()
    thread.join(10)
    assert LARGE + 1 == second.parsing
    for one in (first, second, small):
        one.end()
    assert is_empty(room)


def test_many_come_and_go() -> None:
    """32 threads, each 100 times, proven or not, whole or in parts, from 5 addresses: nothing is left."""
    room = AdmissionControl(ServerSettings(max_in_flight=16, max_in_flight_bytes=40))

    def come(thread: int) -> int:
        chance, taken = random.Random(thread), 0
        for size in range(100):
            one = Reservation(room, f"192.0.2.{chance.randrange(5)}")
            one.proven = chance.random() < 0.3
            try:
                one.grow(size % 7, more=True)
                one.grow(size % 3, more=chance.random() < 0.5)
                one.enter(proven=one.proven or chance.random() < 0.5)
                taken += 1
            except StoreUnavailable:
                continue
            finally:
                one.end()
        return taken

    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(come, range(32)))
    assert is_empty(room)
