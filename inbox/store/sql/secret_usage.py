"""When each secret of a source last matched, so that an owner knows when an old one can go. Read by `archive`.

To the minute: a secret that matches all the time is written once a minute, not with every event.
"""

import sqlite3
from collections.abc import Iterable, Mapping

from inbox.core.models import NewEvent, Refusal
from inbox.store.sql.counters import minute_of

TABLES = """
ALTER TABLE events ADD COLUMN request_id TEXT NOT NULL DEFAULT '';
ALTER TABLE refusals ADD COLUMN request_id TEXT NOT NULL DEFAULT '';
ALTER TABLE held ADD COLUMN request_id TEXT NOT NULL DEFAULT '';
CREATE INDEX events_request ON events (request_id) WHERE request_id <> '';
CREATE TABLE matches (
    source TEXT NOT NULL,
    secret INTEGER NOT NULL,
    at     REAL NOT NULL,
    PRIMARY KEY (source, secret)
) STRICT, WITHOUT ROWID;
INSERT INTO matches (source, secret, at)
SELECT source, CAST(substr(verified_by, instr(verified_by, ', secret ') + 9) AS INTEGER) AS secret, max(received_at)
FROM (SELECT source, verified_by, received_at FROM events ORDER BY id DESC LIMIT 100000)
WHERE verified_by LIKE '%, secret %' GROUP BY source, secret
"""
# In the events' own transaction: a match is known when its event is. What was held may come later than what came after.
_MATCHED = """
INSERT INTO matches (source, secret, at) VALUES (?, ?, ?)
ON CONFLICT (source, secret) DO UPDATE SET at = max(at, excluded.at)
"""

Minutes = Mapping[tuple[str, int], int]


class SecretUsage:
    """Remembers which minutes are written already."""

    def __init__(self) -> None:
        self._written: dict[tuple[str, int], int] = {}

    def put(self, connection: sqlite3.Connection, items: Iterable[NewEvent | Refusal | None]) -> Minutes:
        """Write the minutes that are new, in the open transaction, and return them; secrets are counted from 1."""
        new: dict[tuple[str, int], int] = {}
        for item in items:
            if isinstance(item, NewEvent) and item.secret is not None:
                key, minute = (item.source, item.secret + 1), minute_of(item.received_at)
                if minute > self._written.get(key, -1) and minute > new.get(key, -1):
                    new[key] = minute
        if new:
            connection.executemany(_MATCHED, [(*key, minute) for key, minute in new.items()])
        return new

    def committed(self, new: Minutes) -> None:
        """Remember what `put` returned, once it is on disk."""
        self._written.update(new)
