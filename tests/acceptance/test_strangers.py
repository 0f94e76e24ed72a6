"""Strangers who open connections, send much and prove nothing: genuine senders are answered as if nobody else was."""

import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.acceptance.test_overload import locked
from tests.support.crowd import exchange, get, memory
from tests.support.place import Place, eventually

MIB = 1 << 20
CONNECTIONS = 66
SOURCES = """
[sources.roomz]
provider = "roomz"
secrets = ["env:ROOMZ_KEY"]
[sources.static]
provider = "token"
secrets = ["env:STATIC_KEY"]
secret_name = "X-Key"
event_id = ["json:/id"]
[sources.lemlist]
provider = "lemlist"
secrets = ["env:LEMLIST_KEY"]
[sources.open]
provider = "unsigned"
event_id = ["json:/id"]
[sources.held]
provider = "roomz"
secrets = ["env:ROOMZ_KEY"]
on_unverified = "hold"
"""
HANDLER = """
from inbox import Event, handles
from ._noted import noted

@handles("*")
@noted
def write_down(event: Event) -> None:
    pass
"""
WELL_FORMED = b"Roomz-Signature: " + b"A" * 86 + b"=="
HEAD = b"POST /in/roomz HTTP/1.1\r\n" + WELL_FORMED
NESTED = b"[" + b"[]," * (MIB // 3 - 2) + b"[]]"
"""As objects it takes 26 times as many bytes."""


def settle(place: Place, server: str = "") -> None:
    for name in ("ROOMZ_KEY", "STATIC_KEY", "LEMLIST_KEY"):
        place.environment[name] = f"{name} that only its sender knows"
    place.only_handler("own", HANDLER)
    place.configure(server, "", SOURCES)


def ready(place: Place) -> bool:
    return get(place, "/readyz").status == 200


@contextmanager
def stalled(place: Place, head: bytes, size: int) -> Iterator[list[socket.socket]]:
    """Hold connections on each of which a body of 1 MiB has begun and does not end, for as long as the block lasts."""
    with ExitStack() as many:
        found = [
            many.enter_context(socket.create_connection(("127.0.0.1", place.port), 10)) for _ in range(CONNECTIONS)
        ]
        raw = head + b"\r\nHost: inbox\r\nContent-Length: %d\r\n\r\n" % MIB + b"x" * size
        for connection in found:
            with suppress(OSError):  # it is ended while it sends
                connection.sendall(raw)
            time.sleep(0.02)  # one after the other, they fill the room up to the last bytes
        yield found


def statuses(connections: list[socket.socket]) -> Counter[int]:
    """Return the statuses of those that have been answered."""
    found: Counter[int] = Counter()
    for connection in connections:
        connection.setblocking(False)
        with suppress(OSError, IndexError, ValueError):
            found[int(connection.recv(1000).split()[1])] += 1
    return found


def genuine(place: Place, count: int) -> Counter[tuple[str, int]]:
    """Send from four senders at once, with a signature, a header and a secret in the body; return the statuses."""
    names = ("roomz", "static", "lemlist", "roomz")

    def send(number: int) -> list[tuple[str, int]]:
        return [(names[number], answer["http_status"]) for answer in place.send(names[number], count)]

    with ThreadPoolExecutor(4) as pool:
        return Counter(answer for answers in pool.map(send, range(4)) for answer in answers)


@pytest.mark.parametrize(
    ("head", "size", "ended"),
    [
        (b"POST /in/roomz HTTP/1.1", MIB - 1, None),
        (b"POST /in/roomz HTTP/1.1\r\nRoomz-Signature: x", MIB - 1, None),
        (b"POST /in/static HTTP/1.1\r\nX-Key: a guess", MIB - 1, None),
        (HEAD, MIB - 1, 503),
        (HEAD, MIB // 2 + 1, 503),
        (b"POST /in/lemlist HTTP/1.1", MIB - 1, 503),
        (b"POST /in/open HTTP/1.1", MIB - 1, 503),
        (b"POST /in/held HTTP/1.1", MIB - 1, 503),
        (b"POST /inbox/login HTTP/1.1", MIB - 1, 503),
    ],
    ids=["unsigned", "malformed", "guess", "well-formed", "half", "body secret", "open", "held", "pages"],
)
def test_bodies_that_stall_keep_no_sender_out(place: Place, head: bytes, size: int, ended: int | None) -> None:
    """66 connections with most of 1 MiB each, from the senders' own address: every event is accepted, /readyz is right.

    What its headers refuse is not even kept; of the others the oldest are ended with 503.
    """
    settle(place)
    place.start()
    eventually(lambda: ready(place), "the receiver is ready")
    with stalled(place, head, size) as connections:
        expected = Counter({("roomz", 200): 50, ("static", 200): 25, ("lemlist", 200): 25})
        assert expected == genuine(place, 25)
        assert ready(place)
        found = statuses(connections)
        assert not ended or found[ended] >= CONNECTIONS - 32 * MIB // size - 1, found
        assert genuine(place, 5).total() == 20
    place.prove()


def test_strangers_without_end_keep_no_sender_out(place: Place) -> None:
    """Whoever is ended comes again at once: events are accepted for as long as that goes on."""
    settle(place)
    place.start("serve")
    sent: Counter[tuple[str, int]] = Counter()
    for _ in range(3):
        with stalled(place, HEAD, MIB - 1), ThreadPoolExecutor(1) as pool:
            again = pool.submit(come_again, place)
            while not again.done():
                sent += genuine(place, 5)
    assert {200} == {status for _, status in sent}
    place.prove()


def come_again(place: Place) -> None:
    with stalled(place, HEAD, MIB - 1):
        time.sleep(0.5)


@pytest.mark.parametrize("source", ["lemlist", "open"])
def test_bodies_to_be_parsed_do_not_fill_the_memory(place: Place, source: str) -> None:
    """40 at once of 1 MiB that would be a GiB of objects: none are made without the secret, few without any proof."""
    settle(place)
    place.start("serve")
    genuine(place, 2)
    before = memory(place)

    def send(number: int) -> int:
        return exchange(place, "POST", f"/in/{source}", b"%s%d]" % (NESTED[:-1] + b",", number)).status

    with ThreadPoolExecutor(40) as pool:
        answers = Counter(pool.map(send, range(40)))
    assert (answers[401] == 40) if source == "lemlist" else (answers[200] > 0)
    assert set(answers) <= {200, 401, 503}
    assert memory(place) - before < 400 * MIB
    assert {200} == {status for _, status in genuine(place, 2)}


def test_stranger_who_fills_what_is_held_leaves_room_for_others(place: Place) -> None:
    """The sender with the wrong secret comes from another address, and its requests are held all the same."""
    settle(place)
    place.start("serve")

    def flood(number: int) -> int:
        return exchange(place, "POST", "/in/held", b'{"stranger": %d}' % number).status

    with ThreadPoolExecutor(8) as pool:
        assert {401} == set(pool.map(flood, range(1500)))
    raw = b"POST /in/held HTTP/1.1\r\nHost: inbox\r\n%s\r\nContent-Length: 16\r\n\r\n" % WELL_FORMED
    for number in range(100, 110):
        with socket.create_connection(("127.0.0.1", place.port), 10, ("127.0.0.2", 0)) as connection:
            connection.sendall(raw + b'{"genuine": %d}' % number)
            assert b"401" == connection.recv(1000).split()[1]
    found = Counter(row["remote"] for row in place.json("held", "held"))
    assert Counter({"127.0.0.1": 500, "127.0.0.2": 10}) == found


def test_ready_is_not_said_when_a_body_would_be_refused(place: Place) -> None:
    """Events that wait for a locked store fill the room: 503, and the check that fails is named."""
    settle(place, f"store_timeout = 30.0\nmax_in_flight_bytes = {MIB}")
    place.start()
    eventually(lambda: ready(place), "the receiver is ready")
    with locked(place) as let_go, ThreadPoolExecutor(4) as pool:
        bodies = [json.dumps({"id": str(number), "data": "x" * 250_000}).encode() for number in range(4)]
        headers = {"X-Key": place.environment["STATIC_KEY"]}
        sent = [pool.submit(exchange, place, "POST", "/in/static", body, headers) for body in bodies]
        time.sleep(1)
        ask = lambda: (got := get(place, "/readyz")).content.get("failing") == ["capacity"] and got  # noqa: E731
        answer = eventually(ask, "it is not ready", 60)
        assert "bytes are being worked on" in answer.content["checks"]["capacity"]
        let_go()
        assert [200] * 4 == [future.result(60).status for future in sent]
    eventually(lambda: ready(place), "it is ready again")
