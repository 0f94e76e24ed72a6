"""Hostile bytes on real sockets against one real server, which has to be the same, well and small afterwards."""

import gzip
import random
import re
import secrets
import socket
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from inbox.core.models import Request, Secret
from inbox.store.protocols import Filter
from inbox.store.sqlite import open_archive
from inbox.verify.providers.roomz import Roomz
from tests.support.place import Place, descendants, eventually

CONNECTIONS = 6
GROWTH = 100 * 1024
"""KiB that the receiver may grow by under everything that stands here."""

KEY = "socket-secret-0001"
SOURCES = """
[sources.roomz]
provider = "roomz"
secrets = ["env:HOSTILE_KEY"]
event_id = ["json:/id", "path"]
[sources.token]
provider = "token"
secrets = ["env:HOSTILE_KEY"]
secret_in = "header"
secret_name = "X-Key"
event_id = ["header:X-Id"]
"""
BODY = b'{"id": "%s", "type": "new.type", "timestamp": "2026-01-01T00:00:00Z", "data": {}}'
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: inbox\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TOKEN = b"X-Key: " + KEY.encode()


class Server:
    """A receiver, and what is known of it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        [self.process] = descendants(place.pid)[-1:]
        self.size = self.memory()

    def connect(self, timeout: float = 10) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.place.port), timeout=timeout)

    def talk(self, raw: bytes, quiet: float = 0.1) -> bytes:
        """Send bytes and return all that comes until the connection ends, or is quiet after an answer."""
        found = b""
        with self.connect() as connection, suppress(ConnectionError, TimeoutError):
            connection.sendall(raw)
            while part := connection.recv(65536):
                found += part
                connection.settimeout(10 if found.endswith(CONTINUE) else quiet)
        return found

    def statuses(self, raw: bytes, quiet: float = 0.1) -> list[int]:
        """Return the statuses of all answers to these bytes."""
        answers = self.talk(raw, quiet).replace(CONTINUE, b"")
        return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", answers)]

    def answers(self, timeout: float = 10) -> bool:
        try:
            with self.connect(timeout) as connection:
                connection.sendall(HEALTH)
                return b" 200 " in connection.recv(100)
        except TimeoutError:
            return False

    def memory(self) -> int:
        """Return the receiver's resident memory in KiB."""
        status = Path(f"/proc/{self.process}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0])

    def events(self) -> set[str]:
        """Return the keys of all events."""
        archive = open_archive(self.place.folder / "inbox.db")
        try:
            return {event["key"] for event in archive.events(Filter(), 1000)}
        finally:
            archive.close()

    def refused(self) -> int:
        """Return how many bodies were refused as cut off; the log has only so many of them a second."""
        with closing(sqlite3.connect(self.place.folder / "inbox.db")) as connection:
            sql = "SELECT count(*) FROM refusals WHERE code = 'incomplete_body'"
            return int(connection.execute(sql).fetchone()[0])


def signed(body: bytes) -> bytes:
    request = Roomz(secrets=(Secret(KEY),)).sign(Request(body=body), at=0)
    return b"Roomz-Signature: " + str(request.header("Roomz-Signature")).encode()


def head(*lines: bytes, path: bytes = b"/in/roomz", method: bytes = b"POST", version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join([method + b" " + path + b" " + version, b"Host: inbox", *lines, b"", b""])


def whole(body: bytes) -> bytes:
    return head(signed(body), b"Content-Length: %d" % len(body)) + body


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = Place(tmp_path_factory.mktemp("sockets"))
    place.environment["HOSTILE_KEY"] = KEY
    place.configure(server=f"max_connections = {CONNECTIONS}\nthreads = 2", sources=SOURCES)
    place.start("serve")
    try:
        eventually(lambda: descendants(place.pid), "the receiver has its own process")
        server = Server(place)
        assert server.answers()
        yield server
    finally:
        place.close()


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """After each test: the same process, no event that it did not sign, no failure in the log, bounded memory."""
    before = running.events()
    yield running
    eventually(running.answers, "the receiver answers", 15)
    assert running.process in descendants(running.place.pid)
    assert "request.failed" not in running.place.log_text()
    assert "Traceback" not in running.place.log_text()
    assert {key for key in running.events() - before if not key.startswith("signed")} == set()
    assert running.memory() < running.size + GROWTH


def body(text: str = "") -> bytes:
    return BODY % (text or f"signed-{secrets.token_hex(8)}").encode()


UNSIGNED = body("stranger")
CHUNKED = b"Transfer-Encoding: chunked"
WELL_FORMED = b"Roomz-Signature: " + b"A" * 86 + b"=="
CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("lines", "sent", "status"),
    [
        ((b"Content-Length: -1",), b"{}", 400),
        ((b"Content-Length: +2",), b"{}", 400),
        ((b"Content-Length: two",), b"{}", 400),
        ((b"Content-Length: 0x2",), b"{}", 400),
        ((b"Content-Length: 1_0",), b"{}" * 5, 400),
        (("Content-Length: ٢".encode(),), b"{}", 400),
        ((b"Content-Length: 2, 2",), b"{}", 400),
        ((b"Content-Length: " + b"9" * 30,), b"{}", 400),
        ((b"Content-Length: 2", b"Content-Length: 3"), b"{}x", 400),
        ((b"Content-Length: 2", b"Content-Length: 2"), b"{}", 401),
        ((), b"", 401),
        ((b"Transfer-Encoding: gzip",), CHUNKS, 400),
        ((b"Transfer-Encoding: xchunked",), CHUNKS, 400),
        ((b"Transfer-Encoding: chunked, identity",), CHUNKS, 400),
        ((CHUNKED, b"Transfer-Encoding: identity"), CHUNKS, 400),
        ((b"Transfer-Encoding : chunked",), CHUNKS, 400),
        ((b"Transfer-Encoding:\tchunked",), CHUNKS, 401),
        ((CHUNKED,), b"2;name=value;x\r\n{}\r\n0\r\n\r\n", 401),
        ((CHUNKED,), b"2\r\n{}\r\n0\r\nRoomz-Signature: x\r\n\r\n", 401),
        ((CHUNKED, WELL_FORMED), b"2\r\n{}\r\n0\r\n" + b"A: b\r\n" * 5000 + b"\r\n", 400),
        ((CHUNKED,), b"2\r\n{}\r\n0\r\n" + b"A: b\r\n" * 5000 + b"\r\n", 401),
        ((b"X: a\0b", b"Content-Length: 2"), b"{}", 400),
        ((b"X: a\x01b", b"Content-Length: 2"), b"{}", 400),
        ((b"X: a\rb", b"Content-Length: 2"), b"{}", 400),
        ((b"X: a\r\n b", b"Content-Length: 2"), b"{}", 400),
        ((b"X y: a", b"Content-Length: 2"), b"{}", 400),
        ((b"X: " + b"a" * 600_000, b"Content-Length: 2"), b"{}", 431),
        ((*(b"X%d: y" % number for number in range(5000)), b"Content-Length: 2"), b"{}", 431),
        ((b"Expect: 100-continue", b"Content-Length: 2"), b"{}", 401),
        ((b"Expect: 100-continue", b"Content-Length: 99999999", WELL_FORMED), b"", 413),
        ((b"Expect: 100-continue", b"Content-Length: 99999999"), b"", 401),
        ((b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"Content-Length: 2"), b"{}", 401),
    ],
)
def test_framing_that_lies_is_refused(server: Server, lines: tuple[bytes, ...], sent: bytes, status: int) -> None:
    """One answer, never a 2xx, never a 500; what stands behind a doubtful length is not taken for a request."""
    assert [status] == server.statuses(head(*lines) + sent)[:1]


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (head(b"Content-Length: 2", path=b"http://elsewhere/in/roomz") + b"{}", 401),
        (head(path=b"*", method=b"OPTIONS"), 404),
        (head(path=b"inbox:80", method=b"CONNECT"), 404),
        (head(method=b"TRACE"), 405),
        (head(method=b"OPTIONS"), 405),
        (head(b"Content-Length: 2", method=b"post") + b"{}", 401),
        (head(b"Content-Length: 2", path=b"/in%2froomz") + b"{}", 401),
        (head(b"Content-Length: 2", path=b"/in/roomz%00") + b"{}", 404),
        (head(b"Content-Length: 2", path=b"/in/roomz/%c0%ae%c0%af/%ff") + b"{}", 401),
        (head(b"Content-Length: 2", path=b"/in/roomz/a%0d%0aX:%20y") + b"{}", 401),
        (head(b"Content-Length: 2", path=b"/in/nobody/..;/roomz") + b"{}", 404),
        (head(b"Content-Length: 2", path=b"/in/nobody/../roomz") + b"{}", 404),
        (head(b"Content-Length: 2", path="/in/rööm".encode()) + b"{}", 404),
        (head(b"Content-Length: 2", path=b"//in//roomz") + b"{}", 404),
        (head(b"Content-Length: 2", path=b"//in/roomz//") + b"{}", 401),
        (head(b"Content-Length: 2", path="/elsewhere?ö=%ff".encode()) + b"{}", 404),
        (head(b"Content-Length: 2", path=b"/in/roomz/%zz%1?%&&==") + b"{}", 401),
        (head(b"Content-Length: 2", path=b"/in/" + b"n" * 60_000) + b"{}", 404),
        (head(b"Content-Length: 2", path=b"/in/" + b"n" * 70_000) + b"{}", 414),
        (head(b"Content-Length: 2", version=b"HTTP/1.9") + b"{}", 400),
        (head(b"Content-Length: 2", version=b"HTTP/1.0") + b"{}", 401),
        (b"GET /healthz\r\n\r\n", 400),
        (b"POST /in/roomz HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 401),
        (b"POST /in/roomz HTTP/1.1\nHost: inbox\nContent-Length: 2\n\n{}", 401),
        (b"POST /in/roomz HTTP/1.1\r\nHost: a/b@c:9999 \xff\r\nContent-Length: 2\r\n\r\n{}", 401),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), 400),
    ],
)
def test_targets_and_versions_out_of_the_ordinary(server: Server, first: bytes, status: int) -> None:
    """Each has one clear status; nothing is found by another name than its own."""
    assert [status] == server.statuses(first)


