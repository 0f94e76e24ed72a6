"""What is done to many events, in steps; and what is paused (`pausing`). Fsynced: an action that was begun is there."""

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any

from inbox.core.errors import NotFound
from inbox.store.protocols import ReplayResult
from inbox.store.protocols_actions import LONGEST, ActionKind, ActionStep, NewAction, PauseKind
from inbox.store.sealing.sealer import UNSEALED, Sealer
from inbox.store.sql import pauses
from inbox.store.sql.archive import CHECKED, run_again
from inbox.store.sql.deliveries import settle
from inbox.store.sql.handlers import encodable
from inbox.store.sqlite.connection import Connection

_TABLES = """
ALTER TABLE replays RENAME TO actions;
ALTER TABLE actions ADD COLUMN kind TEXT NOT NULL DEFAULT 'replay' CHECK (kind IN ('replay', 'cancel', 'ignore'));
ALTER TABLE actions ADD COLUMN state TEXT NOT NULL DEFAULT 'done'
    CHECK (state IN ('waiting', 'running', 'done', 'stopped', 'failed'));
ALTER TABLE actions ADD COLUMN total INTEGER NOT NULL DEFAULT 0;
ALTER TABLE actions ADD COLUMN cursor INTEGER NOT NULL DEFAULT 0;
ALTER TABLE actions ADD COLUMN upto INTEGER NOT NULL DEFAULT 0;
ALTER TABLE actions ADD COLUMN force INTEGER NOT NULL DEFAULT 0;
ALTER TABLE actions ADD COLUMN rate REAL;
ALTER TABLE actions ADD COLUMN results TEXT NOT NULL DEFAULT '{}';
ALTER TABLE actions ADD COLUMN error TEXT NOT NULL DEFAULT '';
ALTER TABLE actions ADD COLUMN held_until REAL NOT NULL DEFAULT 0;
UPDATE actions SET total = coalesce(events, 0), events = coalesce(events, 0), deliveries = coalesce(deliveries, 0);
UPDATE actions SET state = 'stopped', ended_at = at, error = 'it broke off before such could be resumed'
WHERE ended_at IS NULL;
CREATE INDEX actions_open ON actions (id) WHERE state IN ('waiting', 'running')
"""
# https://www.sqlite.org/lang_altertable.html (7, the second procedure): a CHECK is changed without touching a row.
_ALLOW_IGNORED = """
UPDATE sqlite_schema SET sql = replace(sql, '''succeeded'', ''dead'')', '''succeeded'', ''dead'', ''ignored'')')
WHERE type = 'table' AND name = 'events'
"""

_OPEN = "state IN ('waiting', 'running')"
_BEGIN = """
INSERT INTO actions (at, who, why, selection, handler, kind, state, total, cursor, upto, force, rate, held_until,
                     events, deliveries)
VALUES (:at, :who, :why, :selection, :handler, :kind, 'waiting', :total, :cursor, :upto, :force, :rate, :held_until,
        0, 0)
RETURNING id
"""
_NEXT = f"""
SELECT *, CASE WHEN held_until > :steady AND held_until <= :steady + :longest THEN held_until - :steady
          ELSE 0.0 END AS wait
FROM actions WHERE {_OPEN} ORDER BY wait > 0, held_until, id LIMIT 1
"""
# One UPDATE decides who goes this step: whoever finds the action at the place that the step begins at.
_MOVE = f"""
UPDATE actions SET state = CASE WHEN :last THEN 'done' ELSE 'running' END, cursor = :ended, events = events + :number,
                   ended_at = CASE WHEN :last THEN :at END, held_until = :held_until
WHERE id = :action AND cursor = :begun AND {_OPEN} RETURNING kind, handler, who, why, results
"""
_HOLD = f"UPDATE actions SET held_until = ? WHERE id = ? AND {_OPEN} RETURNING id"
_END = f"UPDATE actions SET state = ?, ended_at = ?, error = ? WHERE id = ? AND {_OPEN} RETURNING id"
_COUNT = "UPDATE actions SET results = ?, deliveries = deliveries + ? WHERE id = ?"
_THESE = "IN (SELECT value FROM json_each(:events))"
# Only what waits, so that no worker that runs one is deceived.
_CANCEL = f"""
UPDATE deliveries SET status = 'cancelled', paused_by = NULL, finished_at = :at, error = :note
WHERE event_id {_THESE} AND status IN ('pending', 'retrying', 'parked') AND handler = coalesce(:handler, handler)
RETURNING event_id
"""
_IGNORE = f"""
UPDATE events SET status = 'ignored' WHERE id {_THESE} AND status IN ('quarantined', 'conflict') AND pruned_at IS NULL
RETURNING id
"""


def migrate(connection: sqlite3.Connection) -> None:
    """Make actions of replays, and let deliveries be paused and events be ignored."""
    for statement in (*_TABLES.split(";"), *pauses.TABLES.split(";")):
        connection.execute(statement)
    connection.execute("PRAGMA writable_schema = ON")
    changed = connection.execute(_ALLOW_IGNORED).rowcount
    connection.execute("PRAGMA writable_schema = RESET")
    assert changed == 1, "there is one table of events"


