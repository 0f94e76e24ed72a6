"""Restarts under load, and what SIGTERM does to requests and handlers that are under way."""

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.place import Place, eventually

SOURCES = """
[sources.open]
provider = "unsigned"
event_id = ["json:/id"]
"""
COUNT = """
from inbox import Event, handles
from ._noted import noted

@handles("open")
@noted
def count(event: Event) -> None:
    pass
"""
LONG = """
import time
from pathlib import Path
from inbox import Event, handles
from ._noted import noted

@handles("roomz")
@noted
def long(event: Event) -> str:
    Path("begun").touch()
    while event.attempt == 1:
        time.sleep(0.05)
    return "done"
"""


def content(key: str) -> bytes:
    return b'{"id": "%s"}' % key.encode()


def tell(place: Place, key: str, body: bytes, answer: bytes) -> None:
    """Write down what a sender was answered."""
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    outcome = str(told.get("status") or told.get("error"))
    place.witness.told("open", key, body, int(answer.split()[1]), outcome, told.get("id", 0))


class Sender(threading.Thread):
    """Sends one event after the other, on a new connection each, or on one for as long as that stays open.

    `dropped` is what was sent on a connection that was taken, and not answered. Requests on a connection that lay
    idle do not count: whoever uses one has to expect that it is closed, https://www.rfc-editor.org/rfc/rfc9112#9.5.
    """

    IDLE = 0.1

    def __init__(self, place: Place, name: str, *, keep: bool) -> None:
        super().__init__(name=name, daemon=True)
        self.place = place
        self.keep = keep
        self.acknowledged: list[str] = []
        self.dropped: list[str] = []
        self.closed = self.number = 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                connection = socket.create_connection(("127.0.0.1", self.place.port), 10)
            except OSError:
                self.ended.wait(0.02)
                continue
            with connection:
                self._use(connection)

    def _use(self, connection: socket.socket) -> None:
        last = time.monotonic()
        while not self.ended.is_set():
            self.number += 1
            key = f"{self.name}-{self.number}"
            idle = time.monotonic() - last > self.IDLE
            try:
                answer = self._exchange(connection, key)
            except (OSError, EOFError) as error:
                self.place.witness.told("open", key, content(key), 0, type(error).__name__, 0)
                if not idle:
                    self.dropped.append(f"{key}: {error!r}")
                return
            last = time.monotonic()
            tell(self.place, key, content(key), answer)
            if answer.startswith(b"HTTP/1.1 200 "):
                self.acknowledged.append(key)
            if b"connection: close" in answer.lower():
                self.closed += self.keep
                return
            self.ended.wait(0.02)

    def _exchange(self, connection: socket.socket, key: str) -> bytes:
        body = content(key)
        kept = b"" if self.keep else b"Connection: close\r\n"
        head = b"POST /in/open HTTP/1.1\r\nHost: inbox\r\nContent-Length: %d\r\n%s\r\n" % (len(body), kept)
        connection.settimeout(20)
        connection.sendall(head + body)
        return receive(connection)


def receive(connection: socket.socket) -> bytes:
    """Return the whole answer. Raises EOFError."""
    answer = b""
    while b"}" not in answer:
        part = connection.recv(65536)
        if not part:
            raise EOFError("closed without an answer")
        answer += part
    return answer


def restart(place: Place, child: str) -> None:
    """End a child of the supervisor with SIGTERM, and wait until there is another one that works."""
    before = place.children(child)
    loads = place.log_text().count("handlers.loaded")
    os.kill(before[-1], signal.SIGTERM)
    eventually(lambda: len(place.children(child)) > len(before), f"the {child} is started again")
    if child == "receiver":
        eventually(place.answers, "the receiver answers")
    else:
        eventually(lambda: place.log_text().count("handlers.loaded") > loads, "the worker is there")


def test_rolling_restarts_drop_no_request_and_no_event(place: Place) -> None:
    """Receiver and worker by themselves, then everything: each request is answered or its connection refused.

    What was acknowledged is handled, once.
    """
    place.only_handler("count", COUNT)
    place.configure(sources=SOURCES)
    place.start()
    senders = [Sender(place, f"{'kept' if n % 2 else 'new'}{n}", keep=bool(n % 2)) for n in range(4)]
    for sender in senders:
        sender.start()
    restart(place, "receiver")
    restart(place, "worker")
    assert 0 == place.stop()
    place.start()
    sent = [len(sender.acknowledged) for sender in senders]
    eventually(lambda: all(len(s.acknowledged) > n for s, n in zip(senders, sent, strict=True)), "all go on sending")
    for sender in senders:
        sender.ended.set()
        sender.join(30)
    assert [] == [drop for sender in senders for drop in sender.dropped]
    assert all(sender.closed > 0 for sender in senders if sender.keep), "a polite end of kept connections"
    place.prove()
    ran = Counter(effect.key for effect in place.witness.effects("end"))
    assert {key for sender in senders for key in sender.acknowledged} <= ran.keys()
    assert {1} == set(ran.values())


def test_a_request_that_is_under_way_is_answered_before_the_end(place: Place) -> None:
    """Its second half comes after SIGTERM; one that never becomes complete keeps nobody from stopping."""
    place.only_handler("count", COUNT)
    place.configure(sources=SOURCES)
    place.start()
    with half_sent(place) as connection:
        os.kill(place.children("receiver")[-1], signal.SIGTERM)
        time.sleep(0.1)
        connection.sendall(b'"t"}')
        answer = receive(connection)
        assert b"HTTP/1.1 200" in answer
        tell(place, "t", b'{"id":"t"}', answer)
    eventually(lambda: len(place.children("receiver")) == 2 and place.answers(), "another receiver answers")
    with half_sent(place):
        assert 0 == place.stop()
    place.prove()


@contextmanager
def half_sent(place: Place) -> Iterator[socket.socket]:
    """Send the first half of a request, and give the receiver a moment to begin with it."""
    with socket.create_connection(("127.0.0.1", place.port), 20) as connection:
        connection.sendall(b'POST /in/open HTTP/1.1\r\nHost: inbox\r\nContent-Length: 10\r\n\r\n{"id":')
        time.sleep(0.2)
        yield connection


def test_a_handler_that_takes_too_long_to_stop_is_interrupted(place: Place) -> None:
    """After shutdown_timeout; its delivery runs again after the start, and neither lost nor counted as a crash."""
    place.only_handler("long", LONG)
    place.configure(worker="shutdown_timeout = 1.0")
    place.start()
    number = place.send("roomz")[0]["answer"]["id"]
    eventually(Path(place.folder, "begun").exists, "the handler runs")
    assert 0 == place.stop()
    (delivery,) = place.event(number)["deliveries"]
    assert ("retrying", 0, ["interrupted"]) == (
        delivery["status"], delivery["crashes"], [run["result"] for run in delivery["runs"]],
    )  # fmt: skip
    place.start()
    (delivery,) = place.until_status(number, "succeeded")["deliveries"]
    assert (0, ["interrupted", "succeeded"]) == (delivery["crashes"], [run["result"] for run in delivery["runs"]])
    place.prove()
