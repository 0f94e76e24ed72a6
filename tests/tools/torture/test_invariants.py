"""The checker: silent about an inbox that kept its promise, and loud about each way of breaking it."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from inbox.store.sqlite import open_work
from inbox.testing import NOW, Inbox
from inbox.tools.torture.evidence import at_work, gather
from inbox.tools.torture.invariants import check
from inbox.tools.torture.journal import CLIENT, EFFECTS, FAULTS, Effect, Fault, Journal, Reply, read
from inbox.tools.torture.scratch import HANDLERS
from inbox.verify.providers.base import encode

SIGNED = {"provider": "hmac", "header": "X-Signature", "event_id": ["json:/id"], "event_type": ["json:/type"]}
PLAIN = {**SIGNED, "event_id": ["body"]}
KILLED = 4242

A, PLAIN_ONE, DOOMED, FAILING, CRASHED, CONFLICT = 1, 2, 3, 4, 5, 8
"""Ids of the events of the scene, in the order in which they come; the two copies use up an id each."""


class Scene:
    """A folder with an inbox to which a few things happened, and the journals that tell of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def play(self) -> None:
        """Let it all happen."""
        (self.folder / "handlers").mkdir()
        code = files("inbox.tools.torture").joinpath("handler.py").read_text()
        (self.folder / "handlers" / "torture.py").write_text(code)
        sources = {"signed": SIGNED, "plain": PLAIN}
        with Inbox(self.folder, handlers=self.folder / "handlers", sources=sources) as inbox:
            self._play(inbox)

    def _play(self, inbox: Inbox) -> None:
        self.send(inbox, "signed", "a")
        self.send(inbox, "plain", "b")
        self.send(inbox, "signed", "c", type="doomed", fate="dead")
        self.send(inbox, "signed", "d", failures=1)
        inbox.run()
        self.send(inbox, "signed", "e")
        self.crash(inbox)
        self.send(inbox, "signed", "a")
        self.send(inbox, "signed", "a", unique=2)
        self.send(inbox, "signed", "a", unique=2)
        for _ in range(5):
            inbox.advance(10)
            inbox.sweep()
            inbox.run()

    def crash(self, inbox: Inbox) -> None:
        """Have event e claimed and worked on by a process that is killed before it writes that down."""
        work = open_work(self.folder / "inbox.db")
        (delivery,) = work.route(CRASHED, {"torture.work": True}, inbox.clock())
        claimed = work.claim(delivery, token="t", worker=f"host:{KILLED}:ab", at=inbox.clock(), lease=3.0)
        assert claimed is not None
        work.close()
        self.add(EFFECTS, Effect("begin", CRASHED, "torture.work", "signed", "e", 1, KILLED))
        self.add(EFFECTS, Effect("end", CRASHED, "torture.work", "signed", "e", 1, KILLED))
        self.add(FAULTS, Fault(inbox.clock(), inbox.clock(), "kill", "worker child", KILLED))

    def send(self, inbox: Inbox, source: str, id: str, *, fate: str = "succeeded", **changes: Any) -> None:
        """Send an event and write down what the sender was told."""
        body = encode({"id": id, "type": "work", "failures": 0, "pause": 0, "unique": 1} | changes)
        answer = inbox.receive(source, body)
        digest = sha256(body).hexdigest()
        key = id if source == "signed" else f"sha256:{digest}"
        told = Reply(inbox.clock(), "fresh", source, key, digest, fate, 200, answer.status, answer.id)
        self.add(CLIENT, told)

    def add(self, name: str, record: Any) -> None:
        """Add a line to a journal."""
        with closing(Journal(self.folder / name)) as journal:
            journal.add(record)

    def edit(self, name: str, change: Callable[[list[dict[str, Any]]], Any]) -> None:
        """Have the lines of a journal changed in place."""
        path = self.folder / name
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        change(lines)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def sql(self, *statements: str) -> None:
        """Change the database behind everybody's back."""
        with closing(sqlite3.connect(self.folder / "inbox.db")) as connection, connection:
            connection.execute("PRAGMA ignore_check_constraints = 1")
            for statement in statements:
                connection.execute(statement)

    def rules(self, **options: Any) -> set[str]:
        """Return the names of the rules that are broken."""
        evidence = gather(self.folder, self.folder / "inbox.db", handlers=HANDLERS, **options)
        return {breach.rule for breach in check(evidence)}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scene as it was played, once."""
    scene = Scene(tmp_path_factory.mktemp("scene"))
    scene.play()
    return scene.folder


@pytest.fixture
def scene(played: Path, tmp_path: Path) -> Scene:
    """A copy of it, to be tampered with."""
    shutil.copytree(played, tmp_path / "scene")
    return Scene(tmp_path / "scene")


def test_a_promise_that_was_kept_has_no_breach(scene: Scene) -> None:
    """Copies, a conflict, retries, a death by design, and a crash after the work was done are all in order."""
    assert set() == scene.rules()
    evidence = gather(scene.folder, scene.folder / "inbox.db")
    assert {"retry", "error", "succeeded", "crashed"} == {attempt.result for attempt in evidence.attempts}
    assert ["dead"] == [event.status for event in evidence.events if event.id == DOOMED]
    assert [CONFLICT] == [event.id for event in evidence.events if event.conflict_of == A]
    assert 0 == at_work(scene.folder / "inbox.db")


TAMPERED_DATABASES = {
    "an acknowledged event is gone": (
        "acknowledged, but not stored",
        f"DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE event_id = {A})",
        f"DELETE FROM deliveries WHERE event_id = {A}",
        f"DELETE FROM bodies WHERE event_id = {A}",
        f"UPDATE events SET conflict_of = NULL, status = 'quarantined', key = 'z' WHERE id = {CONFLICT}",
        f"DELETE FROM events WHERE id = {A}",
    ),
    "its body is another one": (
        "acknowledged, but stored as something else",
        f"UPDATE events SET body_digest = zeroblob(32) WHERE id = {A}",
    ),
    "its source is another one": (
        "acknowledged, but stored as something else",
        f"UPDATE events SET source = 'plain' WHERE id = {A}",
    ),
    "a conflict became an event of its own": (
        "acknowledged as something else",
        "DROP INDEX events_key",
        f"UPDATE events SET conflict_of = NULL WHERE id = {CONFLICT}",
    ),
    "two events have one key": (
        "stored twice",
        "DROP INDEX events_key",
        f"UPDATE events SET conflict_of = NULL WHERE id = {CONFLICT}",
    ),
    "an event came from nowhere": (
        "stored, but never sent",
        "INSERT INTO events (source, key, type, status, received_at, size, body_digest, content_digest, verified_by) "
        "VALUES ('signed', 'x', 'work', 'succeeded', 0, 0, zeroblob(32), zeroblob(32), '')",
    ),
    "a copy was not counted": ("copies counted wrongly", f"UPDATE events SET duplicates = 0 WHERE id = {A}"),
    "a copy was counted twice": ("copies counted wrongly", f"UPDATE events SET duplicates = 2 WHERE id = {A}"),
    "an event was never routed": (
        "not delivered",
        f"DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE event_id = {A})",
        f"DELETE FROM deliveries WHERE event_id = {A}",
        f"UPDATE events SET status = 'received' WHERE id = {A}",
    ),
    "one of two handlers was left out": (
        "not delivered",
        f"DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE event_id = {PLAIN_ONE} LIMIT 1)",
        f"DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE event_id = {PLAIN_ONE} LIMIT 1)",
    ),
    "a delivery waits for ever": ("not finished", f"UPDATE events SET status = 'processing' WHERE id = {A}"),
    "an event gave up": ("came to another end", f"UPDATE events SET status = 'dead' WHERE id = {A}"),
    "an event hides that it is not done": (
        "status does not follow",
        f"UPDATE deliveries SET status = 'retrying' WHERE event_id = {A}",
    ),
    "a conflict was handled": (
        "handled, but not to be",
        f"UPDATE deliveries SET event_id = {CONFLICT} WHERE event_id = {A}",
    ),
    "an attempt is missing": (
        "attempts are missing",
        f"UPDATE deliveries SET attempts = attempts + 1 WHERE event_id = {A}",
    ),
    "a crash is not counted": (
        "crashes counted wrongly",
        f"UPDATE deliveries SET crashes = 0 WHERE event_id = {CRASHED}",
    ),
    "nothing succeeded": (
        "succeeded more or less than once",
        f"UPDATE attempts SET result = 'timeout' WHERE delivery_id = (SELECT id FROM deliveries WHERE event_id = {A})",
    ),
    "an attempt never ended": (
        "an attempt without an end",
        "UPDATE attempts SET result = 'running' WHERE result = 'error'",
    ),
    "the work was done, and done again": (
        "handled, and then run again",
        "UPDATE attempts SET result = 'retry' WHERE result = 'crashed'",
    ),
    "a handler that is not there ran": (
        "ran without its handler",
        "UPDATE attempts SET result = 'unavailable' WHERE result = 'error'",
    ),
    "rows refer to others that are gone": ("damaged database", f"DELETE FROM events WHERE id = {A}"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED_DATABASES)
def test_a_tampered_database_is_found(name: str, scene: Scene) -> None:
    """Each kind of loss in the store breaks the rule that forbids it."""
    rule, *statements = TAMPERED_DATABASES[name]
    scene.sql(*statements)
    assert rule in scene.rules()


def drop(step: str, event: int) -> Callable[[list[dict[str, Any]]], None]:
    """Return what removes the lines of a step from the handlers' journal."""

    def change(lines: list[dict[str, Any]]) -> None:
        lines[:] = [line for line in lines if (line["step"], line["event"]) != (step, event)]

    return change