def test_http_2_is_not_spoken(server: Server) -> None:
    """The preface of HTTP/2 ends the connection."""
    assert b"" == server.talk(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")


@pytest.mark.parametrize(
    "framed",
    [
        head(TOKEN, b"X-Id: cut", CHUNKED, path=b"/in/token") + b"9\r\n" + UNSIGNED[:9] + b"\r\nzz\r\n",
        head(TOKEN, b"X-Id: cut", CHUNKED, path=b"/in/token") + b"9\r\n" + UNSIGNED,
        head(TOKEN, b"X-Id: cut", CHUNKED, path=b"/in/token") + b"-2\r\n{}\r\n0\r\n\r\n",
        head(TOKEN, b"X-Id: cut", CHUNKED, path=b"/in/token") + b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n",
        head(TOKEN, b"X-Id: cut", CHUNKED, path=b"/in/token") + b"2;" + b"a" * 100_000 + b"\r\n{}\r\n0\r\n\r\n",
        head(TOKEN, b"X-Id: cut", CHUNKED, path=b"/in/token") + b"2\n{}\n0\n\n",
    ],
)
def test_a_body_in_broken_chunks_is_never_stored(server: Server, framed: bytes) -> None:
    """The secret is right, but not all of the body came: 400, so that the sender's retry is the first copy."""
    assert [400] == server.statuses(framed)
    assert "cut" not in server.events()


@pytest.mark.parametrize("end", ["close", "half", "reset"])
@pytest.mark.parametrize(
    "framed",
    [
        head(TOKEN, b"X-Id: signed-later", b"Content-Length: 500", path=b"/in/token") + UNSIGNED,
        head(TOKEN, b"X-Id: signed-later", b"Content-Length: 500", path=b"/in/token"),
        head(TOKEN, b"X-Id: signed-later", CHUNKED, path=b"/in/token") + b"9\r\n" + UNSIGNED[:9] + b"\r\n",
        head(TOKEN, b"X-Id: signed-later", CHUNKED, path=b"/in/token") + b"99\r\n" + UNSIGNED[:9],
        head(TOKEN, b"X-Id: signed-later", CHUNKED, path=b"/in/token"),
        whole(body("signed-later"))[:-10],
    ],
)
def test_a_connection_that_ends_in_a_body_leaves_nothing(server: Server, framed: bytes, end: str) -> None:
    """Gone without a word: a refusal says what was missing, and nothing takes the key of the retry."""
    before = server.refused()
    with server.connect() as connection:
        connection.sendall(framed)
        if end == "half":
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1000)
        elif end == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    eventually(lambda: server.refused() > before, "it is refused")
    assert "signed-later" not in server.events()


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    """Four requests in one packet, one of them forged: four answers, each to its own."""
    forged = head(signed(body()), b"Content-Length: %d" % len(UNSIGNED)) + UNSIGNED
    assert [200, 401, 200, 200] == server.statuses(whole(body()) + forged + HEALTH + whole(body()))


