"""A queue that cannot be used, with real processes: events are handled all the same, and each check says so."""

import json
import os
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.place import Place, eventually

TWICE = """
from inbox import Retry, handles
from ._noted import noted

@handles("roomz")
@noted
def twice(event):
    if event.attempt == 1:
        raise Retry(after=1)
"""


def lay_folder(path: Path) -> None:
    path.mkdir()
    (path / "mine").touch()


def lay_foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY)")


UNUSABLE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a folder": ("is a folder", lay_folder),
    "another program's database": ("it has the table customers", lay_foreign),
    "a pipe": ("is not a file", os.mkfifo),
    "a file in the place of its folder": ("is not a folder", lambda path: path.parent.rmdir() or path.parent.touch()),
}


@pytest.fixture
def apart(place: Place) -> Place:
    """An inbox whose queue has a folder of its own."""
    place.only_handler("own", TWICE)
    place.configure()
    path = place.folder / "inbox.toml"
    path.write_text(path.read_text().replace("[inbox]\n", '[inbox]\nqueue = "run/queue.db"\n', 1))
    (place.folder / "run").mkdir()
    return place


def ready(place: Place) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{place.port}/readyz", timeout=20) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        return dict(json.load(error))


@pytest.mark.parametrize("kind", UNUSABLE)
def test_events_are_handled_without_the_queue_and_everything_says_so(kind: str, apart: Place) -> None:
    """From the start on: 200, handled and retried; /readyz, check, doctor and the log name it; then it is repaired."""
    why, lay = UNUSABLE[kind]
    lay(apart.folder / "run" / "queue.db")
    apart.start()
    for answer in apart.send("roomz", times=3):
        assert 200 == answer["http_status"]
        event = apart.until_status(answer["answer"]["id"], "succeeded")
        assert ["retry", "succeeded"] == [run["result"] for run in event["deliveries"][0]["runs"]]
    eventually(lambda: ["queue"] == ready(apart).get("failing"), "nothing but the queue is not ready")
    assert why in ready(apart)["checks"]["queue"]
    assert why in apart.log_text()
    checked = apart.inbox("check", ok=False)
    assert (1, True) == (checked.returncode, why in checked.stderr and "inbox.queue" in checked.stderr)
    found = json.loads(apart.inbox("doctor", "--json", ok=False).stdout)
    assert [True] == [why in item["found"] for item in found if item["level"] == "problem"]
    (apart.folder / "run").rename(apart.folder / "elsewhere")
    eventually(lambda: ready(apart).get("status") == "ready", "the queue is made anew")
    assert 0 == apart.inbox("check").returncode
    apart.until_status(apart.send("roomz")[0]["answer"]["id"], "succeeded")
    apart.prove()


def test_a_queue_that_dies_while_it_is_used_stops_nobody(apart: Place) -> None:
    """A folder takes its place: what is sent from then on is handled, too."""
    apart.start()
    apart.until_status(apart.send("roomz")[0]["answer"]["id"], "succeeded")
    (apart.folder / "run").rename(apart.folder / "elsewhere")
    (apart.folder / "run").mkdir()
    lay_folder(apart.folder / "run" / "queue.db")
    for answer in apart.send("roomz", times=3):
        apart.until_status(answer["answer"]["id"], "succeeded")
    assert "is a folder" in ready(apart)["checks"]["queue"]
    apart.prove()


def test_a_wake_up_pipe_that_cannot_be_used_only_costs_time(apart: Place) -> None:
    """A file in its place: check and doctor warn, and events are handled."""
    (apart.folder / "run" / "queue.db-bell").write_text("mine")
    apart.start()
    apart.until_status(apart.send("roomz")[0]["answer"]["id"], "succeeded")
    said = "queue.db-bell is no named pipe"
    assert said in apart.inbox("check").stderr
    found = json.loads(apart.inbox("doctor", "--json", ok=False).stdout)
    assert ["warning"] == [item["level"] for item in found if said in item["found"]]
    assert "mine" == (apart.folder / "run" / "queue.db-bell").read_text()
    apart.prove()