def again(change: dict[str, Any], which: int = 0) -> Callable[[list[dict[str, Any]]], None]:
    """Return what repeats a line with something changed."""
    return lambda lines: lines.append(lines[which] | change)


def altered(change: dict[str, Any], *which: int) -> Callable[[list[dict[str, Any]]], None]:
    """Return what changes lines in place; all of the first event's copies if none is named."""
    return lambda lines: [lines[number].update(change) for number in which]


FORGED = {"key": "f", "digest": "00", "fate": "refused", "http": 200, "id": A}

TAMPERED_JOURNALS = {
    "the answer named another event": ("acknowledged, but stored as something else", CLIENT, altered({"id": 2}, 0)),
    "the answer named no event": ("acknowledged, but not stored", CLIENT, again({"id": 99, "key": "x"})),
    "a copy has another id": ("copies with several ids", CLIENT, again({"id": 2, "outcome": "duplicate"})),
    "two copies were both the first": ("accepted twice", CLIENT, again({"http": 200, "outcome": "accepted"})),
    "a forgery was believed": ("forged, but believed", CLIENT, again(FORGED)),
    "a genuine request was refused": ("genuine, but refused", CLIENT, again({"http": 401, "id": 0})),
    "our own defect": ("genuine, but refused", CLIENT, again({"http": 500, "id": 0})),
    "what got a 503 was stored": ("refused, but stored", CLIENT, altered({"http": 503, "id": 0}, 3)),
    "what was forged was stored": ("stored, but never sent", CLIENT, altered({"http": 401, "fate": "refused"}, 3)),
    "the handler did nothing": ("succeeded without its work", EFFECTS, drop("end", A)),
    "the handler never did anything": ("stored, but never handled", EFFECTS, drop("end", A)),
    "the handler never began": ("succeeded without its work", EFFECTS, drop("begin", A)),
    "one attempt ran twice": ("one attempt ran twice", EFFECTS, again({})),
    "an attempt that nobody claimed": ("handled without an attempt", EFFECTS, again({"attempt": 7})),
    "an event that does not exist": ("handled without an attempt", EFFECTS, again({"event": 99})),
    "an attempt failed by itself": ("failed by itself", EFFECTS, drop("raise", FAILING)),
    "nobody killed that process": ("rescued without a cause", FAULTS, altered({"pid": 1}, 0)),
    "it was killed at another time": ("rescued without a cause", FAULTS, altered({"at": NOW + 1000}, 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED_JOURNALS)
def test_a_journal_that_tells_another_story_is_found(name: str, scene: Scene) -> None:
    """What the sender was told and what the handler did count, not what the store believes."""
    rule, journal, change = TAMPERED_JOURNALS[name]
    scene.edit(journal, change)
    assert rule in scene.rules()


@pytest.mark.parametrize("what", ["stop", "stall"])
def test_a_stop_of_anybody_explains_a_lost_lease(what: str, scene: Scene) -> None:
    """Who is stopped with the lock in its hand keeps the others' heartbeats out."""
    scene.edit(FAULTS, altered({"what": what, "pid": 1, "at": NOW - 5, "until": NOW + 1}, 0))
    assert set() == scene.rules()


def test_without_a_journal_of_faults_no_crash_is_questioned(scene: Scene) -> None:
    """A test that kills in its own way can use the checker all the same."""
    (scene.folder / FAULTS).unlink()
    assert set() == scene.rules()


def test_unanswered_copies_may_be_counted_or_not(scene: Scene) -> None:
    """Nobody knows whether they arrived."""
    scene.edit(CLIENT, again({"http": 0, "id": 0, "outcome": "TimeoutError"}))
    assert set() == scene.rules()
    scene.sql(f"UPDATE events SET duplicates = duplicates + 1 WHERE id = {A}")
    assert set() == scene.rules()


def test_processes_that_are_left_are_a_breach(scene: Scene) -> None:
    """Each of them is named."""
    assert {"left running"} == scene.rules(left=["worker child, process 7"])


def test_a_damaged_file_is_a_breach(scene: Scene) -> None:
    """SQLite's own check says so: here a page of an index is overwritten."""
    scene.sql("PRAGMA journal_mode = DELETE")
    with closing(sqlite3.connect(scene.folder / "inbox.db")) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'events_kind'"
        page = connection.execute(sql).fetchone()[0]
    with (scene.folder / "inbox.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x0a" + b"\x00" * 4 + b"\x10\x00" + b"\x00" * 20)
    assert "damaged database" in scene.rules()


def test_what_is_waiting_is_counted(scene: Scene) -> None:
    """Events that are not at their end, and deliveries."""
    scene.sql(f"UPDATE events SET status = 'processing' WHERE id = {A}")
    scene.sql(f"UPDATE deliveries SET status = 'retrying' WHERE event_id = {A}")
    assert 2 == at_work(scene.folder / "inbox.db")


def test_a_journal_with_a_torn_line_is_an_error(tmp_path: Path) -> None:
    """Nothing is skipped in silence."""
    (tmp_path / CLIENT).write_text('{"at": 1')
    with pytest.raises(ValueError, match="delimiter"):
        read(tmp_path / CLIENT, Reply)
