"""A receiver that does not answer is replaced, and no other: with plain HTTP, TLS, and a socket of systemd's."""

import os
import signal
import socket
import time

import pytest

from tests.support.authority import Authority
from tests.support.place import Place, alive, descendants, eventually
from tests.tools.deploy.test_socket import port  # noqa: F401 – a fixture

SERVER = "unresponsive_after = 3.0\n"
SOURCES = '[sources.open]\nprovider = "unsigned"\nevent_id = "json:/id"\n'
SECURED = 'tls_cert = "cert.pem"\ntls_key = "key.pem"\n'


def answering(place: Place) -> int:
    """Return the process that answers, once the watchdog has had an answer from it."""
    receiver = eventually(lambda: place.children("receiver"), "there is a receiver")[-1]
    (child,) = eventually(lambda: descendants(receiver), "there is a process that answers")
    time.sleep(5.0)  # two questions
    return int(child)


def replaced(place: Place, before: int) -> bool:
    """Tell whether another receiver was started."""
    return place.children("receiver")[-1] != before


@pytest.mark.parametrize("server", [SERVER, SERVER + SECURED])
def test_a_receiver_that_hangs_is_replaced(place: Place, server: str) -> None:
    """Its event loop stands still; the log says why it was killed, and events are taken again."""
    Authority(place.folder).issue(place.folder / "cert.pem", place.folder / "key.pem")
    place.configure(server=server, sources=SOURCES)
    place.start()
    child = answering(place)
    receiver = place.children("receiver")[-1]
    os.kill(child, signal.SIGSTOP)
    eventually(lambda: replaced(place, receiver), "it is replaced", 60)
    eventually(lambda: not alive(child), "it is gone")
    lines = [line for line in place.log_text().splitlines() if "event=child.killed" in line]
    assert (1, True) == (len(lines), "no answer to /healthz for" in lines[0])
    eventually(place.answers, "the next one answers")
    if server == SERVER:
        assert 200 == place.send("open", body=b'{"id": "1"}')[0]["http_status"]
    assert 0 == place.stop()


def test_a_receiver_on_an_inherited_socket_is_replaced(place: Place, port: socket.socket) -> None:  # noqa: F811
    """The port stays open meanwhile: what is sent waits, and is answered."""
    toml = place.folder / "inbox.toml"
    toml.write_text(toml.read_text().replace("[server]\n", f"[server]\n{SERVER}"))
    place.start()
    child = answering(place)
    receiver = place.children("receiver")[-1]
    os.kill(child, signal.SIGSTOP)
    assert 200 == place.send("open", body=b'{"id": "waits"}')[0]["http_status"]
    assert replaced(place, receiver)


def test_a_machine_that_sleeps_kills_nothing(place: Place) -> None:
    """All processes are stopped and go on later, as after a suspend."""
    place.configure(server=SERVER, sources=SOURCES)
    place.start()
    receiver = place.children("receiver")[-1]
    answering(place)
    everything = [place.pid, *descendants(place.pid)]
    for pid in everything:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(8.0)
    for pid in reversed(everything):
        os.kill(pid, signal.SIGCONT)
    time.sleep(6.0)
    assert (False, 0) == (replaced(place, receiver), place.log_text().count("event=child.killed"))
    assert 200 == place.send("open", body=b'{"id": "1"}')[0]["http_status"]


def test_a_receiver_whose_places_are_all_taken_is_not_replaced(place: Place) -> None:
    """The watchdog has a place of its own."""
    place.configure(server=f"{SERVER}max_connections = 16\n", sources=SOURCES)
    place.start()
    receiver = place.children("receiver")[-1]
    answering(place)
    taken = [socket.create_connection(("127.0.0.1", place.port)) for _ in range(40)]
    time.sleep(8.0)
    assert not replaced(place, receiver)
    for each in taken:
        each.close()


def test_asking_leaves_no_line_and_no_trace(place: Place) -> None:
    """Neither in the log nor in what is counted; a stop waits for no connection of the watchdog's."""
    place.configure(server=f'{SERVER}metrics = "loopback"\n', sources=SOURCES)
    place.start()
    answering(place)
    before = place.log_text()
    time.sleep(4.0)
    assert before == place.log_text()
    begun = time.monotonic()
    assert 0 == place.stop()
    assert "child.killed" not in place.log_text()
    assert time.monotonic() - begun < 20
