"""Bytes on a real socket against the real server."""

import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from inbox.models import Request, Secret
from inbox.providers.roomz import Roomz
from inbox.store.base import Filter
from inbox.store.sqlite import open_archive
from tests.acceptance.place import Place

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
    place.configure()
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
        (head(b"/in/roomz", b"Content-Length: 99999999"), (413, "body_too_large")),
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
    raw = head(b"/in/roomz", b"Transfer-Encoding: chunked") + chunk * 17
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
            ("POST", "/in/roomz", larger, (413, "body_too_large")),
            ("GET", "/healthz", None, (200, "ok")),
        ):
            connection.request(method, path, content)
            response = connection.getresponse()
            assert expected == _status((response.status, json.loads(response.read())))
        assert line is connection.sock


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