class SqliteActing:
    """See `inbox.store.protocols_actions.Acting`."""

    def __init__(self, connection: Connection, sealer: Sealer = UNSEALED) -> None:
        self._connection = connection
        self._sealer = sealer

    def newest(self) -> int:
        """See Acting."""
        return int(self._connection.rows("SELECT coalesce(max(id), 0) AS id FROM events")[0]["id"])

    def begin(self, new: NewAction, *, at: float, held_until: float = 0.0) -> int:
        """See Acting."""
        values = {name: getattr(new, name) for name in new.__slots__}
        texts = {name: encodable(values[name]) for name in ("who", "why", "selection")}
        with self._connection.write() as connection:
            row = connection.execute(_BEGIN, {**values, **texts, "at": at, "held_until": held_until}).fetchone()
            return int(row["id"])

    def action(self, action_id: int) -> dict[str, Any]:
        """See Acting."""
        rows = self._connection.rows("SELECT * FROM actions WHERE id = ?", (action_id,))
        if not rows:
            raise NotFound(f"there is no action {action_id}")
        return _row(rows[0])

    def actions(self, limit: int, *, before: int | None = None, kind: ActionKind | None = None) -> list[dict[str, Any]]:
        """See Acting."""
        wanted = {"before": "id < :before", "kind": "kind = :kind"}
        values = {name: value for name, value in (("before", before), ("kind", kind)) if value is not None}
        which = " AND ".join(wanted[name] for name in values) or "true"
        sql = f"SELECT * FROM actions WHERE {which} ORDER BY id DESC LIMIT :limit"
        return [_row(row) for row in self._connection.rows(sql, {**values, "limit": limit})]

    def next(self, steady: float) -> dict[str, Any] | None:
        """See Acting."""
        rows = self._connection.rows(_NEXT, {"steady": steady, "longest": LONGEST})
        return _row(rows[0]) if rows else None

    def step(self, step: ActionStep, *, at: float, held_until: float) -> list[ReplayResult | None] | None:
        """See Acting."""
        place = {name: getattr(step, name) for name in ("action", "begun", "ended", "last", "number")}
        with self._connection.write() as connection:
            action = connection.execute(_MOVE, {**place, "at": at, "held_until": held_until}).fetchone()
            if action is None:
                return None
            for each in step.checked:
                violations = self._sealer.masked(each.violations)
                connection.execute(CHECKED, (each.status, each.type, violations, each.event_id))
            results = run_again(connection, step.runs, step.action, at)
            counts = Counter(step.results) + Counter(str(result or "failed") for result in results)
            counts += _done_to(connection, action, step.events, at)
            total = Counter(json.loads(action["results"])) + counts
            made = counts["created"] + counts["cancelled"]
            connection.execute(_COUNT, (json.dumps(total), made, step.action))
            return results

    def hold(self, action_id: int, until: float) -> bool:
        """See Acting."""
        with self._connection.write() as connection:
            return connection.execute(_HOLD, (until, action_id)).fetchone() is not None

    def stop(self, action_id: int, *, at: float, who: str) -> bool:
        """See Acting."""
        if self._end(action_id, "stopped", at, f"stopped by {who}"):
            return True
        self.action(action_id)
        return False

    def fail(self, action_id: int, *, at: float, error: str) -> None:
        """See Acting."""
        self._end(action_id, "failed", at, error)

    def pause(self, kind: PauseKind, name: str, *, at: float, who: str, why: str) -> bool:
        """See Acting."""
        values = {"kind": kind, "name": name, "at": at, "who": encodable(who), "why": encodable(why)}
        with self._connection.write() as connection:
            return pauses.begin(connection, values)

    def resume(self, kind: PauseKind, name: str, *, at: float, who: str) -> bool:
        """See Acting."""
        with self._connection.write() as connection:
            return pauses.end(connection, {"kind": kind, "name": name, "at": at, "who": encodable(who)})

    def pauses(self) -> list[dict[str, Any]]:
        """See Acting."""
        return [dict(row) for row in self._connection.rows(pauses.LIST)]

    def free(self, limit: int) -> bool:
        """See Acting."""
        if not self._connection.rows(f"{pauses.TO_FREE} LIMIT 1"):
            return False
        with self._connection.write() as connection:
            pauses.free(connection, limit)
        return True

    def left(self) -> bool:
        """See Acting."""
        sql = f"SELECT EXISTS (SELECT 1 FROM actions WHERE {_OPEN}) OR EXISTS ({pauses.TO_FREE}) AS found"
        return bool(self._connection.rows(sql)[0]["found"])

    def close(self) -> None:
        """See Acting."""
        self._connection.close()

    def _end(self, action_id: int, state: str, at: float, error: str) -> bool:
        with self._connection.write() as connection:
            return connection.execute(_END, (state, at, encodable(error), action_id)).fetchone() is not None


def _done_to(connection: sqlite3.Connection, action: sqlite3.Row, events: Sequence[int], at: float) -> Counter[str]:
    """Cancel what waits of these events, or ignore them, and return the number."""
    if action["kind"] == "cancel":
        note = f"cancelled by {action['who']}" + (f": {action['why']}" if action["why"] else "")
        values = {"events": json.dumps(list(events)), "at": at, "note": note, "handler": action["handler"]}
        rows = connection.execute(_CANCEL, values).fetchall()
        for event_id in {row["event_id"] for row in rows}:
            settle(connection, event_id)
        return Counter(cancelled=len(rows))
    if action["kind"] == "ignore":
        return Counter(ignored=len(connection.execute(_IGNORE, {"events": json.dumps(list(events))}).fetchall()))
    return Counter()


def _row(row: sqlite3.Row) -> dict[str, Any]:
    return {**dict(row), "force": bool(row["force"]), "results": json.loads(row["results"])}
