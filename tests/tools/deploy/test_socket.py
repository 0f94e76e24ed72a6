"""The port is opened by somebody else, as systemd does with inbox.socket, and stays open over restarts."""

import http.client
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from inbox.core.config.settings import ServerSettings
from inbox.core.errors import ConfigError
from inbox.process import sockets
from tests.support.needs import program
from tests.support.place import Place, eventually, free_port

SOURCES = '[sources.open]\nprovider = "unsigned"\nevent_id = ["json:/id"]\n'
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


class Sender(threading.Thread):
    """Sends one event after the other on a new connection each; what is not answered with 200 is a failure."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.port = port
        self.keys: list[str] = []
        self.failures: list[str] = []
        self.slowest = 0.0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.03):
            key, began = f"{self.name}-{len(self.keys)}", time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                connection.request("POST", "/in/open", body=b'{"id": "%s"}' % key.encode())
                answer = connection.getresponse()
                if answer.status != 200:
                    self.failures.append(f"{key}: {answer.status}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{key}: {error!r}")
            finally:
                connection.close()
            self.keys.append(key)
            self.slowest = max(self.slowest, time.monotonic() - began)


@pytest.fixture
def port(place: Place) -> Iterator[socket.socket]:
    """A socket that listens, which what is started inherits as its third file, in the way of systemd."""
    place.configure(sources=SOURCES)
    with socket.create_server(("127.0.0.1", place.port), backlog=128) as opened:
        place.files = (opened.fileno(),)
        place.prefix = [sys.executable, "-c", ACTIVATE, str(opened.fileno())]
        yield opened


def test_a_port_that_stays_open_refuses_nobody(place: Place, port: socket.socket) -> None:
    """The receiver is restarted, then everything: every request is answered with 200, later at worst."""
    place.start()
    senders = [Sender(place.port, f"s{n}") for n in range(3)]
    for sender in senders:
        sender.start()
    eventually(lambda: all(sender.keys for sender in senders), "all are sending")
    os.kill(place.children("receiver")[-1], signal.SIGTERM)
    eventually(lambda: place.log_text().count("event=receiver.starting") == 2, "the receiver is started again")
    assert 0 == place.stop()
    place.start()
    sent = [len(sender.keys) for sender in senders]
    eventually(lambda: all(len(s.keys) > n + 1 for s, n in zip(senders, sent, strict=True)), "all go on")
    for sender in senders:
        sender.ended.set()
        sender.join(60)
    assert [] == [failure for sender in senders for failure in sender.failures]
    stored = {row["key"] for row in place.json("events", "--limit", "100000")}
    assert {key for sender in senders for key in sender.keys} == stored
    assert max(sender.slowest for sender in senders) < 30


def test_systemds_own_activation_is_understood(place: Place) -> None:
    """Its program opens the port and starts us at the first connection, which is answered."""
    activate = program("systemd-socket-activate", "systemd")
    place.configure(sources=SOURCES)
    place.prefix = [activate, "-l", f"127.0.0.1:{place.port}"]
    place.start("serve")
    assert 200 == place.send("open")[0]["http_status"]
    assert 0 == place.stop()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "7"}, 3),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "8"}, None),
        ({"LISTEN_FDS": "0", "LISTEN_PID": "7"}, None),
        ({"INBOX_LISTEN_FD": "5"}, 5),
    ],
)
def test_a_socket_is_taken_only_if_it_is_meant_for_us(environ: dict[str, str], expected: int | None) -> None:
    """LISTEN_PID says whose it is; the supervisor says it in its own way."""
    assert expected == sockets.inherited(environ, 7)


def test_what_does_not_listen_is_an_error() -> None:
    """A socket of inbox.socket with Accept=yes is a connection; a file is no socket."""
    with socket.socket() as idle:
        number = os.dup(idle.fileno())
        with pytest.raises(ConfigError, match="does not listen"):
            sockets.adopt(number)
    reading, writing = os.pipe()
    with pytest.raises(ConfigError, match="is no socket"):
        sockets.adopt(reading)
    os.close(reading)
    os.close(writing)


def test_no_answer_waits_for_the_senders_acknowledgement() -> None:
    """Connections inherit that small packets are sent at once."""
    with sockets.bind(ServerSettings(port=free_port())) as listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()):
            connection, _ = eventually(lambda: accepted(listening), "the connection is there")
            with connection:
                assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def accepted(listening: socket.socket) -> Any:
    """Return a connection and where it comes from, None if there is none yet."""
    try:
        return listening.accept()
    except BlockingIOError:
        return None
