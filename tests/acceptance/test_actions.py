"""Actions and pauses with real processes: killed in the middle of it, done by two at once, and waited for."""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from inbox.runtime import Runtime
from inbox.store.protocols import Filter
from inbox.ui.services import actions
from tests.support.place import Place, descendants, eventually

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
LATER = """
@handles("open")
@noted
def late(event: Event) -> None:
    pass

@handles("open")
@noted
def last(event: Event) -> None:
    pass
"""
MANY = 200


def query(place: Place, sql: str) -> list[tuple[Any, ...]]:
    """Return what another program finds in the database."""
    connection = sqlite3.connect(place.folder / "inbox.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def deliver(place: Place, first: int, many: int) -> None:
    """Send events, and wait until all are handled."""
    for number in range(first, first + many):
        place.send("open", body=json.dumps({"id": str(number)}).encode())
    ended(place)


def ended(place: Place) -> None:
    eventually(lambda: not query(place, _OPEN), "everything is handled", 60.0)


_OPEN = "SELECT id FROM events WHERE status IN ('received', 'processing') LIMIT 1"


@pytest.fixture
def desk(place: Place) -> Iterator[Runtime]:
    """What the pages work with: the inbox of the place, without its handlers."""
    place.configure(server="threads = 2", worker="processes = 2\nlease = 2.0", sources=SOURCES)
    place.only_handler("own", COUNT)
    runtime = Runtime(place.settings)
    place.start()
    yield runtime
    assert "registry" not in runtime.__dict__
    runtime.close()


def test_a_replay_outlives_the_death_of_its_worker(place: Place, desk: Runtime) -> None:
    """Killed with kill -9 in the middle of it, it is finished by the next worker: each event once more.

    Two processes work on it. A second one is stopped on the way, and what is left of it replayed by id. What came
    after the first was begun is part of neither.
    """
    deliver(place, 0, MANY)
    place.only_handler("own", COUNT + LATER)
    place.inbox("reload")
    eventually(lambda: query(place, "SELECT 1 FROM handlers WHERE name = 'own.last'"), "the new handlers are loaded")
    all_of_it = {"wanted": Filter(source="open"), "handler": "own.late", "rate": 150.0}
    assert 1 == actions.begin(desk, "replay", who="ann", why="killed", **all_of_it)  # type: ignore[arg-type]
    place.send("open", body=b'{"id": "late"}')
    eventually(lambda: _action(desk, 1)["events"] >= 90, "events are replayed")
    assert "running" == _action(desk, 1)["state"]
    _kill_worker(place)
    eventually(lambda: _action(desk, 1)["state"] == "done", "the replay ends", 60.0)
    assert {MANY} == {_action(desk, 1)[name] for name in ("events", "total", "deliveries")}
    made = query(place, "SELECT event_id, count(*) FROM deliveries WHERE replay_id = 1 GROUP BY event_id")
    assert [(number, 1) for number in range(1, MANY + 1)] == made
    ids = range(1, MANY + 1)
    second = actions.begin(desk, "replay", who="ann", why="", ids=ids, handler="own.last", rate=100.0)
    eventually(lambda: _action(desk, second)["events"] > 0, "the second one goes on")
    assert actions.stop(desk, second, "ann")
    done = _action(desk, second)["events"]
    assert 0 < done < MANY
    actions.begin(desk, "replay", who="ann", why="", ids=ids[done:], handler="own.last")
    ended(place)
    eventually(lambda: not desk.acting.left(), "the rest is replayed")
    assert ("stopped", done) == (_action(desk, second)["state"], _action(desk, second)["events"])
    place.prove()


def _action(desk: Runtime, number: int) -> dict[str, Any]:
    return actions.action(desk, number)


def _kill_worker(place: Place) -> None:
    """Kill every process of the worker."""
    worker = place.children("worker")[-1]
    place.kill(worker, *descendants(worker))
    eventually(lambda: place.children("worker")[-1] != worker, "the worker is started again")


def test_what_is_paused_waits_and_is_then_handled(place: Place, desk: Runtime) -> None:
    """Events are accepted, answered and routed, none is handled; afterwards all of them are."""
    deliver(place, 0, 1)
    assert actions.pause(desk, "handler", "own.count", who="ann", why="a test")
    assert actions.pause(desk, "source", "open", who="ann", why="")
    for number in range(1, 40):
        place.send("open", body=json.dumps({"id": str(number)}).encode())
    aside = "SELECT count(*) FROM deliveries WHERE paused_by IS NOT NULL AND status = 'pending'"
    eventually(lambda: query(place, aside) == [(39,)], "all are set aside")
    assert [("succeeded",)] == query(place, "SELECT status FROM deliveries WHERE paused_by IS NULL")
    actions.resume(desk, "handler", "own.count", who="ann")
    eventually(lambda: [row["kind"] for row in actions.pauses(desk)] == ["source"], "they wait for the source alone")
    assert [(39,)] == query(place, aside)
    actions.resume(desk, "source", "open", who="ann")
    ended(place)
    assert [(40,)] == query(place, "SELECT count(*) FROM events WHERE status = 'succeeded'")
    eventually(lambda: actions.pauses(desk) == [], "the pause is over")
    place.prove()
