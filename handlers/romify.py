"""Romify: leads in the table `leads` of INBOX_DATA/romify.db (as JSON), and all of them in romify.csv beside it.

The fields of a lead are not documented: ID names the one that tells leads apart, and the CSV has a column for each
that has come so far. It is written anew each time, so a lead that is changed or comes twice has one line.
"""

import json

from inbox import Event, handles

from ._data import as_csv, as_json, database, folder, instant, members, text, write

ID = "id"

TABLE = """
CREATE TABLE IF NOT EXISTS leads (
    id TEXT PRIMARY KEY, received_at TEXT NOT NULL, event_id INTEGER NOT NULL, data TEXT NOT NULL
)"""

KEEP_NEWEST = """
INSERT INTO leads (id, received_at, event_id, data) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET received_at = excluded.received_at, event_id = excluded.event_id, data = excluded.data
WHERE (excluded.received_at, excluded.event_id) > (received_at, event_id)"""


@handles("romify", "COMPLETED_FLOW*")
def capture_lead(event: Event) -> None:
    """Keep one lead."""
    lead = {name: value for name, value in members(event.payload).items() if value != "[redacted]"}
    key = text(lead.get(ID)) or event.key
    with database("romify", TABLE) as db:  # its lock covers the CSV, too
        db.execute(KEEP_NEWEST, (key, instant(None, event.received_at), event.id, as_json(lead)))
        leads = [json.loads(data) for (data,) in db.execute("SELECT data FROM leads ORDER BY rowid")]
        write(folder() / "romify.csv", as_csv(leads))
