"""Lemlist: a mirror of activities."""

import json
from typing import Any

from inbox.testing import SECRET, Inbox
from tests.handlers.conftest import Rows, Run


def activity(**members: Any) -> dict[str, Any]:
    """Return an activity with the secret that Lemlist puts into it."""
    return {"_id": "act_1", "type": "emailsOpened", "createdAt": "2026-01-01T09:00:00Z", "secret": SECRET, **members}


def test_sample_is_mirrored(run: Run, rows: Rows) -> None:
    """An activity becomes a row with its own columns and the whole of it as JSON."""
    event = run("lemlist", activity(leadEmail="jeanne@doe.com", campaignId="cam_1"))
    [row] = rows("lemlist", "SELECT id, type, lead_email, campaign_id, created_at FROM activities")
    assert "succeeded" == event["status"]
    assert ("act_1", "emailsOpened", "jeanne@doe.com", "cam_1", "2026-01-01T09:00:00.000000+00:00") == row
    [(data,)] = rows("lemlist", "SELECT data FROM activities")
    assert "jeanne@doe.com" == json.loads(data)["leadEmail"]
    assert SECRET not in data


def test_second_run_changes_nothing(inbox: Inbox, run: Run, rows: Rows) -> None:
    """An activity that runs twice is one row."""
    event = run("lemlist")
    before = rows("lemlist", "SELECT * FROM activities")
    inbox.replay(event["id"])
    inbox.run()
    assert 1 == len(before)
    assert before == rows("lemlist", "SELECT * FROM activities")


def test_newest_version_of_an_activity_stays(inbox: Inbox, run: Run, rows: Rows) -> None:
    """Another body under the same `_id` is a conflict; run by hand, it counts only if it is newer."""
    run("lemlist", activity(leadEmail="first@example.com"))
    for created_at, address in (
        ("2025-12-31T09:00:00Z", "old@example.com"),
        ("2026-01-02T09:00:00Z", "new@example.com"),
    ):
        conflict = run("lemlist", activity(leadEmail=address, createdAt=created_at))
        assert ("conflict", []) == (conflict["status"], conflict["deliveries"])
        inbox.replay(conflict["id"])
        inbox.run()
        expected = "first@example.com" if address.startswith("old") else address
        assert [(expected,)] == rows("lemlist", "SELECT lead_email FROM activities")


def test_enrichment_has_the_events_key(run: Run, rows: Rows) -> None:
    """`enrichmentDone` has no `_id`; two of them are two rows."""
    first = run("lemlist", {"type": "enrichmentDone", "data": [{"id": "1"}], "secret": SECRET})
    second = run("lemlist", {"type": "enrichmentDone", "data": [{"id": "2"}], "secret": SECRET})
    assert [("succeeded", "succeeded")] == [(first["status"], second["status"])]
    assert sorted([(first["key"],), (second["key"],)]) == sorted(rows("lemlist", "SELECT id FROM activities"))


def test_odd_members_are_kept_as_json(inbox: Inbox, rows: Rows) -> None:
    """Members of another kind than documented, and text that is no Unicode, do not stop the mirror when forced."""
    odd = activity(type="annotated", leadEmail=["a"], note="\ud800 ü", createdAt=5)
    event = inbox.receive("lemlist", json.dumps(odd).encode())
    assert "quarantined" == event.status
    inbox.replay(event.id, force=True)
    inbox.run()
    [(email, created_at, data)] = rows("lemlist", "SELECT lead_email, created_at, data FROM activities")
    assert (None, "2026-01-01T00:00:00.000000+00:00") == (email, created_at)
    assert ("? ü", ["a"]) == (json.loads(data)["note"], json.loads(data)["leadEmail"])


def test_forced_activity_with_an_odd_id_has_the_events_key(inbox: Inbox, rows: Rows) -> None:
    """An `_id` that is no text counts as none."""
    event = inbox.receive("lemlist", activity(_id=[]))
    inbox.replay(event.id, force=True)
    inbox.run()
    assert [(inbox.event(event.id)["key"],)] == rows("lemlist", "SELECT id FROM activities")
