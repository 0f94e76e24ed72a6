"""The power goes while the real receiver and worker run: what was acknowledged is in everything the disk could show."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

from inbox.store.sqlite import open_archive
from inbox.tools.torture.journal import EFFECTS
from tests.power.conftest import EVENTS, Recorded
from tests.power.disk import Disk, State
from tests.power.recording import Operation

SEED = 20260101
WAL = "inbox.db-wal"
COMMIT = slice(4, 8)
"""Where a frame's header has the size of the database after a commit; zero if the transaction goes on."""

# What was not routed is found by the sweep; what was routed has its deliveries: nothing is in between.
_STRAY = """
SELECT id FROM events WHERE status != 'received' AND id NOT IN (SELECT event_id FROM deliveries)
"""


_ENDED = """
SELECT event_id, handler, number FROM attempts JOIN deliveries ON deliveries.id = delivery_id
WHERE result != 'running'
"""


class Shown:
    """Opens states, each content once, and tells which bodies are in them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[object, ...], dict[int, bytes]] = {}
        self.damaged: list[str] = []

    @property
    def count(self) -> int:
        """Return how many different contents were opened."""
        return len(self._known)

    def bodies(self, state: State) -> dict[int, bytes]:
        """Return event id → body."""
        if state.key not in self._known:
            for path in self._folder.iterdir():
                path.unlink()
            state.lay_down(self._folder)
            if state.how.startswith("random"):
                (self._folder / "inbox.db-shm").write_bytes(b"what was in memory means nothing now" * 1000)
            self._known[state.key], problem = _read(self._folder / "inbox.db")
            self.damaged += [f"{state.how}: {problem}"] if problem else []
        return self._known[state.key]


def _read(path: Path) -> tuple[dict[int, bytes], str]:
    """Return the bodies in a database, and what is wrong with it."""
    if not path.exists():
        return {}, ""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'bodies'").fetchone():
            return {}, "" if found == ["ok"] else str(found)
        found += [f"event {row[0]} was routed to nothing" for row in connection.execute(_STRAY)]
        bodies = dict(connection.execute("SELECT id, body FROM events JOIN bodies ON event_id = id"))
        return bodies, "" if found == ["ok"] else str(found)
    except sqlite3.DatabaseError as error:
        return {}, str(error)
    finally:
        connection.close()


def cuts(recorded: Recorded, random: Random, *, others: int) -> Iterator[tuple[int, int]]:
    """Yield (line before which the power goes, number of random states).

    At each answer, after some, and so many each at random moments and while pages are copied into the database file.
    """
    answers = sorted(set(recorded.recording.acknowledged.values()))
    copied = [item.begin for item in recorded.recording.operations if (item.call, item.name) == ("write", "inbox.db")]
    moments = dict.fromkeys((random.randrange(recorded.recording.lines) for _ in range(others)), 2)
    moments.update(dict.fromkeys((line + random.choice((1, 5, 20)) for line in answers[::3]), 2))
    moments.update(dict.fromkeys((line + 1 for line in random.sample(copied, min(others, len(copied)))), 2))
    moments.update((line + 1, 1) for line in answers)
    yield from sorted(moments.items())


def missing(recorded: Recorded, shown: Shown, *, others: int) -> list[tuple[int, str, list[int]]]:
    """Return (line, state, ids) wherever an event that was acknowledged before is not there with its body."""
    random, disk = Random(SEED), Disk(recorded.recording)
    lost = []
    for line, chosen in cuts(recorded, random, others=others):
        disk.advance(line)
        wanted = {event for event, at in recorded.recording.acknowledged.items() if at < line}
        for state in disk.states(random, chosen):
            there = shown.bodies(state)
            gone = [event for event in wanted if recorded.traced.bodies[event] != there.get(event)]
            lost += [(line, state.how, gone)] if gone else []
    return lost


def test_the_recording_is_complete(recorded: Recorded) -> None:
    """Every answer that a client got is in it, and all writes together give the very files that are there."""
    assert set(recorded.traced.bodies) == set(recorded.recording.acknowledged)
    assert 2 * EVENTS == len(recorded.traced.bodies)
    disk = Disk(recorded.recording)
    disk.advance(recorded.recording.lines)
    states = {state.how: state.contents() for state in disk.states(Random(SEED), 0)}
    files = recorded.traced.place.folder.glob("inbox.db*")
    there = {path.name: path.read_bytes() for path in files if not path.name.endswith("-shm")}
    assert there == states.get("all", states["none"])


def test_what_was_acknowledged_is_in_every_state_that_a_disk_could_show(recorded: Recorded, tmp_path: Path) -> None:
    """At each answer, around it, and at random moments, also while the worker writes and during checkpoints."""
    shown = Shown(tmp_path)
    assert [] == missing(recorded, shown, others=40)
    assert [] == shown.damaged
    assert shown.count > 300


def test_checkpoints_and_a_restart_are_in_the_recording(recorded: Recorded) -> None:
    """The moments that are hard: pages copied into the database file, a log begun anew, a log deleted and made."""
    operations = recorded.recording.operations
    first, last = (choose(recorded.recording.acknowledged.values()) for choose in (min, max))
    during = [item for item in operations if first < item.begin < last]
    assert [item for item in during if (item.call, item.name) == ("write", "inbox.db")]
    assert [item for item in during if (item.call, item.name, item.offset) == ("write", WAL, 0)]
    assert {"create", "unlink"} <= {item.call for item in during if item.name == WAL}


def test_no_answer_goes_out_before_its_commit_is_synced(recorded: Recorded) -> None:
    """Between the last write of an event's commit and the first byte of its 2xx lies a whole fsync of the log."""
    syncs = recorded.recording.syncs(WAL)
    late = []
    for event, answered in recorded.recording.acknowledged.items():
        written = committed(recorded, event)
        if not any(written.ended_before(sync.begin) and sync.ended_before(answered) for sync in syncs):
            late.append(event)
    assert [] == late


