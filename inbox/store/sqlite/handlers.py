"""What the store remembers of handlers, so that others can route to them without importing them."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from inbox.models import HandlerSpec, Handles
from inbox.store.sqlite.connection import Connection

# What a module that failed today had when it last loaded is still there; what was removed before stays removed.
_REMOVE = "UPDATE handlers SET removed = 1, failure = '' WHERE module NOT IN (SELECT value FROM json_each(?))"
_REMEMBER = """
INSERT INTO handlers (name, module, marks, failure, removed, loaded_at) VALUES (?, ?, ?, '', 0, ?)
ON CONFLICT (name) DO UPDATE SET module = excluded.module, marks = excluded.marks, failure = '', removed = 0,
                                 loaded_at = excluded.loaded_at
"""
_UNPARK = """
UPDATE deliveries SET status = 'pending', due_at = :at, waits_since = :at, error = ''
WHERE status = 'parked' AND handler = :handler
"""


def remember(connection: Connection, handlers: Sequence[HandlerSpec], at: float) -> None:
    """See Work.remember. Atomic: one transaction."""
    failures = {spec.module: spec.failure for spec in handlers if spec.failure}
    with connection.write() as raw:
        raw.execute(_REMOVE, (json.dumps(list(failures)),))
        for module, failure in failures.items():
            raw.execute("UPDATE handlers SET failure = ? WHERE module = ?", (encodable(failure), module))
        for spec in handlers:
            if not spec.failure:
                raw.execute(_REMEMBER, (spec.name, spec.module, json.dumps([asdict(m) for m in spec.marks]), at))
                raw.execute(_UNPARK, {"at": at, "handler": spec.name})


def remembered(connection: Connection) -> list[HandlerSpec]:
    """See Work.handlers."""
    rows = connection.rows("SELECT name, module, marks, failure FROM handlers WHERE NOT removed ORDER BY name")
    return [
        HandlerSpec(
            row["name"], row["module"], tuple(Handles(**mark) for mark in json.loads(row["marks"])), row["failure"]
        )
        for row in rows
    ]


def encodable(text: str) -> str:
    """Return the text with lone surrogates written as escapes: they have no UTF-8, so SQLite cannot store them."""
    return text.encode("utf-8", "backslashreplace").decode()
