"""Breakcold: a mirror of leads and records, from both kinds of webhook."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox.testing import SECRET, Inbox
from tests.handlers.conftest import Rows, Run

SPACE = "eb8edc65-129a-4cb6-abbe-6bf8979c0658"


def lead(event: str, number: int, **members: Any) -> dict[str, Any]:
    """Return an event about lead l1 as the older webhook sends it; `number` makes the body unlike others."""
    return {
        "id_space": SPACE,
        "event": event,
        "secret": SECRET,
        "payload": {"id": "l1", "created_at": "2026-01-01T09:00:00Z", **members},
        "number": number,
    }


def record(event: str, second: int, **members: Any) -> dict[str, Any]:
    """Return an event about record r1 as the signed webhook sends it."""
    at = f"2026-01-01T09:00:{second:02}.000Z"
    data = {"id": "r1", **members}
    return {"eventId": f"{event} {second}", "timestamp": at, "workspaceId": "w", "event": event, "data": data}


@pytest.fixture
def inbox(tmp_path: Path, handlers: Path) -> Iterator[Inbox]:
    """An inbox whose sources are called as `inbox init` calls them."""
    sources = {"breakcold": {"provider": "breakcold"}, "breakcold-v2": {"provider": "breakcold_v2"}}
    with Inbox(tmp_path, handlers=handlers, sources=sources) as made:
        yield made


def test_samples_are_mirrored(run: Run, rows: Rows) -> None:
    """A lead and a record become rows of one table."""
    assert "succeeded" == run("breakcold")["status"]
    assert "succeeded" == run("breakcold-v2")["status"]
    found = rows("breakcold", "SELECT source, deleted, email, data FROM records ORDER BY source")
    assert [("breakcold", 0, None), ("breakcold-v2", 0, "ada@example.com")] == [row[:3] for row in found]
    assert ["Jean", "Ada Lovelace"] == [json.loads(found[0][3])["first_name"], json.loads(found[1][3])["name"]]
    assert SECRET not in str(found)


def test_partial_update_keeps_the_rest(run: Run, rows: Rows) -> None:
    """An update that holds only what changed changes only that; null takes a value away."""
    run("breakcold-v2", record("record.created", 1, name="Ada", fields={"email": "ada@example.com", "city": "London"}))
    run("breakcold-v2", record("record.updated", 2, fields={"email": "ada@example.org", "city": None}))
    [(data, email)] = rows("breakcold", "SELECT data, email FROM records")
    assert {"id": "r1", "name": "Ada", "fields": {"email": "ada@example.org"}} == json.loads(data)
    assert "ada@example.org" == email


@pytest.mark.parametrize(
    ("source", "created", "deleted"),
    [
        ("breakcold", lead("lead.create", 1, email="a@b.c"), lead("lead.delete", 2)),
        ("breakcold", lead("lead.create", 1, email="a@b.c"), {**lead("lead.delete", 2), "payload": {"id": "l1"}}),
        (
            "breakcold-v2",
            record("record.created", 1, fields={"email": "a@b.c"}),
            record("record.deleted", 2, deleted=True),
        ),
    ],
)
def test_delete_marks_and_keeps(
    inbox: Inbox, run: Run, rows: Rows, source: str, created: dict[str, Any], deleted: dict[str, Any]
) -> None:
    """A deleted lead or record is marked, its fields stay, and running the creation again does not bring it back."""
    inbox.advance(86400)
    first = run(source, created)
    run(source, deleted)
    inbox.replay(first["id"])
    inbox.run()
    assert [(1, "a@b.c")] == rows("breakcold", "SELECT deleted, email FROM records")


def test_delete_before_create_stays_deleted(run: Run, rows: Rows) -> None:
    """A creation that comes after the deletion does not bring the record back."""
    run("breakcold-v2", record("record.deleted", 9, deleted=True))
    run("breakcold-v2", record("record.created", 1, name="Ada"))
    assert [("r1", 1, None)] == rows("breakcold", "SELECT id, deleted, data FROM records")


def test_record_that_comes_back_is_not_deleted(run: Run, rows: Rows) -> None:
    """A newer event about a deleted record lifts the mark."""
    run("breakcold-v2", record("record.deleted", 1, deleted=True))
    run("breakcold-v2", record("record.updated", 2, name="Ada"))
    assert [(0, "Ada")] == rows("breakcold", "SELECT deleted, json_extract(data, '$.name') FROM records")


def test_lead_that_says_it_is_deleted_is(run: Run, rows: Rows) -> None:
    """`is_deleted` counts, whatever the event is called."""
    run("breakcold", lead("lead.update", 1, is_deleted=True))
    assert [(1,)] == rows("breakcold", "SELECT deleted FROM records")


def test_older_update_does_not_overwrite(run: Run, rows: Rows) -> None:
    """The newest of a lead's own times decides, since the older webhook has no other."""
    run("breakcold", lead("lead.update", 1, email="new@b.c", updated_at="2026-01-01T10:00:00Z"))
    run("breakcold", lead("lead.update", 2, email="old@b.c", updated_at="2026-01-01T09:30:00Z"))
    assert [("new@b.c",)] == rows("breakcold", "SELECT email FROM records")


def test_order_of_arrival_decides_where_no_time_moves(inbox: Inbox, run: Run, rows: Rows) -> None:
    """Two updates under one `updated_at` end as they came, also after a replay of the first."""
    first = run("breakcold", lead("lead.update", 1, email="first@b.c"))
    run("breakcold", lead("lead.update", 2, email="second@b.c"))
    inbox.replay(first["id"])
    inbox.run()
    assert [("second@b.c",)] == rows("breakcold", "SELECT email FROM records")


def test_record_without_id_is_discarded(run: Run, rows: Rows) -> None:
    """Nothing can be mirrored under no name."""
    event = run("breakcold", {"id_space": SPACE, "event": "lead.update", "secret": SECRET, "payload": {}})
    assert ["discarded"] == [delivery["status"] for delivery in event["deliveries"]]
    assert [] == rows("breakcold", "SELECT name FROM sqlite_master")


@pytest.mark.parametrize("event_type", ["lead.note.create", "lead.tags.update", "campaign.email.open"])
def test_other_events_are_left_alone(run: Run, event_type: str) -> None:
    """What is not about a lead's own fields does not reach the mirror: its payload is not documented."""
    assert "unhandled" == run("breakcold", lead(event_type, 1))["status"]
