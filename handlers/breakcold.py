"""Breakcold: leads (older webhook) and records (signed webhook), mirrored in `records` of INBOX_DATA/breakcold.db.

An event that holds only some fields changes only these; a delete marks the row and leaves what was known.
"""

from inbox import Discard, Event, handles

from ._data import as_json, database, instant, members, text

TABLE = """
CREATE TABLE IF NOT EXISTS records (
    source TEXT NOT NULL, id TEXT NOT NULL, deleted INTEGER NOT NULL, changed_at TEXT NOT NULL,
    event_id INTEGER NOT NULL, data TEXT,
    email TEXT AS (coalesce(json_extract(data, '$.email'), json_extract(data, '$.fields.email'))),
    PRIMARY KEY (source, id)
)"""

KEEP_NEWEST = """
INSERT INTO records (source, id, deleted, changed_at, event_id, data) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (source, id) DO UPDATE
SET deleted = excluded.deleted, changed_at = excluded.changed_at, event_id = excluded.event_id,
    data = coalesce(json_patch(data, excluded.data), excluded.data, data)
WHERE (excluded.changed_at, excluded.event_id) > (changed_at, event_id)"""


@handles("breakcold*", "lead.create")
@handles("breakcold*", "lead.update")
@handles("breakcold*", "lead.delete")
@handles("breakcold*", "record.*")
def mirror_record(event: Event) -> None:
    """Keep one lead or record; the older webhook has no timestamp but the lead's own."""
    item = members(event.payload, "data" if event.type.startswith("record.") else "payload")
    if (record := text(item.get("id"))) is None:
        raise Discard("the record has no id")
    times = filter(None, (text(item.get(name)) for name in ("created_at", "updated_at", "is_deleted_at")))
    at = instant(event.payload.get("timestamp") or max(times, default=None), event.received_at)
    gone = event.type.endswith((".delete", ".deleted"))
    row = (event.source, record, gone or item.get("is_deleted") is True, at, event.id, None if gone else as_json(item))
    with database("breakcold", TABLE) as db:
        db.execute(KEEP_NEWEST, row)
