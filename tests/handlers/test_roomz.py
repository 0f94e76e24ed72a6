"""ROOMZ: the current presence of each workspace."""

from typing import Any

import pytest

from inbox.testing import Inbox
from tests.handlers.conftest import Rows, Run

ALL = "SELECT workspace_id, status, changed_at FROM presence"


def change(number: int, status: str, timestamp: str = "2026-01-01T09:00:00.000Z", **more: Any) -> dict[str, Any]:
    """Return a presence change of workspace w1."""
    return {
        "id": f"event {number}",
        "type": "workspace.presence.changed",
        "timestamp": timestamp,
        "data": {"workspaceId": "w1", "presenceStatus": status},
        **more,
    }


def test_sample_is_kept(run: Run, rows: Rows) -> None:
    """A presence change becomes a row."""
    event = run("roomz")
    assert "succeeded" == event["status"]
    assert [("e6ae112e-2af3-4d72-894b-03435d7afde4", "Busy", "2026-01-01T00:00:00.000000+00:00")] == rows("roomz", ALL)


@pytest.mark.parametrize("status", ["busy", "BUSY", "Busy"])
def test_spelling_does_not_matter(run: Run, rows: Rows, status: str) -> None:
    """The presence is stored as the API spells it, however it came."""
    run("roomz", change(1, status))
    assert [("Busy",)] == rows("roomz", "SELECT status FROM presence")


def test_newer_event_changes_the_state(run: Run, rows: Rows) -> None:
    """What happened later counts."""
    run("roomz", change(1, "Busy", "2026-01-01T09:00:00Z"))
    run("roomz", change(2, "Free", "2026-01-01T09:00:00.5Z"))
    assert [("w1", "Free", "2026-01-01T09:00:00.500000+00:00")] == rows("roomz", ALL)


@pytest.mark.parametrize(
    "older",
    [
        "2026-01-01T08:59:59.999Z",
        "2026-01-01T09:59:59+01:00",
        "2026-01-01T08:59:59.9999999Z",
        "2025-12-31T23:00:00-09:00",
        "2026-01-01T08:59:59",
    ],
)
def test_older_event_does_not_overwrite(run: Run, rows: Rows, older: str) -> None:
    """An event that happened earlier and comes later changes nothing, in whatever notation its time is."""
    run("roomz", change(1, "Busy"))
    event = run("roomz", change(2, "Free", older))
    assert "succeeded" == event["status"]
    assert [("Busy",)] == rows("roomz", "SELECT status FROM presence")


def test_later_arrival_decides_at_the_same_time(inbox: Inbox, run: Run, rows: Rows) -> None:
    """Of two events with one timestamp the one that came last counts, also when the first one runs again."""
    first = run("roomz", change(1, "Busy"))
    run("roomz", change(2, "Free"))
    inbox.replay(first["id"])
    inbox.run()
    assert [("Free",)] == rows("roomz", "SELECT status FROM presence")


def test_replay_of_an_older_event_changes_nothing(inbox: Inbox, run: Run, rows: Rows) -> None:
    """Running everything again leaves the state as it was."""
    events = [run("roomz", change(n, ("Busy", "Free")[n % 2], f"2026-01-01T09:00:0{n}Z")) for n in range(4)]
    before = rows("roomz", "SELECT * FROM presence")
    for event in events:
        inbox.replay(event["id"])
    inbox.run()
    assert before == rows("roomz", "SELECT * FROM presence")
    assert [["succeeded"] * 2] * 4 == [
        [delivery["status"] for delivery in inbox.event(event["id"])["deliveries"]] for event in events
    ]


@pytest.mark.parametrize("timestamp", ["yesterday", "", "0001-01-01T00:00:00+23:00"])
def test_unreadable_time_is_the_time_of_arrival(run: Run, rows: Rows, timestamp: str) -> None:
    """A timestamp that says nothing does not lose the state."""
    run("roomz", change(1, "Busy", timestamp))
    assert [("w1", "Busy", "2026-01-01T00:00:00.000000+00:00")] == rows("roomz", ALL)


@pytest.mark.parametrize(
    "payload",
    [
        {"id": "1", "type": "workspace.presence.changed", "timestamp": "", "data": {"workspaceId": "w1"}},
        change(1, "Away"),
        change(1, "Busy", data=[]),
        change(1, "Busy", data={"workspaceId": None, "presenceStatus": "Busy"}),
    ],
)
def test_broken_payload_is_discarded(inbox: Inbox, rows: Rows, payload: Any) -> None:
    """What breaks the schema is quarantined, and forced through it is discarded rather than tried for days."""
    answer = inbox.receive("roomz", payload)
    assert "quarantined" == answer.status
    inbox.replay(answer.id, force=True)
    inbox.run()
    assert ["discarded"] == [delivery["status"] for delivery in inbox.event(answer.id)["deliveries"]]
    assert [] == rows("roomz", "SELECT name FROM sqlite_master")


def test_other_types_are_not_handled(run: Run, rows: Rows) -> None:
    """Types that ROOMZ may add are kept in the inbox and not guessed at."""
    assert "unhandled" == run("roomz", type="workspace.renamed")["status"]
    assert [] == rows("roomz", ALL)
