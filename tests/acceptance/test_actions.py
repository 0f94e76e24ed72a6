"""Actions and pauses with real processes: killed in the middle of it, done by two at once, and waited for."""

import json
import sqlite3
import time
from typing import Any

from tests.acceptance.place import Place, descendants, eventually

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
MANY = 300


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


def test_a_replay_outlives_the_death_of_its_worker(place: Place) -> None:
    """Killed with kill -9 in the middle of it, again and again, it is finished by the next: each event once more.

    Two processes work on it. A second one is stopped on the way, and what is left of it replayed by id. What came
    after the first was begun is part of neither.
    """
    place.configure(server="threads = 2", worker="processes = 2\nlease = 2.0", sources=SOURCES)
    place.only_handler("own", COUNT)
    place.start()
    deliver(place, 0, MANY)
    place.only_handler("own", COUNT + LATER)
    _kill_worker(place)
    eventually(lambda: query(place, "SELECT 1 FROM handlers WHERE name = 'own.last'"), "the new handlers are loaded")
    every = ("replay", "--source", "open", "--yes", "--background")
    place.inbox(*every, "--rate", "300", "--handler", "own.late", "--why", "killed")
    place.send("open", body=b'{"id": "late"}')
    for events in (60, 150):
        eventually(lambda: _action(place, 1)["events"] >= events, f"{events} events are replayed")  # noqa: B023
        assert "running" == _action(place, 1)["state"]
        _kill_worker(place)
    eventually(lambda: _action(place, 1)["state"] == "done", "the replay ends", 60.0)
    assert {MANY} == {_action(place, 1)[name] for name in ("events", "total", "deliveries")}
    made = query(place, "SELECT event_id, count(*) FROM deliveries WHERE replay_id = 1 GROUP BY event_id")
    assert [(number, 1) for number in range(1, MANY + 1)] == made
    place.inbox("replay", *map(str, range(1, MANY + 1)), *every[3:5], "--rate", "30", "--handler", "own.last")
    eventually(lambda: _action(place, 2)["events"] > 0, "the second one goes on")
    place.inbox("actions", "--stop", "2")
    done = _action(place, 2)["events"]
    assert 0 < done < MANY
    place.inbox("replay", *map(str, range(done + 1, MANY + 1)), "--handler", "own.last", "--yes")
    assert ("stopped", done) == (_action(place, 2)["state"], _action(place, 2)["events"])
    place.prove()


def _action(place: Place, number: int) -> dict[str, Any]:
    names = ("state", "events", "total", "deliveries")
    (row,) = query(place, f"SELECT {', '.join(names)} FROM actions WHERE id = {number}")
    return dict(zip(names, row, strict=True))


def _kill_worker(place: Place) -> None:
    """Kill every process of the worker."""
    worker = place.children("worker")[-1]
    place.kill(worker, *descendants(worker))
    eventually(lambda: place.children("worker")[-1] != worker, "the worker is started again")


def test_what_is_paused_waits_and_is_then_handled(place: Place) -> None:
    """Events are accepted, answered and routed, none is handled; the inbox is ready; afterwards all of them are."""
    place.configure(server="threads = 2", sources=SOURCES)
    place.only_handler("own", COUNT)
    place.start()
    deliver(place, 0, 1)
    place.inbox("pause", "handler", "own.count", "--why", "a test")
    place.inbox("pause", "source", "open")
    for number in range(1, 40):
        place.send("open", body=json.dumps({"id": str(number)}).encode())
    aside = "SELECT count(*) FROM deliveries WHERE paused_by IS NOT NULL AND status = 'pending'"
    eventually(lambda: query(place, aside) == [(39,)], "all are set aside")
    assert [("succeeded", 1)] == query(
        place, "SELECT status, count(*) FROM deliveries WHERE paused_by IS NULL GROUP BY 1"
    )
    place.inbox("resume", "handler", "own.count")
    time.sleep(1.0)
    assert [(39,)] == query(place, aside)
    place.inbox("resume", "source", "open")
    ended(place)
    assert [(40,)] == query(place, "SELECT count(*) FROM events WHERE status = 'succeeded'")
    assert [] == place.json("pause")
    place.prove()
