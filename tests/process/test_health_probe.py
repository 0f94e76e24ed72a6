"""The watchdog: what it asks, what it takes for silence, and what not."""

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from inbox.core.config.settings import ServerSettings
from inbox.process.health_probe import START, TICK, HealthProbe, connector
from tests.support.place import eventually, free_port


class Answering(BaseHTTPRequestHandler):
    """Answers while `well` is set, and notes each connection and question."""

    protocol_version = "HTTP/1.1"
    well: threading.Event
    connections: list[Any]
    asked: list[str]

    def setup(self) -> None:
        super().setup()
        self.connections.append(self.client_address)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.well.wait(30)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def served() -> Iterator[tuple[type[Answering], ServerSettings]]:
    """What answers, and where it is."""
    kind = type("Here", (Answering,), {"well": threading.Event(), "connections": [], "asked": []})
    kind.well.set()
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield kind, ServerSettings(port=server.server_address[1])
        kind.well.set()
        server.shutdown()


def silence(watchdog: HealthProbe, seconds: float, begin: float = 0.0) -> str:
    """Look each half second for so long."""
    why = ""
    for number in range(int(seconds * 2)):
        why = why or watchdog.look(begin + number / 2)
    return why


def test_it_asks_on_one_connection_and_notices_silence(served: tuple[type[Answering], ServerSettings]) -> None:
    """Silence counts from the last answer; what begins again is given its time."""
    kind, settings = served
    watchdog = HealthProbe(connector(settings, None), 3.0, interval=0.01)
    watchdog.begin(0.0)
    eventually(lambda: len(kind.asked) > 5, "it asks")
    assert ("", 1, {"/healthz"}) == (silence(watchdog, 1), len(kind.connections), set(kind.asked))
    kind.well.clear()
    time.sleep(0.1)
    watchdog.look(1.0)
    assert "" == silence(watchdog, 2.5, 1.0)
    assert "no answer to /healthz for" in silence(watchdog, 3, 3.5)
    watchdog.begin(10.0)
    assert "" == silence(watchdog, 2, 10.0)
    watchdog.close()


def test_a_machine_that_slept_has_not_been_silent(served: tuple[type[Answering], ServerSettings]) -> None:
    """A day between two looks counts as a moment."""
    kind, settings = served
    watchdog = HealthProbe(connector(settings, None), 3 * TICK, interval=0.01)
    watchdog.begin(0.0)
    eventually(lambda: kind.asked, "it asks")
    kind.well.clear()
    time.sleep(0.1)
    assert ["", "", ""] == [watchdog.look(day * 86_400.0) for day in (1, 2, 3)]
    watchdog.close()


def test_one_that_never_answered_is_left_alone() -> None:
    """It may start slowly, or not be reachable from here."""
    watchdog = HealthProbe(connector(ServerSettings(port=free_port()), None), 1.0, interval=0.01)
    watchdog.begin(0.0)
    time.sleep(0.2)
    assert "" == silence(watchdog, 2 * START)
    watchdog.close()


def test_a_new_connection_has_more_time(served: tuple[type[Answering], ServerSettings]) -> None:
    """While the receiver starts, or all its places are taken: but not for ever."""
    kind, settings = served
    watchdog = HealthProbe(connector(settings, None), 1.0, interval=0.01)
    watchdog.begin(0.0)
    eventually(lambda: kind.asked, "it asks")
    watchdog._connection.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
    kind.well.clear()
    eventually(lambda: len(kind.connections) == 2, "it connects again")
    watchdog.look(0.0)
    assert "" == silence(watchdog, START - 2)
    assert "no answer" in silence(watchdog, 5, START - 2)
    watchdog.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "::", "::1"])
def test_it_finds_the_receiver_wherever_it_listens(host: str) -> None:
    """An address for all interfaces is not one to connect to."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        port = listening.getsockname()[1]
        connector(ServerSettings(host=host, port=port), None)().close()
        connector(ServerSettings(), listening.fileno())().close()


def test_it_finds_an_inherited_unix_socket(tmp_path: Path) -> None:
    """As of systemd."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        connector(ServerSettings(), listening.fileno())().close()
