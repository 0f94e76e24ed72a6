"""ROOMZ: which workspace is free or busy now, in the table `presence` of INBOX_DATA/roomz.db.

The newest event by its own timestamp decides, whatever the order in which events come or run.
"""

from inbox import Discard, Event, handles

from ._data import database, instant, members, text

TABLE = """
CREATE TABLE IF NOT EXISTS presence (
    workspace_id TEXT PRIMARY KEY, status TEXT NOT NULL, changed_at TEXT NOT NULL, event_id INTEGER NOT NULL
)"""

KEEP_NEWEST = """
INSERT INTO presence (workspace_id, status, changed_at, event_id) VALUES (?, ?, ?, ?)
ON CONFLICT (workspace_id) DO UPDATE
SET status = excluded.status, changed_at = excluded.changed_at, event_id = excluded.event_id
WHERE (excluded.changed_at, excluded.event_id) > (changed_at, event_id)"""


@handles("roomz", "workspace.presence.*")
def track_presence(event: Event) -> dict[str, str]:
    """Keep the presence of one workspace; ROOMZ writes `Busy`, its documentation also `busy`."""
    data = members(event.payload, "data")
    workspace = text(data.get("workspaceId"))
    status = str(data.get("presenceStatus")).capitalize()
    if workspace is None or status not in ("Free", "Busy"):
        raise Discard("this is not a workspace that is Free or Busy")
    changed_at = instant(event.payload.get("timestamp"), event.received_at)
    with database("roomz", TABLE) as db:  # one statement, so nothing comes between the look and the write
        db.execute(KEEP_NEWEST, (workspace, status, changed_at, event.id))
    return {"workspace": workspace, "status": status}
