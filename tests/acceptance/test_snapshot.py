"""The files are broken while the inbox runs: whatever dies starts again from what was read before, and it is said."""

import json
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_reload import HANDLER, SOURCES, send, value
from tests.support.authority import Authority
from tests.support.place import Place, descendants, eventually

BROKEN = {
    "settings": lambda folder: (folder / "inbox.toml").write_text("[server\n"),
    "secret": lambda folder: (folder / "new").unlink(),
    "schema": lambda folder: next((folder / "schemas").rglob("*.json")).write_text("{"),
    "schemas": lambda folder: (folder / "schemas").rename(folder / "gone"),
    "handler": lambda folder: (folder / "handlers" / "own.py").write_text("import nothing_of_the_kind\n"),
    "helper": lambda folder: (folder / "handlers" / "_noted.py").write_text("1 / 0\n"),
    "handlers": lambda folder: (folder / "handlers").rename(folder / "gone"),
}


@pytest.fixture
def running(place: Place) -> Place:
    """An inbox with one source and one handler, whose helper module is beside it."""
    place.configure(sources=SOURCES, worker="processes = 1")
    for name in ("new", "old"):
        (place.folder / name).write_text(name)
    place.only_handler("own", "from ._noted import noted\n" + HANDLER.format(pause=0, word="first"))
    place.start()
    return place


def kill_all_children(place: Place) -> None:
    """Kill every process but the supervisor, and wait until others are there that work."""
    place.kill(*descendants(place.pid))
    eventually(lambda: len(place.children("receiver")) > 1 and len(place.children("worker")) > 1, "both start again")
    eventually(lambda: _health(place) == 200, "it answers")


def _health(place: Place, path: str = "/healthz") -> Any:
    return _get(place, path)[0]


def _get(place: Place, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{place.port}{path}", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
    except OSError:
        return 0, None


@pytest.mark.parametrize("what", BROKEN)
def test_children_that_die_start_from_what_was_right(what: str, running: Place) -> None:
    """While a person edits: no reload was asked for."""
    BROKEN[what](running.folder)
    kill_all_children(running)
    status, _, number = send(running, "after", b"new")
    assert (200, "first") == (status, value(running, number))
    eventually(lambda: "event=files.would_not_start" in running.log_text(), "the log says so")
    assert "process=supervisor" in next(
        line for line in running.log_text().splitlines() if "files.would_not_start" in line
    )
    status, told = eventually(lambda: _get(running, "/readyz"), "it tells")
    assert (503, ["files"]) == (status, told["failing"])
    assert "would not start" in told["checks"]["files"]


def test_a_rejected_reload_leaves_what_can_be_started(running: Place) -> None:
    """What dies after it starts from what was accepted; `check` and `/readyz` say so, until the files are right."""
    good = (running.folder / "inbox.toml").read_text()
    (running.folder / "inbox.toml").write_text(good.replace('"hmac"', '"hmack"'))
    done = running.inbox("reload", ok=False)
    assert (1, True) == (done.returncode, "`inbox run` would not start any more" in done.stderr)
    kill_all_children(running)
    assert "first" == value(running, send(running, "n1", b"new")[2])
    assert 503 == _health(running, "/readyz")
    done = running.inbox("check", ok=False)
    assert (1, True) == (done.returncode, "goes on with what it read at 2" in done.stderr)
    (running.folder / "inbox.toml").write_text(good)
    running.handler("own", HANDLER.format(pause=0, word="second"))
    assert "`inbox reload` takes them over" in running.inbox("check").stderr
    running.inbox("reload")
    assert "warning" not in running.inbox("check").stderr
    eventually(lambda: _health(running, "/readyz") == 200, "it is ready again")
    receiver = running.children("receiver")[-1]
    running.kill(*descendants(receiver))
    eventually(lambda: running.children("receiver")[-1] != receiver and _health(running) == 200, "it starts again")
    assert "second" == value(running, send(running, "n2", b"new")[2])


def test_files_that_changed_but_are_right_wait_for_a_reload(running: Place) -> None:
    """What runs is what was accepted, also after a crash; the log says what is not loaded."""
    running.handler("own", HANDLER.format(pause=0, word="second"))
    kill_all_children(running)
    assert "first" == value(running, send(running, "n1", b"new")[2])
    eventually(lambda: "event=files.not_loaded" in running.log_text(), "the log says so")
    assert 200 == _health(running, "/readyz")
    running.inbox("reload")
    eventually(lambda: value(running, send(running, os.urandom(4).hex(), b"new")[2]) == "second", "it is taken over")


def test_an_unchanged_inbox_says_nothing(running: Place) -> None:
    """A crash alone is no reason to speak of files."""
    kill_all_children(running)
    assert "first" == value(running, send(running, "n1", b"new")[2])
    assert [] == [word for word in ("files.would_not_start", "files.not_loaded") if word in running.log_text()]


def test_a_half_written_certificate_keeps_nothing_from_starting(place: Place) -> None:
    """The receiver dies while the two files are replaced: it starts with those that it had."""
    authority = Authority(place.folder)
    authority.issue(place.folder / "cert.pem", place.folder / "key.pem")
    place.configure(server='tls_cert = "cert.pem"\ntls_key = "key.pem"', sources=SOURCES)
    for name in ("new", "old"):
        (place.folder / name).write_text(name)
    place.start()
    before = _certificate(place)
    receiver = place.children("receiver")[-1]
    place.kill(*descendants(receiver), receiver)
    (place.folder / "key.pem").write_text("half")
    eventually(lambda: place.children("receiver")[-1] != receiver and _certificate(place) == before, "it is the same")
    assert "event=certificate.not_usable" in place.log_text()
    authority.issue(place.folder / "cert.pem", place.folder / "key.pem")
    eventually(lambda: _certificate(place) not in ("", before), "the new one is used")


def _certificate(place: Place) -> str:
    try:
        return ssl.get_server_certificate(("127.0.0.1", place.port), timeout=5)
    except OSError:
        return ""


def test_what_a_handler_starts_does_not_inherit_the_snapshot(place: Place, tmp_path: Path) -> None:
    """A command that a handler runs finds neither the variable nor the file with the secrets."""
    code = """
import os, subprocess
from inbox import handles
from ._noted import noted

@handles("*")
@noted
def own(event):
    command = "env | grep -c INBOX_SNAPSHOT; ls -l /proc/self/fd | grep -c memfd; true"
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True).stdout.split()
"""
    place.only_handler("own", code)
    place.configure()
    place.start()
    number = place.send("roomz")[0]["answer"]["id"]
    (delivery,) = place.until_status(number, "succeeded")["deliveries"]
    assert ["0", "0"] == json.loads(delivery["value"])
