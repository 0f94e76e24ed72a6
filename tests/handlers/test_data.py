"""What the shipped handlers share, and that they stay as small as they are."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from handlers import _data
from inbox import Discard
from inbox.testing import Inbox
from tests.handlers.conftest import Rows

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FOLDER = Path(__file__).parents[2] / "handlers"

WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from inbox.core.models import iso
from inbox.deliver.handler_loader import load
from inbox.testing import sample

folder, name, start = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
track = load(Path(folder)).handlers["roomz.track_presence"].function
print("ready", flush=True)
while not start.exists():
    pass
for number in range(40):
    step = 2 * (number * 7 % 40) + name
    data = {"workspaceId": "w1", "presenceStatus": ("Free", "Busy")[name]}
    track(replace(sample("roomz", {"id": str(step), "timestamp": iso(step), "data": data}), id=step))
"""


@pytest.mark.parametrize("path", sorted(FOLDER.glob("[!_]*.py")), ids=lambda path: path.name)
def test_handler_is_short(path: Path) -> None:
    """A handler file is one screen: at most 40 lines with everything."""
    assert len(path.read_text("utf-8").splitlines()) <= 40


def test_every_seed_sender_has_a_handler(inbox: Inbox) -> None:
    """Every source that `inbox init` writes has a handler that takes its sample, and every file imports."""
    sources = list(inbox.runtime.sources)
    answers = {source: inbox.receive(source) for source in sources}
    inbox.run()
    assert {} == inbox.runtime.registry.failures
    assert dict.fromkeys(sources, "succeeded") == {name: inbox.event(answers[name].id)["status"] for name in sources}


def test_import_has_no_effect(tmp_path: Path) -> None:
    """Importing a handler opens, makes and reads nothing: settings are read when it runs."""
    modules = ", ".join(f"handlers.{path.stem}" for path in FOLDER.glob("*.py"))
    code = f"import os; os.environ.clear(); import sys; sys.path.insert(0, {str(FOLDER.parent)!r}); import {modules}"
    subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, check=True)
    assert [] == list(tmp_path.iterdir())


def test_data_folder_is_data_where_none_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without INBOX_DATA, or with an empty one, files go to `data` in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INBOX_DATA", "")
    assert Path("data/mail") == _data.folder("mail")
    assert (tmp_path / "data" / "mail").is_dir()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-01T09:00:00Z", "2026-01-01T09:00:00.000000+00:00"),
        ("2026-01-01T09:00:00.1234567Z", "2026-01-01T09:00:00.123456+00:00"),
        ("2026-01-01T09:00:00+02:00", "2026-01-01T07:00:00.000000+00:00"),
        ("2026-01-01T09:00:00", "2026-01-01T09:00:00.000000+00:00"),
        ("2022-01-23", "2022-01-23T00:00:00.000000+00:00"),
        ("9999-12-31T23:59:59-23:00", "2026-01-01T12:00:00.000000+00:00"),
        ("soon", "2026-01-01T12:00:00.000000+00:00"),
        (None, "2026-01-01T12:00:00.000000+00:00"),
        (1767225600, "2026-01-01T12:00:00.000000+00:00"),
    ],
)
def test_instant_sorts_as_text(value: Any, expected: str) -> None:
    """Times in any notation become texts that compare as the times do; what is no time is the default."""
    assert expected == _data.instant(value, NOON)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a", "a"), (12, "12"), ("", None), (True, None), (None, None), ([], None), (1.5, None), ("\ud800", "?")],
)
def test_text_is_storable_or_nothing(value: Any, expected: str | None) -> None:
    """Only texts and whole numbers count, in a form that SQLite takes."""
    assert expected == _data.text(value)


@pytest.mark.parametrize("payload", [None, [], "x", {}, {"data": None}, {"data": [1]}])
def test_missing_object_is_discarded(payload: Any) -> None:
    """A payload without the object that a handler needs is discarded with the place in the reason."""
    with pytest.raises(Discard, match="/data"):
        _data.members(payload, "data")


def test_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is replaced as a whole or not at all, and nothing is left beside it."""
    _data.write(tmp_path / "file", b"old")

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_data.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _data.write(tmp_path / "file", b"new")
    assert {"file": b"old"} == {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}


def test_two_processes_make_and_fill_one_database(tmp_path: Path, handlers: Path, rows: Rows) -> None:
    """Two processes that open a new database at once, and write older after newer, end in the newest state."""
    start = tmp_path / "start"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(handlers), str(number), str(start)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(2)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert b"ready\n" == writer.stdout.readline()
    start.touch()
    assert [b"", b""] == [writer.communicate(timeout=60)[1] for writer in writers]
    assert [0, 0] == [writer.returncode for writer in writers]
    assert [("w1", "Busy", "1970-01-01T00:01:19.000000+00:00", 79)] == rows("roomz", "SELECT * FROM presence")


def test_changed_helper_counts_after_a_reload(tmp_path: Path) -> None:
    """Loading the handlers again loads what they share again, and never that of another folder."""
    handler = (
        "from inbox import handles\nfrom ._shared import VALUE\n@handles('roomz')\ndef f(event):\n    return VALUE\n"
    )
    values = []
    for number in (1, 22, 333):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "h.py").write_text(handler)
        (folder / "_shared.py").write_text(f"VALUE = {number}\n")
        with Inbox(folder, handlers=folder) as inbox:
            for value in (number, number * 10):
                (folder / "_shared.py").write_text(f"VALUE = {value}\n")
                inbox.reload()
                answer = inbox.receive("roomz")
                inbox.run()
                values.append(json.loads(inbox.event(answer.id)["deliveries"][0]["value"]))
    assert [1, 10, 22, 220, 333, 3330] == values
