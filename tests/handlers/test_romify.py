"""Romify: leads in SQLite and as CSV."""

import csv
import json
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from inbox.testing import Inbox
from tests.handlers.conftest import Rows, Run

WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from inbox.deliver.handler_loader import load
from inbox.testing import sample

folder, name, start = sys.argv[1], sys.argv[2], Path(sys.argv[3])
capture = load(Path(folder)).handlers["romify.capture_lead"].function
print("ready", flush=True)
while not start.exists():
    pass
for number in range(40):
    for lead in ("both", name + str(number)):
        event = sample("romify", {"id": lead, "writer": name, "number": number})
        capture(replace(event, id=2 * number + (name == "b")))
"""


def lines(data: Path) -> list[dict[str, str]]:
    """Return the lines of the CSV."""
    return list(csv.DictReader(StringIO((data / "romify.csv").read_bytes().decode("utf-8-sig"), newline="")))


def test_sample_is_captured(run: Run, rows: Rows, data: Path) -> None:
    """A lead is in the database and in the CSV."""
    event = run("romify", {"id": "l1", "name": "Zoë", "city": None})
    assert "succeeded" == event["status"]
    assert [("l1", '{"id": "l1", "name": "Zoë", "city": null}')] == rows("romify", "SELECT id, data FROM leads")
    assert [{"id": "l1", "name": "Zoë", "city": ""}] == lines(data)


def test_changed_lead_has_one_line(run: Run, rows: Rows, data: Path) -> None:
    """A lead that is changed keeps its place, and a field that is new gets a column."""
    run("romify", {"id": 1, "name": "Ada"})
    run("romify", {"id": 2, "name": "Bob"})
    run("romify", {"id": 1, "name": "Ada L.", "rating": 5})
    assert 2 == len(rows("romify", "SELECT id FROM leads"))
    assert [
        {"id": "1", "name": "Ada L.", "rating": "5"},
        {"id": "2", "name": "Bob", "rating": ""},
    ] == lines(data)


@pytest.mark.parametrize("seconds", [0, 3600])
def test_second_run_adds_nothing(inbox: Inbox, run: Run, data: Path, seconds: float) -> None:
    """A lead that runs twice has one line, and an older event that runs later changes nothing."""
    first = run("romify", {"id": "1", "name": "old"})
    inbox.advance(seconds)
    run("romify", {"id": "1", "name": "new"})
    before = (data / "romify.csv").read_bytes()
    inbox.replay(first["id"])
    inbox.run()
    assert before == (data / "romify.csv").read_bytes()
    assert [{"id": "1", "name": "new"}] == lines(data)


def test_lost_csv_comes_back(inbox: Inbox, run: Run, data: Path) -> None:
    """The CSV is made of the database: deleting it loses nothing."""
    run("romify", {"id": "1"})
    event = run("romify", {"id": "2"})
    (data / "romify.csv").unlink()
    inbox.replay(event["id"])
    inbox.run()
    assert [{"id": "1"}, {"id": "2"}] == lines(data)


def test_leads_without_id_are_told_apart_by_content(run: Run, rows: Rows) -> None:
    """Without an id, every event that is unlike the others is a lead of its own."""
    run("romify", {"name": "Ada"})
    event = run("romify", {"name": "Bob"})
    keys = rows("romify", "SELECT id FROM leads")
    assert 2 == len(keys)
    assert (event["key"],) in keys


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "＝"])
def test_formulas_are_shown_and_not_run(run: Run, data: Path, start: str) -> None:
    """A cell or heading that a spreadsheet would run begins with an apostrophe; the database has it as it came."""
    run("romify", {"id": "1", "name": f"{start}cmd|' /C calc'!A0", f"{start}key": "x"})
    assert [{"id": "1", "name": f"'{start}cmd|' /C calc'!A0", f"'{start}key": "x"}] == lines(data)


def test_values_of_every_kind_have_a_cell(run: Run, data: Path) -> None:
    """Nested values are JSON, line breaks and quotes stay inside their cell, and what is no Unicode is replaced."""
    lead = {
        "id": "1",
        "tags": ["a", {"b": 'c"'}],
        "hot": True,
        "score": 1.5,
        "note": 'one\ntwo, "three"',
        "odd": "\ud800",
    }
    run("romify", json.dumps(lead).encode())
    assert [
        {
            "id": "1",
            "tags": '["a", {"b": "c\\""}]',
            "hot": "true",
            "score": "1.5",
            "note": 'one\ntwo, "three"',
            "odd": "?",
        }
    ] == lines(data)


def test_secret_has_no_column(tmp_path: Path, handlers: Path, data: Path) -> None:
    """A secret that Romify puts among the lead's fields is neither stored nor listed."""
    sources: dict[str, dict[str, Any]] = {"romify": {"provider": "romify", "secret_in": "body"}}
    with Inbox(tmp_path, handlers=handlers, sources=sources) as inbox:
        inbox.receive("romify", {"id": "1", "romify_secret": ""})
        inbox.run()
    assert [{"id": "1"}] == lines(data)


def test_lead_in_a_query_string_is_captured(inbox: Inbox, data: Path) -> None:
    """A webhook with method GET carries the lead in its address."""
    request = inbox.signed("romify").replace(method="GET", body=b"", query="id=7&name=Ada")
    inbox.accept("romify", request)
    inbox.run()
    assert [{"id": "7", "name": "Ada"}] == lines(data)


@pytest.mark.parametrize("event_type", ["EVENT_STARTS", "EVENT_ENDS", "EVENT_STARTING_SOON"])
def test_events_are_not_leads(run: Run, data: Path, event_type: str) -> None:
    """What is about an event of Romify's is left alone."""
    assert "unhandled" == run("romify", type=event_type)["status"]
    assert not (data / "romify.csv").exists()


def test_failed_write_is_tried_again(inbox: Inbox, run: Run, data: Path) -> None:
    """Where the CSV cannot be written the delivery waits, and nothing half-written stays behind."""
    (data / "romify.csv").mkdir(parents=True)
    event = run("romify", {"id": "1"})
    assert ["retrying"] == [delivery["status"] for delivery in event["deliveries"]]
    assert [] == list(data.glob(".romify.csv.*"))
    (data / "romify.csv").rmdir()
    inbox.advance(3600)
    inbox.run()
    assert "succeeded" == inbox.event(event["id"])["status"]
    assert [{"id": "1"}] == lines(data)


def test_two_processes_write_at_once(tmp_path: Path, handlers: Path, data: Path, rows: Rows) -> None:
    """Two worker processes lose nothing, double nothing, and whoever reads meanwhile finds whole files."""
    start = tmp_path / "start"
    command = [sys.executable, "-c", WRITER, str(handlers)]
    writers = [
        subprocess.Popen([*command, name, str(start)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for name in "ab"
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert b"ready\n" == writer.stdout.readline()
    start.touch()
    seen = 0
    while any(writer.poll() is None for writer in writers):
        if (data / "romify.csv").exists():
            found = lines(data)
            assert len(found) == len({line["id"] for line in found})
            assert len(found) >= seen
            seen = len(found)
        time.sleep(0.002)
    assert [(0, b""), (0, b"")] == [(writer.returncode, writer.communicate()[1]) for writer in writers]
    assert 81 == len(lines(data)) == len(rows("romify", "SELECT id FROM leads"))
    [both] = [line for line in lines(data) if line["id"] == "both"]
    assert {"id": "both", "writer": "b", "number": "39"} == both
