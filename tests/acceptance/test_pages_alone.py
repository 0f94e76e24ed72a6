"""Pages at their own address: a process that may fail, be killed or find its port taken, and receiving goes on."""

import http.client
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from tests.support.place import Place, eventually, free_port


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """An inbox whose pages have an address that somebody else has, at first."""
    made, port = Place(tmp_path_factory.mktemp("place")), free_port()
    made.configure()
    path = made.folder / "inbox.toml"
    path.write_text(path.read_text().replace('# bind = ""', f'bind = "127.0.0.1:{port}"'))
    made.inbox("admin", "set-password", input="a password of the owner\n")
    try:
        with socket.socket() as other:
            other.bind(("127.0.0.1", port))
            other.listen()
            made.start()
            eventually(lambda: "child.died child=pages" in made.log_text(), "the pages do not start")
            assert [200] == [answer["http_status"] for answer in made.send("roomz")]
        yield made
    finally:
        made.close()


def status(port: int, path: str) -> int:
    """Return the status of an address, 0 if nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except ConnectionError:
        return 0
    finally:
        connection.close()


def test_pages_are_there_alone(place: Place) -> None:
    """As soon as the port is free; the receiver has none, and the pages take no events."""
    port = place.settings.admin.address[1]
    eventually(lambda: status(port, "/inbox/login") == 200, "the pages are tried again")
    assert [404, 404, 404, 200] == [
        status(place.port, path) for path in ("/inbox/", "/inbox/login", "//inbox/", "/healthz")
    ]
    assert [404, 404, 200, 302] == [status(port, path) for path in ("/in/roomz", "/readyz", "/healthz", "/")]


def test_killed_pages_come_back_and_receiving_goes_on(place: Place) -> None:
    """The supervisor starts them again; no sender notices."""
    port = place.settings.admin.address[1]
    eventually(lambda: status(port, "/inbox/login") == 200, "the pages are there")
    before = place.children("pages")
    os.kill(before[-1], signal.SIGKILL)
    assert [200] * 5 == [answer["http_status"] for answer in place.send("roomz", 5)]
    eventually(lambda: len(place.children("pages")) > len(before), "they are started again")
    eventually(lambda: status(port, "/inbox/login") == 200, "and answer")
