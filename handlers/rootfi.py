"""Rootfi: what has to be fetched again, in the table `refetch` of INBOX_DATA/rootfi.db.

Payloads are partial, so nothing is read from `data`: ask the API for the company's data model, "*" being all of them,
then `DELETE FROM refetch WHERE company_id = ? AND data_model = ? AND event_id = ?` with the event_id you had read: what
was requested meanwhile stays. `requested_at` is when the event came; Rootfi's own created_at is only a date.
"""

from inbox import Discard, Event, handles

from ._data import database, instant, members, text

TABLE = """
CREATE TABLE IF NOT EXISTS refetch (
    company_id TEXT NOT NULL, data_model TEXT NOT NULL, requested_at TEXT NOT NULL, operation TEXT NOT NULL,
    event_id INTEGER NOT NULL, PRIMARY KEY (company_id, data_model)
)"""

KEEP_NEWEST = """
INSERT INTO refetch (company_id, data_model, requested_at, operation, event_id) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (company_id, data_model) DO UPDATE
SET requested_at = excluded.requested_at, operation = excluded.operation, event_id = excluded.event_id
WHERE (excluded.requested_at, excluded.event_id) > (requested_at, event_id)"""


@handles("rootfi", "DATA_MODEL_CHANGES*")
@handles("rootfi", "CONNECTION_CHANGED")
@handles("rootfi", "SYNC_COMPLETED")
def request_fetch(event: Event) -> None:
    """Note one data model of a company, or all of them where the event names none."""
    change = members(event.payload)
    company, model = text(change.get("company_id")), text(change.get("data_model"))
    if company is None:
        raise Discard("the event names no company")
    operation = (model and text(change.get("type"))) or event.type
    with database("rootfi", TABLE) as db:
        db.execute(KEEP_NEWEST, (company, model or "*", instant(None, event.received_at), operation, event.id))
