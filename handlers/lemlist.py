"""Lemlist: activities, mirrored in the table `activities` of INBOX_DATA/lemlist.db; the whole of each is in `data`.

The key is `_id`. Account events and `enrichmentDone` come without one: there it is the inbox's key of the event.
"""

from inbox import Event, handles

from ._data import as_json, database, instant, members, text

TABLE = """
CREATE TABLE IF NOT EXISTS activities (
    id TEXT PRIMARY KEY, type TEXT NOT NULL, lead_email TEXT, campaign_id TEXT,
    created_at TEXT NOT NULL, event_id INTEGER NOT NULL, data TEXT NOT NULL
)"""

KEEP_NEWEST = """
INSERT INTO activities (id, type, lead_email, campaign_id, created_at, event_id, data) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET type = excluded.type, lead_email = excluded.lead_email,
    campaign_id = excluded.campaign_id, created_at = excluded.created_at, event_id = excluded.event_id,
    data = excluded.data
WHERE (excluded.created_at, excluded.event_id) > (created_at, event_id)"""


@handles("lemlist")
def mirror_activity(event: Event) -> None:
    """Keep one activity of a lead, a campaign or the account."""
    activity = members(event.payload)
    row = (
        text(activity.get("_id")) or event.key,
        event.type,
        text(activity.get("leadEmail")),
        text(activity.get("campaignId")),
        instant(activity.get("createdAt"), event.received_at),
        event.id,
        as_json(activity),
    )
    with database("lemlist", TABLE) as db:
        db.execute(KEEP_NEWEST, row)
