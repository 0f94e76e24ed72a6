"""A store that is locked, and more requests than there is room for: each is answered, none twice, and it passes."""

import http.client
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.support.crowd import REFUSED, TOKEN, Answer, at_once, body, get, memory, runs, send, settle, short
from tests.support.place import Place, eventually

MIB = 1 << 20


@contextmanager
def locked(place: Place) -> Iterator[Callable[[], None]]:
    """Let another program hold the write lock until it is told to let go, or the block ends."""
    other = sqlite3.connect(place.folder / "inbox.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other.close
    finally:
        other.close()


def stored(place: Place) -> Counter[str]:
    """Return how often each key is in the store, and the latest of it is a whole event with its body."""
    database = sqlite3.connect(place.folder / "inbox.db")
    try:
        assert [("ok",)] == database.execute("PRAGMA integrity_check").fetchall()
        sql = "SELECT key FROM events LEFT JOIN bodies ON bodies.event_id = events.id WHERE body IS NOT NULL"
        (events,) = database.execute("SELECT count(*) FROM events").fetchone()
        keys = Counter(key for (key,) in database.execute(sql))
    finally:
        database.close()
    assert events == keys.total()
    return keys


def test_crowd_at_a_locked_store_is_refused_and_its_retries_run_once(place: Place) -> None:
    """All 60 get their 503 within three times patience, twice; sent again they are accepted once, and run once."""
    settle(place, server="store_timeout = 1.5")
    place.start()
    assert (200, "", "accepted") == short(send(place, "before"))
    eventually(lambda: runs(place).total() == 1, "the worker is there")
    keys = [f"event {number}" for number in range(60)]
    with locked(place):
        for _ in range(2):
            began = time.monotonic()
            answers = at_once(partial(send, place), keys)
            assert Counter({REFUSED: 60}) == Counter(map(short, answers.values()))
            assert time.monotonic() - began < 4.5
        assert (503, 200) == (get(place, "/readyz").status, get(place, "/healthz").status)
    assert {"before": 1} == stored(place)
    eventually(lambda: get(place, "/readyz").status == 200, "the stall ends by itself")
    for word in ("accepted", "duplicate"):
        began = time.monotonic()
        answers = at_once(partial(send, place), keys)
        assert {(200, "", word): 60} == Counter(map(short, answers.values()))
        assert time.monotonic() - began < 4.5
    assert dict.fromkeys(["before", *keys], 1) == stored(place)
    eventually(lambda: runs(place).total() >= 61, "every event is handled")
    place.prove()
    assert dict.fromkeys(["before", *keys], 1) == runs(place)


@pytest.mark.parametrize(
    ("server", "size", "room"),
    [("max_in_flight = 4", 0, 4), (f"max_in_flight_bytes = {MIB}", 300_000, 3)],
    ids=["requests", "bytes"],
)
def test_whoever_finds_no_room_is_refused_at_once(place: Place, server: str, size: int, room: int) -> None:
    """While some wait for the store, those for whom there is no room are answered; those that wait are accepted."""
    settle(place, server=f"store_timeout = 20.0\nmax_connections = 64\n{server}")
    place.start("serve")
    keys = [f"event {number}" for number in range(40)]
    send(place, "before")
    with ThreadPoolExecutor(len(keys)) as pool, locked(place) as let_go:
        futures = {key: pool.submit(send, place, key, size) for key in keys}
        eventually(lambda: len(finished(futures)) >= 40 - room, "those for whom there is no room are answered")
        assert Counter({REFUSED: 40 - room}) == Counter(map(short, finished(futures)))
        let_go()
        answers = {key: future.result(30) for key, future in futures.items()}
    accepted = [key for key, answer in answers.items() if answer.word == "accepted"]
    assert (room, dict.fromkeys(["before", *accepted], 1)) == (len(accepted), stored(place))
    place.prove()


def finished(futures: dict[str, Future[Answer]]) -> list[Answer]:
    """Return the answers that are there."""
    return [future.result() for future in futures.values() if future.done()]


def test_memory_does_not_grow_with_what_is_sent(place: Place) -> None:
    """500 requests of 1 MB each at a stalled store: each is refused, and no more is kept than may wait."""
    settle(place, server=f"store_timeout = 1.0\nmax_connections = 16\nmax_in_flight_bytes = {16 * MIB}")
    place.start("serve")
    send(place, "before")
    before = memory(place)
    with locked(place), ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda number: send(place, f"event {number}", 1_000_000), range(500)))
    assert Counter({REFUSED: 500}) == Counter(map(short, answers))
    assert memory(place) - before < 256 * MIB
    assert (200, "", "accepted") == short(send(place, "after", 1_000_000))
    assert {"before": 1, "after": 1} == stored(place)
    place.prove()


def test_flood_of_strangers_leaves_room_for_the_sender(place: Place) -> None:
    """2,400 requests that are not authentic: rows, files and memory stay as they were, and events are accepted."""
    settle(place)
    place.start("serve")
    send(place, "before")
    flood(place, 480)
    before, files = memory(place), names(place.folder)
    with ThreadPoolExecutor(1) as pool:
        strangers = pool.submit(flood, place, 1920)
        sent = []
        while not strangers.done() or not sent:
            sent.append(send(place, f"event {len(sent)}"))
        assert {401: 960, 404: 960} == strangers.result()
    assert [(200, "", "accepted")] * len(sent) == [short(answer) for answer in sent]
    assert len(sent) + 1 == stored(place).total()
    database = sqlite3.connect(place.folder / "inbox.db")
    rows = dict(database.execute("SELECT source, count(*) FROM refusals GROUP BY source"))
    database.close()
    assert ({"", "acme"}, True) == (set(rows), max(rows.values()) <= 500)
    assert memory(place) - before < 64 * MIB
    assert files == names(place.folder)
    assert sum(path.stat().st_size for path in place.folder.glob("*.db*")) < 32 * MIB
    place.prove()


def flood(place: Place, count: int) -> Counter[int]:
    """Send so many requests over eight connections, half with a wrong token, half to nobody; return the statuses."""
    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(partial(stranger, place, count // 8), range(8)), Counter())


def stranger(place: Place, count: int, number: int) -> Counter[int]:
    """Send so many requests over one connection, each with another path or token and much to remember."""
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=60)
    statuses: Counter[int] = Counter()
    for turn in range(count):
        wrong = (number + turn) % 2
        path = "/in/acme" if wrong else f"/in/nobody-{number}-{turn}"
        headers = {"X-Acme-Token": f"{TOKEN} {turn}", f"X-Junk-{turn}": "junk " * 400}
        connection.request("POST", path, body(f"stranger {number} {turn}", 5_000) if wrong else b"", headers)
        response = connection.getresponse()
        response.read()
        statuses[response.status] += 1
    connection.close()
    return statuses


def names(folder: Path) -> list[str]:
    """Return the files of a folder, without SQLite's, which come and go."""
    return sorted(path.name for path in folder.iterdir() if "db-" not in path.name)
