"""`inbox reload` under load, with real processes: nothing is dropped, what is new is used, what is broken is not."""

import http.client
import json
import multiprocessing
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from hashlib import sha256
from hmac import new as hmac
from pathlib import Path

import pytest
from granian.constants import Interfaces

from inbox.process.receiver import _Server
from tests.support.place import Place, descendants, eventually

SOURCES = """
[sources.acme]
provider = "hmac"
secrets = ["file:new", "file:old"]
header = "X-Sig"
event_id = "json:/id"
"""
HANDLER = """
import time
from inbox import handles

@handles("*")
def own(event):
    time.sleep({pause})
    return "{word}"
"""
FLOOD = 60


class Sender(threading.Thread):
    """Sends one event after the other, on a new connection each, signed with the old secret."""

    def __init__(self, place: Place) -> None:
        super().__init__(daemon=True)
        self.place = place
        self.answers: list[int] = []
        self.dropped: list[str] = []
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.03):
            try:
                self.answers.append(send(self.place, f"s{len(self.answers)}", b"old")[0])
            except OSError as error:
                self.dropped.append(repr(error))


def send(place: Place, key: str, secret: bytes) -> tuple[int, str, int]:
    """Send an event, and return the answer's status, its request id, and the event's id."""
    body = json.dumps({"id": key}).encode()
    headers = {"X-Sig": hmac(secret, body, sha256).hexdigest()}
    request = urllib.request.Request(f"http://127.0.0.1:{place.port}/in/acme", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers["Inbox-Request-Id"], json.load(answer)["id"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Inbox-Request-Id"], 0


def value(place: Place, number: int) -> str:
    """Return what the handler returned for an event."""
    (delivery,) = place.until_status(number, "succeeded")["deliveries"]
    return str(json.loads(delivery["value"]))


@pytest.fixture
def running(place: Place) -> Iterator[Place]:
    place.only_handler("own", HANDLER.format(pause=0, word="first"))
    place.configure(sources=SOURCES.replace('"file:new", ', ""))
    (place.folder / "old").write_text("old")
    (place.folder / "new").write_text("new")
    place.start()
    yield place
    place.close()


def renew(place: Place, old: str, new: str) -> None:
    settings = place.folder / "inbox.toml"
    settings.write_text(settings.read_text().replace(old, new))


def test_reload_under_load(running: Place) -> None:
    """One after the other, in one inbox under load: secrets and handler are new; a broken file changes nothing.

    No connection is dropped, the handler that runs meanwhile is not interrupted, and each line names its process.
    """
    sender = Sender(running)
    sender.start()
    assert (401, "first") == (send(running, "n1", b"new")[0], value(running, send(running, "o1", b"old")[2]))
    _takes_over_what_is_new(running)
    _keeps_what_works(running)
    sender.ended.set()
    sender.join(20)
    assert ([], {200}) == (sender.dropped, set(sender.answers))
    _leads_from_the_answer_to_the_log(running)
    _sums_up_a_flood(running)
    assert 0 == running.stop()
    assert {"supervisor", "receiver", "worker"} == {
        line.partition("process=")[2].split()[0] for line in running.log_text().splitlines() if "event=" in line
    }
    assert running.inbox("reload", ok=False).stderr.startswith("inbox: no `inbox run` works on this database")


def _takes_over_what_is_new(place: Place) -> None:
    receivers, workers = place.children("receiver"), place.children("worker")
    place.handler("own", HANDLER.format(pause=1.5, word="slow"))
    assert "Nothing is wrong" in place.inbox("reload").stdout
    eventually(lambda: len(place.children("worker")) == len(workers) + 1, "the worker is renewed")
    number = send(place, "slow", b"old")[2]
    eventually(lambda: place.event(number)["status"] == "processing", "the slow handler runs")
    renew(place, '["file:old"]', '["file:new", "file:old"]')
    place.handler("own", HANDLER.format(pause=0, word="second"))
    assert "Nothing is wrong" in place.inbox("reload").stdout
    eventually(lambda: send(place, f"n{time.time()}", b"new")[0] == 200, "the new secret is known")
    assert ["succeeded"] == [run["result"] for run in place.until_status(number, "succeeded")["deliveries"][0]["runs"]]
    eventually(lambda: len(place.children("worker")) == len(workers) + 2, "the worker is renewed again")
    assert "second" == value(place, send(place, "n3", b"new")[2])
    assert receivers == place.children("receiver")
    (source,) = place.json("sources")
    assert [1, 2] == [row["secret"] for row in source["secrets"] if row["last_matched_at"]]


def _keeps_what_works(place: Place) -> None:
    before = [place.children(name) for name in ("receiver", "worker")]
    for old, new, said in (
        ('"hmac"', '"hmack"', "sources.acme.provider"),
        ("port = ", "max_connections = 99\nport = ", "server.max_connections: changed by a restart"),
    ):
        renew(place, old, new)
        done = place.inbox("reload", ok=False)
        assert (1, True) == (done.returncode, said in done.stderr), done.stderr
        assert 200 == send(place, f"b-{said}", b"new")[0]
        renew(place, new, old)
    place.handler("own", "import nothing_of_the_kind")
    done = place.inbox("reload", ok=False)
    assert (1, True) == (done.returncode, "handlers: own does not import" in done.stderr), done.stderr
    assert "second" == value(place, send(place, "n4", b"new")[2])
    assert before == [place.children(name) for name in ("receiver", "worker")]
    assert 3 == place.log_text().count("event=not_reloaded")


def _leads_from_the_answer_to_the_log(place: Place) -> None:
    _, identity, number = send(place, "lead", b"new")
    place.until_status(number, "succeeded")
    wanted = {"receiver event=event.accepted", "worker event=event.routed", "worker event=delivery.succeeded"}
    eventually(lambda: wanted == _lines(place, identity), f"the lines of {identity}")
    assert [number] == [event["id"] for event in place.json("show", identity)]
    signature = hmac(b"new", b'{"id": "lead"}', sha256).hexdigest()
    assert [False, False] == [text in place.log_text() for text in ('"lead"', signature)]


def _lines(place: Place, identity: str) -> set[str]:
    """Return process and event of the lines with an id."""
    words = [line.split() for line in place.log_text().splitlines() if f"request={identity}" in line]
    return {f"{line[2].partition('=')[2]} {line[4]}" for line in words}


def _sums_up_a_flood(place: Place) -> None:
    before = place.log_text().count("event=request.refused")
    assert {401} == {send(place, f"f{number}", b"wrong")[0] for number in range(FLOOD)}

    def counted() -> bool:
        lines = [line for line in place.log_text().splitlines() if "event=request.refused" in line][before:]
        more = [int(line.partition("more=")[2].split()[0]) for line in lines if "more=" in line]
        return sum(more) + len(lines) - len(more) == FLOOD

    eventually(counted, "each refusal is written or counted")


def test_a_stop_in_the_middle_of_a_reload_leaves_nobody(running: Place) -> None:
    """Both the process that is being retired and the one that follows it end by themselves, and soon."""
    receiver = running.children("receiver")[-1]
    (old,) = descendants(receiver)
    waiting = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    waiting.request("GET", "/healthz")
    assert 200 == waiting.getresponse().status  # a connection that is kept alive, for which the old one waits
    running.inbox("reload")
    eventually(lambda: set(descendants(receiver)) - {old}, "the new process is there")
    time.sleep(1.0)
    assert old in descendants(receiver)
    both = descendants(receiver)
    assert 0 == running.stop()
    waiting.close()
    assert [] == [pid for pid in both if Path(f"/proc/{pid}").exists()]
    assert [] == [word for word in ("Traceback", "child.killed") if word in running.log_text()]


def test_a_process_that_is_gone_already_does_not_keep_the_others_from_their_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Granian waits for its children in threads: multiprocessing may take one for alive that has ended."""
    ended: list[int] = []
    monkeypatch.setattr(_Server.__base__, "shutdown", lambda server, exit_code=0: ended.append(exit_code))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made = _Server("application", listening, inherited=False, interface=Interfaces.ASGI)
        child = multiprocessing.get_context("fork").Process(target=int)
        child.start()
        os.waitpid(child.pid or 0, 0)
        assert child in multiprocessing.active_children()
        made.shutdown()
    assert [0] == ended