def test_a_request_hidden_behind_two_lengths_is_not_seen(server: Server) -> None:
    """Content-Length with Transfer-Encoding: the chunks count, and the connection ends behind them."""
    hidden = whole(body("smuggled"))
    outer = head(b"Content-Length: %d" % (len(CHUNKS) + len(hidden)), CHUNKED) + CHUNKS
    assert [401] == server.statuses(outer + hidden)
    outer = head(CHUNKED, b"Content-Length: 3") + CHUNKS
    assert [401] == server.statuses(outer + hidden)
    assert "smuggled" not in server.events()


def test_a_compressed_body_is_what_was_signed(server: Server) -> None:
    """Nothing is unpacked, so nothing can explode: the bytes verify, are not JSON, and are kept as quarantined."""
    bomb = gzip.compress(b"0" * 100_000_000)
    for coding in (b"gzip", b"deflate, gzip", b"br"):
        lines = (TOKEN, b"X-Id: signed-bomb", b"Content-Encoding: " + coding, b"Content-Length: %d" % len(bomb))
        assert re.search(b'"(quarantined|duplicate)"', server.talk(head(*lines, path=b"/in/token") + bomb))
    lines = (signed(bomb), b"Content-Encoding: gzip", b"Content-Length: %d" % len(bomb))
    packed = head(*lines, path=b"/in/roomz/signed-bomb") + bomb
    assert b'"quarantined"' in server.talk(packed)


