"""A disk that fills up, for real: refused before anything is half-written, worked on meanwhile, accepted again."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox.store.protocols import Filter
from inbox.store.sqlite import open_archive
from tests.store.test_disk_space import ballast, mounted, unmount
from tests.support.crowd import REFUSED, at_once, get, runs, send, settle, short
from tests.support.place import Place, descendants, eventually

MIB = 1 << 20
ACCEPTED = (200, "", "accepted")
WAITING = """
import time
from pathlib import Path

while not Path("go on").exists():
    time.sleep(0.02)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB, for database and queue."""
    folder = mounted(tmp_path / "disk", 32 * MIB)
    yield folder
    unmount(folder)


@pytest.fixture
def place(disk: Path, tmp_path: Path) -> Iterator[Place]:
    """An inbox whose database and queue are on the small disk, and nothing else."""
    (tmp_path / "place").mkdir()
    made = Place(tmp_path / "place")
    yield made
    made.close()


def limits(disk: Path, reserved: int) -> str:
    """Return the settings of [inbox]."""
    return f'database = "sqlite:///{disk}/inbox.db"\nqueue = "{disk}/queue.db"\nmin_free_bytes = {reserved}'


def statuses(disk: Path) -> dict[str, str]:
    """Return the status of each event."""
    archive = open_archive(disk / "inbox.db")
    try:
        return {row["key"]: row["status"] for row in archive.events(Filter(), 1000)}
    finally:
        archive.close()


def is_whole(disk: Path) -> bool:
    """Tell whether the database is sound, and has a body for every event."""
    connection = sqlite3.connect(disk / "inbox.db")
    try:
        checked = connection.execute("PRAGMA integrity_check").fetchall()
        sql = "SELECT count(*) FROM events WHERE id NOT IN (SELECT event_id FROM bodies)"
        return (checked, connection.execute(sql).fetchone()) == ([("ok",)], (0,))
    finally:
        connection.close()


def hold_handlers(place: Place) -> Path:
    """Let the handler wait until the file that is returned exists."""
    path = place.folder / "handlers" / "own.py"
    path.write_text(path.read_text().replace("None:\n", "None:\n" + WAITING.replace("\n", "\n    ") + "\n"))
    return place.folder / "go on"


def test_events_are_refused_while_the_reserve_is_all_there_is_and_handlers_go_on_in_it(
    place: Place, disk: Path
) -> None:
    """503, not ready, nothing half-written; what was accepted before is handled; accepted again without a restart."""
    settle(place, inbox=limits(disk, 8 * MIB))
    go_on = hold_handlers(place)
    place.start()
    early = [f"early {number}" for number in range(20)]
    assert {ACCEPTED: 20} == Counter(map(short, at_once(lambda key: send(place, key, 2_000), early).values()))
    late = [f"late {number}" for number in range(20)]
    with ballast(disk, leave=4 * MIB):
        refused = at_once(lambda key: send(place, key, 20_000), late)
        assert {REFUSED: 20} == Counter(map(short, refused.values()))
        assert (REFUSED, 200) == (short(get(place, "/readyz")), get(place, "/healthz").status)
        assert (set(early), True) == (set(statuses(disk)), is_whole(disk))
        go_on.touch()
        eventually(lambda: statuses(disk) == dict.fromkeys(early, "succeeded"), "what was accepted is handled")
        assert 503 == send(place, late[0]).status
    assert 200 == get(place, "/readyz").status
    assert {ACCEPTED: 20} == Counter(map(short, at_once(lambda key: send(place, key, 20_000), late).values()))
    everything = dict.fromkeys([*early, *late], "succeeded")
    eventually(lambda: statuses(disk) == everything, "all is handled")
    assert (dict.fromkeys(everything, 1), True) == (runs(place), is_whole(disk))
    assert 1 == len(place.children("receiver"))
    place.prove()


def test_inbox_starts_while_the_reserve_is_all_there_is(place: Place, disk: Path) -> None:
    """A restart on a full disk: senders get a 503 instead of no answer, and what was left is handled, making room."""
    settle(place, inbox=limits(disk, 8 * MIB))
    place.start("serve")
    assert ACCEPTED == short(send(place, "before"))
    place.stop()
    with ballast(disk, leave=4 * MIB):
        place.start()
        assert REFUSED == short(eventually(lambda: (answer := send(place, "after")).status and answer, "an answer"))
        eventually(lambda: statuses(disk) == {"before": "succeeded"}, "what was left is handled")
        assert 1 == place.inbox("check", ok=False).returncode
    assert ACCEPTED == short(send(place, "after"))
    eventually(lambda: runs(place) == {"before": 1, "after": 1}, "both are handled, once")
    place.prove()


def test_disk_without_a_byte_left_loses_nothing_that_was_acknowledged(place: Place, disk: Path) -> None:
    """Without a reserve SQLite itself has no space: 503 or 200, and what was 200 is there and handled in the end."""
    settle(place, inbox=limits(disk, 0))
    go_on = hold_handlers(place)
    place.start()
    assert ACCEPTED == short(send(place, "before"))
    eventually(lambda: running(disk), "the handler runs")
    keys = [f"event {number}" for number in range(40)]
    with ballast(disk, leave=0):
        sizes = {key: 300_000 if number % 2 else 1_000 for number, key in enumerate(keys)}
        answers = at_once(lambda key: send(place, key, sizes[key]), keys)
        assert set(map(short, answers.values())) <= {ACCEPTED, REFUSED}
        assert REFUSED in [short(answers[key]) for key in keys if sizes[key] == 300_000]
        acknowledged = {"before", *(key for key in keys if answers[key].status == 200)}
        assert (acknowledged, True) == (set(statuses(disk)), is_whole(disk))
        go_on.touch()
        eventually(lambda: runs(place)["before"], "the handler has done its work")
    eventually(lambda: statuses(disk)["before"] == "succeeded", "its outcome is recorded as soon as there is space")
    eventually(lambda: send(place, "after").status == 200, "accepted again")
    again = at_once(lambda key: send(place, key, sizes[key]), keys)
    assert dict.fromkeys(keys, 200) == {key: answer.status for key, answer in again.items()}
    assert {key: "duplicate" if key in acknowledged else "accepted" for key in keys} == {
        key: answer.word for key, answer in again.items()
    }
    sweep(place)
    everything = {"before", "after", *keys}
    eventually(lambda: statuses(disk) == dict.fromkeys(everything, "succeeded"), "all is handled")
    assert (everything, 1, True) == (set(runs(place)), runs(place)["before"], is_whole(disk))
    place.prove()


def running(disk: Path) -> bool:
    """Tell whether a handler runs."""
    connection = sqlite3.connect(disk / "inbox.db")
    try:
        return bool(connection.execute("SELECT 1 FROM deliveries WHERE status = 'running'").fetchall())
    finally:
        connection.close()


def sweep(place: Place) -> None:
    """Have the worker sweep now instead of within the minute: wake-ups were lost while the queue could not be written.

    Any process that starts to work sweeps first.
    """
    place.kill(*worker_processes(place)[:1])


def worker_processes(place: Place) -> list[int]:
    """Return the processes that run handlers."""
    return descendants(place.children("worker")[-1])
