"""The checker that every fault test ends with: it finds nothing in what happened, and what is changed."""

import ast
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from inbox.tools.torture.journal import CLIENT, EFFECTS, FAULTS
from tests.conftest import PROJECT
from tests.support import crowd
from tests.support.place import Place
from tests.support.witness import Witness

HANDLERS = {"acme": frozenset({"own.write_down"})}
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Three events, one of them twice, and a stranger; handled, stopped and proved."""
    place = Place(tmp_path_factory.mktemp("scene"))
    crowd.settle(place)
    place.start()
    answers = [crowd.send(place, key).word for key in ("one", "two", "two", "three")]
    assert ["accepted", "accepted", "duplicate", "accepted"] == answers
    assert 401 == crowd.send(place, "four", token="made up").status
    place.prove()
    yield place
    place.close()


def sql(statement: str) -> Change:
    def change(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "inbox.db")) as connection, connection:
            connection.execute(statement)

    return change


def line(name: str, number: int, *copies: dict[str, Any]) -> Change:
    """Put changed copies of a journal's line in its place; none removes it."""

    def change(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines()
        lines[number : number + 1] = [json.dumps(json.loads(lines[number]) | copy) for copy in copies]
        (folder / name).write_text("".join(f"{text}\n" for text in lines))

    return change


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (sql("DELETE FROM events WHERE id = 1"), "acknowledged, but not stored"),
        (sql("UPDATE events SET body_digest = x'00' WHERE id = 1"), "acknowledged, but stored as something else"),
        (sql("UPDATE events SET duplicates = 0"), "copies counted wrongly"),
        (sql("DELETE FROM deliveries WHERE event_id = 1"), "not delivered"),
        (sql("UPDATE deliveries SET handler = 'own.other' WHERE event_id = 1"), "not delivered"),
        (sql("UPDATE events SET status = 'processing' WHERE id = 1"), "not finished"),
        (sql("UPDATE attempts SET result = 'crashed' WHERE id = 1"), "rescued without a cause"),
        (line(CLIENT, 0), "stored, but never sent"),
        (line(CLIENT, 0, {"http": 503, "id": 0}), "refused, but stored"),
        (line(CLIENT, 0, {"http": 400}), "genuine, but refused"),
        (line(CLIENT, 4, {"http": 200}), "forged, but believed"),
        (line(EFFECTS, 0), "succeeded without its work"),
        (line(EFFECTS, 0, {}, {}), "one attempt ran twice"),
        (line(EFFECTS, 0, {"attempt": 2}), "handled without an attempt"),
    ],
)
def test_what_is_changed_is_found(scene: Place, tmp_path: Path, change: Change, rule: str) -> None:
    """Each rule can be broken, in the database or in what sender and handler wrote down."""
    for name in ("inbox.db", CLIENT, EFFECTS, FAULTS):
        shutil.copy(scene.folder / name, tmp_path)
    witness = Witness(tmp_path)
    assert [] == witness.breaches(tmp_path / "inbox.db", HANDLERS, [])
    change(tmp_path)
    assert rule in {breach.rule for breach in witness.breaches(tmp_path / "inbox.db", HANDLERS, [])}
    with pytest.raises(AssertionError):
        witness.prove(tmp_path / "inbox.db", HANDLERS, [])


def test_a_process_that_is_left_running_is_found(scene: Place) -> None:
    """Whoever started it: it carries the mark of the inbox."""
    with subprocess.Popen(["sleep", "60"], env=scene.environment) as process:
        try:
            with pytest.raises(AssertionError, match=f"left running: orphan, process {process.pid}"):
                scene.prove(patience=0.0)
        finally:
            process.kill()
    scene.prove()


NO_FAULTS = {
    "test_every_seed_sender_is_accepted_handled_listed_shown_and_replayed",
    "test_the_clock_of_the_tests_is_what_the_inbox_sees",
}
FILES = ["acceptance/test_end_to_end.py", "acceptance/test_full_disk.py", "acceptance/test_leases.py"]
FILES += ["acceptance/test_overload.py", "acceptance/test_restarts.py", "acceptance/test_stopping.py"]


SHARED = "counting"
"""An inbox that several tests share; the last one has the checker look at it."""


def test_every_fault_ends_with_the_checker() -> None:
    """Or what a fault breaks would be seen only where its test happens to look."""
    nodes = [node for name in FILES for node in ast.parse((PROJECT / "tests" / name).read_text()).body]
    tests = {node.name: ast.unparse(node) for node in nodes if isinstance(node, ast.FunctionDef)}
    without = [name for name, text in tests.items() if name.startswith("test_") and ".prove()" not in text]
    assert NO_FAULTS == {name for name in without if f"{SHARED}: Place" not in tests[name]}
    assert any(f"{SHARED}.prove()" in text for text in tests.values())