def test_slow_bodies_leave_the_other_places(server: Server) -> None:
    """One place is free: everybody else is answered at once, and the slow ones are when they are done."""
    requests = [whole(body()) for _ in range(CONNECTIONS - 1)]
    with ExitStack() as stack:
        slow = [(stack.enter_context(server.connect()), request) for request in requests]
        for connection, request in slow:
            connection.sendall(request[:-30])
        for place in (-30, -20, -10):
            assert server.answers(3)
            assert [200] == server.statuses(whole(body()))
            for connection, request in slow:
                connection.sendall(request[place : place + 10 or None])
        assert [b"200"] * len(slow) == [connection.recv(1000).split()[1] for connection, _ in slow]


def test_slow_bodies_in_every_place_make_others_wait(server: Server) -> None:
    """All places taken: nobody is refused or lost, a new request waits until one of the slow ones is gone."""
    with ExitStack() as slow:
        for _ in range(CONNECTIONS):
            slow.enter_context(server.connect()).sendall(head(b"Content-Length: 99") + b"{")
        time.sleep(0.3)
        with server.connect() as waiting:
            waiting.sendall(whole(body()))
            waiting.settimeout(0.7)
            with pytest.raises(TimeoutError):
                waiting.recv(1000)
            slow.close()
            waiting.settimeout(10)
            assert b"200" == waiting.recv(1000).split()[1]


def test_headers_that_do_not_end_leave_the_other_places(server: Server) -> None:
    """One place is free: the others are answered, and a head that grows is ended."""
    with ExitStack() as slow:
        for _ in range(CONNECTIONS - 1):
            slow.enter_context(server.connect()).sendall(b"POST /in/roomz HTTP/1.1\r\nHost: inbox\r\nX-Slow: ")
        assert server.answers(3)
        assert [200] == server.statuses(whole(body()))
    endless = b"POST /in/roomz HTTP/1.1\r\nHost: inbox\r\nX-Slow: " + b"a" * 2_000_000
    assert set(server.statuses(endless)) <= {431}


def test_a_thousand_connections_opened_and_dropped(server: Server) -> None:
    """A third says nothing, a third begins a head, a third begins a body; then all are gone at once."""
    begun = (b"", b"POST /in/ro", head(b"Content-Length: 100") + b"{")
    for round_ in range(4):
        with ExitStack() as many:
            for number in range(250):
                many.enter_context(server.connect()).sendall(begun[(round_ + number) % 3])
        eventually(lambda: server.answers(5), "the receiver answers")
    assert [200] == server.statuses(whole(body()))


def test_bodies_of_the_largest_size_leave_memory_bounded(server: Server) -> None:
    """Twenty-four times the largest body, with a length and in chunks, and none of it signed."""
    large = b"x" * 1_048_576
    for _ in range(12):
        assert [401] == server.statuses(head(b"Content-Length: %d" % len(large)) + large)
        assert [401] == server.statuses(head(CHUNKED) + b"100000\r\n" + large + b"\r\n0\r\n\r\n")


def test_noise_is_never_a_request(server: Server) -> None:
    """Sixty genuine requests with some bytes changed anywhere: no 500, and only the signed body is stored."""
    chance, text = random.Random(9), whole(body())
    for _ in range(60):
        noisy = bytearray(text)
        for _ in range(chance.randint(1, 6)):
            noisy[chance.randrange(len(noisy))] = chance.randrange(256)
        assert {500, 502, 503}.isdisjoint(server.statuses(bytes(noisy)))
