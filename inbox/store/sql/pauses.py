"""What is paused: deliveries to a handler, or of a source's events, wait and are claimed by nobody.

A delivery that is met while its handler or source is paused is set aside: it keeps its status and its time, knows its
pause, and leaves the index that claiming reads. So a hundred thousand of them cost whoever claims nothing. When the
pause has ended they come back a few at a time, unless another pause is theirs too.
"""

import sqlite3
from typing import Any

from inbox.store.protocols_routing import Worker
from inbox.store.sql.counters import tally_rescue

TABLES = """
CREATE TABLE pauses (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    kind     TEXT NOT NULL CHECK (kind IN ('handler', 'source')),
    name     TEXT NOT NULL,
    at       REAL NOT NULL,
    who      TEXT NOT NULL,
    why      TEXT NOT NULL,
    ended_at REAL,
    ended_by TEXT,
    freed    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX pauses_open ON pauses (kind, name) WHERE ended_at IS NULL;
CREATE INDEX pauses_ended ON pauses (id) WHERE ended_at IS NOT NULL AND freed = 0;
ALTER TABLE deliveries ADD COLUMN paused_by INTEGER REFERENCES pauses (id);
DROP INDEX deliveries_waiting;
CREATE INDEX deliveries_waiting ON deliveries (due_at) WHERE status IN ('pending', 'retrying') AND paused_by IS NULL;
CREATE INDEX deliveries_paused ON deliveries (paused_by, due_at) WHERE paused_by IS NOT NULL
"""

AT_ONCE = 250
"""So many of what is due next are looked at before some of it is claimed."""

CRASHED = """
UPDATE attempts SET result = CASE WHEN together THEN 'interrupted' ELSE 'crashed' END, finished_at = ?
WHERE delivery_id = ? AND result = 'running'
"""
_OPEN = "SELECT 1 FROM pauses WHERE ended_at IS NULL LIMIT 1"
# The pause of a delivery {d}, if there is one; each of the two has its index.
_PAUSE = """
coalesce((SELECT id FROM pauses WHERE ended_at IS NULL AND kind = 'handler' AND name = {d}.handler),
         (SELECT id FROM pauses WHERE ended_at IS NULL AND kind = 'source'
          AND name = (SELECT source FROM events WHERE events.id = {d}.event_id)))
"""
_OF_IT, _OF_DUE = _PAUSE.format(d="deliveries"), _PAUSE.format(d="due")
_ASIDE = f"""
UPDATE deliveries SET paused_by = {_OF_IT} WHERE id IN (
    SELECT id FROM (SELECT id, event_id, handler FROM deliveries
                    WHERE status IN ('pending', 'retrying') AND paused_by IS NULL AND due_at <= :at
                    ORDER BY due_at LIMIT :limit) AS due WHERE {_OF_DUE} IS NOT NULL)
"""
# One that a worker left, which is gone: as if it had failed and were to be tried again; see _CLAIM in `work`.
_LEFT = f"""
UPDATE deliveries
SET crashes = crashes + EXISTS (SELECT 1 FROM attempts WHERE delivery_id = deliveries.id AND result = 'running'
                                AND NOT together),
    status = 'retrying', token = NULL, worker = NULL, lease_until = NULL, due_at = :at, waits_since = :at,
    paused_by = {_OF_IT}
WHERE status = 'running' AND (steady_until <= :steady OR steady_until - lease > :steady + 60.0) AND {_OF_IT} IS NOT NULL
RETURNING id, handler
"""
# Only the first of several finds no open pause of this name.
_BEGIN = """
INSERT INTO pauses (kind, name, at, who, why) VALUES (:kind, :name, :at, :who, :why)
ON CONFLICT (kind, name) WHERE ended_at IS NULL DO NOTHING RETURNING id
"""
_END = """
UPDATE pauses SET ended_at = :at, ended_by = :who WHERE kind = :kind AND name = :name AND ended_at IS NULL RETURNING id
"""
_FREE = f"""
UPDATE deliveries SET paused_by = {_OF_IT}
WHERE id IN (SELECT id FROM deliveries WHERE paused_by = :pause ORDER BY due_at LIMIT :limit)
"""
TO_FREE = "SELECT id FROM pauses WHERE ended_at IS NOT NULL AND freed = 0"
LIST = """
SELECT id, kind, name, at, who, why, ended_at, ended_by,
       (SELECT count(*) FROM deliveries WHERE paused_by = pauses.id) AS waiting,
       (SELECT min(due_at) FROM deliveries WHERE paused_by = pauses.id) AS oldest
FROM pauses WHERE ended_at IS NULL OR freed = 0 ORDER BY id
"""


def set_aside(connection: sqlite3.Connection, who: Worker) -> int:
    """Set aside what is paused of the next AT_ONCE that are due, in the open transaction, and return the number.

    So of what is due then, only the first AT_ONCE less that number are known not to be paused.
    """
    if connection.execute(_OPEN).fetchone() is None:
        return 0
    left = connection.execute(_LEFT, {"at": who.at, "steady": who.steady}).fetchall()
    for row in left:
        crashed = connection.execute(CRASHED, (who.at, row["id"])).rowcount
        tally_rescue(connection, row["handler"], crashed, who.at)
    return connection.execute(_ASIDE, {"at": who.at, "limit": AT_ONCE}).rowcount


def begin(connection: sqlite3.Connection, values: dict[str, Any]) -> bool:
    """Begin a pause, unless there is one."""
    return connection.execute(_BEGIN, values).fetchone() is not None


def end(connection: sqlite3.Connection, values: dict[str, Any]) -> bool:
    """End a pause, if there is one."""
    return connection.execute(_END, values).fetchone() is not None


def free(connection: sqlite3.Connection, limit: int) -> None:
    """Let some deliveries of an ended pause go, or note that all are free: nobody sets any aside for it any more."""
    ended = connection.execute(f"{TO_FREE} ORDER BY id LIMIT 1").fetchone()
    if ended is None:
        return
    if connection.execute(_FREE, {"pause": ended["id"], "limit": limit}).rowcount < limit:
        connection.execute("UPDATE pauses SET freed = 1 WHERE id = ?", (ended["id"],))
