"""Rootfi: what has to be fetched again."""

from typing import Any

import pytest
from sqlite_utils import Database

from handlers import rootfi
from inbox.testing import Inbox
from tests.handlers.conftest import Rows, Run

ALL = "SELECT company_id, data_model, operation, requested_at FROM refetch ORDER BY data_model"
NEW_YEAR = "2026-01-01T00:00:00.000000+00:00"


def change(model: str = "BILLS", operation: str = "UPDATE", **more: Any) -> dict[str, Any]:
    """Return a change of company 12."""
    return {"company_id": 12, "data_model": model, "type": operation, "data": {}, **more}


def test_sample_is_noted(run: Run, rows: Rows) -> None:
    """A change says which data model of which company to fetch."""
    event = run("rootfi")
    assert "succeeded" == event["status"]
    assert [("ACCOUNTS", "UPDATE", NEW_YEAR)] == [row[1:] for row in rows("rootfi", ALL)]


def test_changes_of_one_model_are_one_row(inbox: Inbox, run: Run, rows: Rows) -> None:
    """However many rows a sync sends, there is one thing to fetch; the last operation is kept."""
    run("rootfi", change("BILLS", "CREATE", data={"id": 1}))
    inbox.advance(60)
    run("rootfi", change("BILLS", "DELETE", data=None))
    run("rootfi", change("ITEMS", "UPDATE"))
    minute = NEW_YEAR.replace("00:00.", "01:00.")
    assert [("12", "BILLS", "DELETE", minute), ("12", "ITEMS", "UPDATE", minute)] == rows("rootfi", ALL)


def test_older_event_does_not_overwrite(inbox: Inbox, run: Run, rows: Rows) -> None:
    """A replay of the first change leaves the last one standing."""
    first = run("rootfi", change("BILLS", "CREATE"))
    run("rootfi", change("BILLS", "DELETE"))
    inbox.replay(first["id"])
    inbox.run()
    assert [("12", "BILLS", "DELETE", NEW_YEAR)] == rows("rootfi", ALL)


@pytest.mark.parametrize("event_type", ["CONNECTION_CHANGED", "SYNC_COMPLETED"])
def test_whole_company_is_one_star(run: Run, rows: Rows, event_type: str) -> None:
    """A changed connection and a finished sync name no data model: everything has to be fetched."""
    event = run("rootfi", {"company_id": 12}, type=event_type)
    assert "succeeded" == event["status"]
    assert [("12", "*", event_type, NEW_YEAR)] == rows("rootfi", ALL)


def test_change_without_model_is_the_whole_company(run: Run, rows: Rows) -> None:
    """Version 4 may name topics instead of data models; then everything has to be fetched."""
    run("rootfi", {"company_id": "12", "type": "invoice.create"})
    assert [("12", "*", "DATA_MODEL_CHANGES.invoice.create", NEW_YEAR)] == rows("rootfi", ALL)


def test_request_that_came_meanwhile_survives_the_fetch(run: Run, rows: Rows, data: Any) -> None:
    """The statement that the handler recommends deletes only what was read."""

    run("rootfi", change())
    [(company, model, read)] = rows("rootfi", "SELECT company_id, data_model, event_id FROM refetch")
    run("rootfi", change(operation="DELETE"))
    statement = "DELETE FROM refetch WHERE company_id = ? AND data_model = ? AND event_id = ?"
    assert statement in " ".join((rootfi.__doc__ or "").split())
    with Database(data / "rootfi.db") as db:
        db.execute(statement, (company, model, read))
    assert [("12", "BILLS", "DELETE", NEW_YEAR)] == rows("rootfi", ALL)


def test_event_without_company_is_discarded(run: Run, rows: Rows) -> None:
    """There is nothing to fetch for nobody."""
    event = run("rootfi", {"syncId": "1"}, type="SYNC_COMPLETED")
    assert ["discarded"] == [delivery["status"] for delivery in event["deliveries"]]
    assert [] == rows("rootfi", "SELECT name FROM sqlite_master")


def test_started_sync_is_not_handled(run: Run) -> None:
    """A sync that has only begun has nothing to fetch yet."""
    assert "unhandled" == run("rootfi", {"company_id": 12}, type="SYNC_STARTED")["status"]
