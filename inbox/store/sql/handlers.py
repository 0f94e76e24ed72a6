"""What the store remembers of handlers, so that others can route to them, and show them, without importing them."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache

from inbox.core.handles import Handles
from inbox.core.models import HandlerSpec
from inbox.store.protocols import Outcome
from inbox.store.sql.counters import went_wrong
from inbox.store.sqlite.connection import Connection

TABLES = """
CREATE TABLE failed_modules (module TEXT PRIMARY KEY, failure TEXT NOT NULL, at REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE last_failures (handler TEXT PRIMARY KEY, attempt_id INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO last_failures (handler, attempt_id)
SELECT handler, max(found.id) FROM (SELECT id, delivery_id, error FROM attempts ORDER BY id DESC LIMIT 100000) AS found
JOIN deliveries ON deliveries.id = delivery_id WHERE found.error <> '' GROUP BY handler
"""
"""`failed_modules`: what did not import when a worker last loaded the handlers, and since when.
`last_failures`: the attempt that last went wrong; what it said is gone with it."""

# What a module that failed today had when it last loaded is still there; what was removed before stays removed.
_REMOVE = "UPDATE handlers SET removed = 1, failure = '' WHERE module NOT IN (SELECT value FROM json_each(?))"
_REMEMBER = """
INSERT INTO handlers (name, module, marks, failure, removed, loaded_at) VALUES (?, ?, ?, '', 0, ?)
ON CONFLICT (name) DO UPDATE SET module = excluded.module, marks = excluded.marks, failure = '', removed = 0,
                                 loaded_at = excluded.loaded_at
"""
_FAIL = """
INSERT INTO failed_modules (module, failure, at) VALUES (?, ?, ?)
ON CONFLICT (module) DO UPDATE SET failure = excluded.failure
"""
_RECOVER = "DELETE FROM failed_modules WHERE module NOT IN (SELECT value FROM json_each(?))"
_NOTE_FAILURE = """
INSERT INTO last_failures (handler, attempt_id) VALUES (?, ?)
ON CONFLICT (handler) DO UPDATE SET attempt_id = excluded.attempt_id
"""
# Without the hint SQLite reads every delivery that the handler ever had, while everybody waits.
_UNPARK = """
UPDATE deliveries INDEXED BY deliveries_parked SET status = 'pending', due_at = :at, waits_since = :at, error = ''
WHERE status = 'parked' AND handler = :handler
"""


def remember(connection: Connection, handlers: Sequence[HandlerSpec], at: float) -> None:
    """See Work.remember. Atomic: one transaction."""
    failures = {spec.module: spec.failure for spec in handlers if spec.failure}
    with connection.write() as raw:
        raw.execute(_REMOVE, (json.dumps(list(failures)),))
        raw.execute(_RECOVER, (json.dumps(list(failures)),))
        for module, failure in failures.items():
            raw.execute(_FAIL, (module, encodable(failure), at))
            raw.execute("UPDATE handlers SET failure = ? WHERE module = ?", (encodable(failure), module))
        for spec in handlers:
            if not spec.failure:
                raw.execute(_REMEMBER, (spec.name, spec.module, json.dumps([asdict(m) for m in spec.marks]), at))
                raw.execute(_UNPARK, {"at": at, "handler": spec.name})


def remembered(connection: Connection) -> list[HandlerSpec]:
    """See Work.handlers."""
    rows = connection.rows("SELECT name, module, marks, failure FROM handlers WHERE NOT removed ORDER BY name")
    return [HandlerSpec(row["name"], row["module"], _marks(row["marks"]), row["failure"]) for row in rows]


@lru_cache(1000)
def _marks(text: str) -> tuple[Handles, ...]:
    """Return the marks of a row; one that another version wrote, and that cannot be matched here, is left out."""
    found = []
    for mark in json.loads(text):
        with suppress(TypeError, ValueError):
            found.append(Handles(**mark))
    return tuple(found)


def note_failure(connection: sqlite3.Connection, run: sqlite3.Row, outcome: Outcome) -> None:
    """Remember that an attempt of a handler went wrong, in the open transaction."""
    if went_wrong(outcome):
        connection.execute(_NOTE_FAILURE, (run["handler"], run["id"]))


def encodable(text: str) -> str:
    """Return the text with lone surrogates written as escapes: they have no UTF-8, so SQLite cannot store them."""
    return text.encode("utf-8", "backslashreplace").decode()
