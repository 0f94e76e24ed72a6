"""Bytes on a real socket against the real server."""

import http.client
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest

from inbox.core.config.settings import ServerSettings
from inbox.core.models import Request, Secret
from inbox.process import sockets
from inbox.store.protocols import Filter
from inbox.store.sqlite import open_archive
from inbox.verify.providers.roomz import Roomz
from tests.support.place import Place, eventually, free_port

WELL_FORMED = b"Roomz-Signature: " + b"A" * 86 + b"=="
"""What could be a signature, of a stranger."""

BODY = b'{"id": "wire", "type": "new.type", "timestamp": "2026-01-01T00:00:00Z", "data": {}}'


def secret(place: Place, name: str) -> str:
    found = re.search(rf"^{name}=(.*)$", (place.folder / ".env").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def signature(place: Place, body: bytes) -> bytes:
    provider = Roomz(secrets=(Secret(secret(place, "ROOMZ_WEBHOOK_SECRET")),))
    return str(provider.sign(Request(body=body), at=0).header("Roomz-Signature")).encode()


def exchange(place: Place, raw: bytes) -> tuple[int, Any]:
    """Send bytes and return the status and the JSON of the answer."""
    with socket.create_connection(("127.0.0.1", place.port), timeout=10) as connection:
        connection.sendall(raw)
        file = connection.makefile("rb")
        status = int(file.readline().split()[1])
        length = 0
        while line := file.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        text = file.read(length)
    return status, json.loads(text) if text else None


def head(path: bytes, *lines: bytes, method: bytes = b"POST") -> bytes:
    return b"\r\n".join([method + b" " + path + b" HTTP/1.1", b"Host: inbox", *lines, b"", b""])


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A receiver that all these tests share."""
    place = Place(tmp_path_factory.mktemp("serving"))
    place.configure(server="body_timeout = 2.0")
    place.start("serve")
    yield place
    place.close()


def events(place: Place) -> list[dict[str, Any]]:
    """Return what is stored, newest first."""
    with closing(open_archive(place.settings.database)) as archive:
        return archive.events(Filter(), 1000)


def test_requests_on_the_wire(serving: Place) -> None:
    """Chunked bodies, sizes, methods, odd headers: a clear status each, and only what is authentic is stored."""
    before = len(events(serving))
    signed = b"Roomz-Signature: " + signature(serving, BODY)
    length = b"Content-Length: %d" % len(BODY)
    chunks = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (10, BODY[:10], len(BODY) - 10, BODY[10:])
    assert (200, "accepted") == _status(exchange(serving, head(b"/in/roomz", signed, length) + BODY))
    assert (200, "duplicate") == _status(
        exchange(serving, head(b"/in/roomz", signed, b"Transfer-Encoding: chunked") + chunks)
    )
    for raw, expected in (
        (head(b"/in/roomz", length) + BODY, (401, "not_authentic")),
        (head(b"/in/roomz", b"Roomz-Signature: \xff\xfe", length) + BODY, (401, "not_authentic")),
        (head(b"/in/roomz", b"Content-Length: 99999999"), (401, "not_authentic")),
        (head(b"/in/roomz", b"Content-Length: 99999999", WELL_FORMED), (413, "body_too_large")),
        (head(b"/in/roomz", method=b"GET"), (405, "method_not_allowed")),
        (head(b"/in/roomz", b"Content-Length: 0", method=b"SPAM"), (405, "method_not_allowed")),
        (head(b"/in/nobody", b"Content-Length: 0"), (404, "unknown_source")),
        (head(b"/in/%ff%00%0a", b"Content-Length: 0"), (404, "unknown_source")),
        (head(b"/in/roomz/%2e%2e/x?a=%ff&b", signed, length) + BODY, (200, "duplicate")),
        (head(b"/elsewhere", b"Content-Length: 0"), (404, "not_found")),
        (head(b"/healthz", method=b"GET"), (200, "ok")),
        (head(b"/readyz", method=b"GET"), (503, "unavailable")),  # no worker runs here
    ):
        assert expected == _status(exchange(serving, raw)), raw[:80]
    assert before + 1 == len(events(serving))
    assert "request.failed" not in serving.log_text()


def test_a_chunked_body_that_is_too_large_is_413(serving: Place) -> None:
    """Nobody says how long it is; one byte after the limit is enough."""
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    raw = head(b"/in/roomz", b"Transfer-Encoding: chunked", WELL_FORMED) + chunk * 17
    assert (413, "body_too_large") == _status(exchange(serving, raw))


def test_a_refused_body_does_not_break_the_connection(serving: Place) -> None:
    """Whoever writes the whole body before he reads gets the answer, and may use the connection again."""
    large, larger = b"x" * 1_000_000, b"x" * 4_000_000
    with closing(http.client.HTTPConnection("127.0.0.1", serving.port, timeout=10)) as connection:
        connection.connect()
        line = connection.sock
        for method, path, content, expected in (
            ("POST", "/in/nobody", large, (404, "unknown_source")),
            ("POST", "/elsewhere", large, (404, "not_found")),
            ("PUT", "/in/roomz", large, (405, "method_not_allowed")),
            ("POST", "/in/roomz", larger, (401, "not_authentic")),
            ("GET", "/healthz", None, (200, "ok")),
        ):
            connection.request(method, path, content)
            response = connection.getresponse()
            assert expected == _status((response.status, json.loads(response.read())))
        assert line is connection.sock


def test_slow_senders_keep_nobody_waiting_and_are_told_so(serving: Place) -> None:
    """200 bodies that come byte by byte: a good sender is answered meanwhile, and they get a 408 in the end."""
    with ExitStack() as many:
        slow = [many.enter_context(socket.create_connection(("127.0.0.1", serving.port))) for _ in range(200)]
        for connection in slow:
            connection.sendall(head(b"/in/roomz", b"Content-Length: 1000", WELL_FORMED) + b"{")
        for round_ in range(4):
            for connection in slow[round_::4]:
                connection.sendall(b" ")
            begun = time.monotonic()
            assert {200} == {answer["http_status"] for answer in serving.send("roomz", 5)}
            assert time.monotonic() - begun < 1.5
        slow[0].settimeout(10)
        assert b"408" == slow[0].recv(1000).split()[1]
        eventually(lambda: refused(serving.log_text()) == 200, "all of them are refused")


def refused(log: str) -> int:
    """Return how many slow bodies were refused: those with a line, and those that were only counted."""
    return log.count("code=body_too_slow") + sum(map(int, re.findall(r"more=(\d+)", log)))


def test_ends_of_a_connection(serving: Place) -> None:
    """Who closes his half and gets no answer sends again, and it is stored; HTTP/1.0 sees its end; who asks goes on."""
    line = b"Roomz-Signature: " + signature(serving, BODY)
    length = b"Content-Length: %d" % len(BODY)
    whole = head(b"/in/roomz", line, length) + BODY
    other = BODY.replace(b"wire", b"half")
    own = b"Roomz-Signature: " + signature(serving, other)

    def stored() -> bool:
        with socket.create_connection(("127.0.0.1", serving.port), timeout=10) as connection:
            connection.sendall(head(b"/in/roomz", own, b"Content-Length: %d" % len(other)) + other)
            connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                connection.recv(1000)  # hyper may see the end first, and not write, nor even call us
        return "half" in [event["key"] for event in events(serving)]

    eventually(stored, "it is stored")
    with socket.create_connection(("127.0.0.1", serving.port), timeout=10) as connection:
        connection.sendall(whole.replace(b"HTTP/1.1", b"HTTP/1.0"))
        answer = b"".join(iter(lambda: connection.recv(1000), b""))
        assert (b"HTTP/1.0 200", b"}\n") == (answer[:12], answer[-2:])
    with socket.create_connection(("127.0.0.1", serving.port), timeout=10) as connection:
        connection.sendall(head(b"/in/roomz", line, length, b"Expect: 100-continue"))
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == connection.recv(1000)
        connection.sendall(BODY)
        assert b"HTTP/1.1 200" == connection.recv(1000)[:12]


def test_as_many_files_as_connections_may_be_open() -> None:
    """The soft limit is raised, up to the hard one, and never lowered."""
    code = "import resource as r, inbox.process.sockets as l; l.allow_files(%d); print(r.getrlimit(r.RLIMIT_NOFILE))"
    for number, soft in ((300, 300), (100, 200), (9999, 400)):
        command = ["prlimit", "--nofile=200:400", sys.executable, "-c", code % number]
        assert (
            f"({soft}, 400)"
            == subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()
        )


def test_answers_are_not_held_back() -> None:
    """Connections have TCP_NODELAY from the socket that listens: no answer waits for the sender's acknowledgement."""
    with sockets.bind(ServerSettings(port=free_port())) as listening:
        listening.setblocking(True)
        listening.listen()
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as taken:
            assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("name", [b"api_key", b"Api-Key", b"API_KEY"])
def test_a_header_name_with_an_underscore_arrives(serving: Place, name: bytes) -> None:
    """Rootfi's own example names its static header `api_key`."""
    key = secret(serving, "ROOTFI_SECRET").encode()
    body = b'{"event": "connection.changed", "company_id": "%s"}' % name
    raw = head(b"/in/rootfi", name + b": " + key, b"Content-Length: %d" % len(body)) + body
    assert (200, "accepted") == _status(exchange(serving, raw))
    assert "CONNECTION_CHANGED" == events(serving)[0]["type"]


def test_no_secret_is_on_disk_or_in_the_log(serving: Place) -> None:
    """After one accepted request of every seed sender, no file of the inbox but `.env` holds a secret."""
    for source in ("roomz", "roomle", "breakcold", "breakcold-v2", "lemlist", "rootfi", "romify"):
        serving.send(source)
    values = re.findall(r"^[A-Z0-9_]+=(.+)$", (serving.folder / ".env").read_text(), re.MULTILINE)
    assert len(values) >= 8
    for path in [*serving.folder.glob("*.db*"), serving.log]:
        assert [] == [value for value in values if value.encode() in path.read_bytes()], path


def _status(answer: tuple[int, Any]) -> tuple[int, Any]:
    status, body = answer
    return status, body.get("status") or body.get("error")