def committed(recorded: Recorded, event: int) -> Operation:
    """Return the last write of the transaction that has the event's body."""
    name = recorded.traced.bodies[event][:45]
    log = [item for item in recorded.recording.operations if (item.call, item.name) == ("write", WAL)]
    first = next(number for number, item in enumerate(log) if name in item.data)
    ahead = range(first - 1, len(log))
    return next(log[number + 1] for number in ahead if len(log[number].data) == 24 and any(log[number].data[COMMIT]))


def test_without_waiting_for_the_disk_the_same_look_finds_lost_events(weakened: Recorded, tmp_path: Path) -> None:
    """The control: the same receiver with synchronous = OFF or NORMAL is caught."""
    lost = missing(weakened, Shown(tmp_path), others=0)
    assert {"none"} <= {how for _, how, _ in lost}
    assert set(weakened.traced.bodies) == {event for _, _, gone in lost for event in gone}


def test_after_the_cut_everything_acknowledged_is_run(recorded: Recorded, tmp_path: Path) -> None:
    """The worker starts on what the disk kept, the minimum, and finishes it."""
    disk, answers = Disk(recorded.recording), sorted(recorded.recording.acknowledged.values())
    cut = answers[-EVENTS // 2]
    disk.advance(cut)
    place = recorded.traced.place
    for path in place.folder.glob("*.db*"):
        path.unlink()
    next(disk.states(Random(SEED), 0)).lay_down(place.folder)
    recall(recorded, cut)
    wanted = [event for event, at in recorded.recording.acknowledged.items() if at < cut]
    place.start("run")
    for event in wanted:
        place.until_status(event, "succeeded")
    place.prove()
    archive = open_archive(place.folder / "inbox.db")
    assert [recorded.traced.bodies[event] for event in wanted] == [archive.request(event).body for event in wanted]
    archive.close()


def recall(recorded: Recorded, cut: int) -> None:
    """Write down what senders know at the cut, and of what handlers did only what the disk remembers.

    Whoever was not answered before it does not know. What ran and is forgotten will run again, as the same attempt.
    """
    place = recorded.traced.place
    for event, body in recorded.traced.bodies.items():
        told = (200, "accepted", event) if recorded.recording.acknowledged[event] < cut else (0, "PowerCut", 0)
        place.witness.told("roomz", json.loads(body)["id"], body, *told)
    place.witness.disturbed("stall", 0, since=0.0)
    with closing(sqlite3.connect(place.folder / "inbox.db")) as connection:
        known = {tuple(row) for row in connection.execute(_ENDED)}
    path = place.folder / EFFECTS
    effects = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [effect for effect in effects if (effect["event"], effect["handler"], effect["attempt"]) in known]
    path.write_text("".join(json.dumps(effect) + "\n" for effect in kept))
