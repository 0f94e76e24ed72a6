"""The desk's side of the SQLite store: counts by time, what is unfinished, what belongs to an event. It only reads.

No query walks over events, deliveries or attempts: tests/store/test_views.py looks at the plans.
"""

from collections import Counter
from typing import Any

from inbox.core.histograms import Counts
from inbox.store.protocols_views import Minute, Unfinished
from inbox.store.sealing.sealer import UNSEALED, Sealer
from inbox.store.sqlite.connection import Connection

# What nobody asks for here, such as durations of answers, is left out before it is sorted.
_WANTED = "(instr(name, '/') = 0 OR (substr(name, 1, 5) = 'handl' AND substr(name, -4) <> '/sum'))"
MINUTES = f"SELECT at, subject, name, n FROM counts WHERE span = 60 AND at >= :since AND at < :until AND {_WANTED}"
# Minutes are apart from hours, because their sums are part of what was ever counted; an hour is in one of the two.
HOURS = f"""
SELECT span, at - at % 3600 AS hour, subject, name, sum(n) AS n FROM counts
WHERE span IN (60, 3600) AND at >= :since AND at < :until AND {_WANTED} GROUP BY span, hour, subject, name
"""
EVER = f"""
SELECT subject, name, n FROM counts WHERE span = 0 AND {_WANTED}
UNION ALL SELECT subject, name, n FROM counts WHERE span = 60 AND at < :since AND {_WANTED}
"""
# Of each kind that is unfinished the first in its index, which has ids in order; the number is kept with the kind.
UNFINISHED = """
SELECT found.source, number, oldest_id, received_at AS oldest_at
FROM (SELECT kind.source, sum(kind.events) AS number,
             min((SELECT min(id) FROM events INDEXED BY events_kind
                  WHERE source = kind.source AND type = kind.type AND status = kind.status AND pruned_at IS NULL)
             ) AS oldest_id
      FROM kinds AS kind WHERE kind.status IN ('received', 'processing') AND kind.events > 0 GROUP BY kind.source
     ) AS found
CROSS JOIN events ON events.id = oldest_id
"""
BEFORE = """
SELECT max(id) AS id FROM events INDEXED BY events_bodies
WHERE source = (SELECT source FROM events WHERE id = :id) AND id < :id AND pruned_at IS NULL
"""
AFTER = """
SELECT min(id) AS id FROM events INDEXED BY events_bodies
WHERE source = (SELECT source FROM events WHERE id = :id) AND id > :id AND pruned_at IS NULL
"""
CONFLICTS = """
SELECT id, received_at FROM events WHERE conflict_of = :id AND pruned_at IS NULL ORDER BY id LIMIT :limit
"""
REPLAYS = """
SELECT id, at, who, why FROM actions WHERE id IN (SELECT replay_id FROM deliveries WHERE event_id = :id)
"""
REFUSALS = "SELECT id, source, at, code, reason, diagnosis, method, remote, headers, size, request_id FROM refusals"
LAST_FAILURES = """
SELECT last.handler, event_id, delivery_id, number, run.worker, started_at, run.finished_at AS at, result, run.error
FROM last_failures AS last JOIN attempts AS run ON run.id = attempt_id JOIN deliveries ON deliveries.id = delivery_id
"""


class SqliteViews:
    """See `inbox.store.protocols_views.Views`."""

    def __init__(self, connection: Connection, sealer: Sealer = UNSEALED) -> None:
        self._connection = connection
        self._sealer = sealer

    def minutes(self, since: int) -> list[Minute]:
        """See Views."""
        return [tuple(row) for row in self._connection.rows(MINUTES, {"since": since, "until": 2**62})]

    def counted(self, minute: int, hour: int, until: int) -> tuple[list[Minute], list[Minute], Counts]:
        """See Views."""
        with self._connection.snapshot():
            minutes = self._connection.rows(MINUTES, {"since": minute, "until": until})
            hours = self._connection.rows(HOURS, {"since": hour, "until": until})
            ever = self._connection.rows(EVER, {"since": hour})
        total: Counter[tuple[str, str]] = Counter()
        for row in (*ever, *(row for row in hours if row["span"] == 60)):
            total[row["subject"], row["name"]] += row["n"]
        by_hour: Counter[tuple[int, str, str]] = Counter()
        for _, *key, number in hours:
            by_hour[tuple(key)] += number
        return [tuple(row) for row in minutes], [(*key, number) for key, number in by_hour.items()], dict(total)

    def unfinished(self) -> dict[str, Unfinished]:
        """See Views."""
        rows = self._connection.rows(UNFINISHED)
        return {row["source"]: Unfinished(row["number"], row["oldest_id"], row["oldest_at"]) for row in rows}

    def neighbours(self, event_id: int) -> tuple[int | None, int | None]:
        """See Views."""
        (before,), (after,) = (self._connection.rows(sql, {"id": event_id}) for sql in (BEFORE, AFTER))
        return before["id"], after["id"]

    def conflicts(self, event_id: int, limit: int) -> list[dict[str, Any]]:
        """See Views."""
        return [dict(row) for row in self._connection.rows(CONFLICTS, {"id": event_id, "limit": limit})]

    def replays(self, event_id: int) -> dict[int, dict[str, Any]]:
        """See Views."""
        return {row["id"]: dict(row) for row in self._connection.rows(REPLAYS, {"id": event_id})}

    def refusals(self, source: str | None, before: int | None, limit: int) -> list[dict[str, Any]]:
        """See Views."""
        values = {"source": source, "before": before, "limit": limit}
        clauses = ["true"]
        clauses += ["source = :source"] if source is not None else []
        clauses += ["id < :before"] if before is not None else []
        rows = self._connection.rows(f"{REFUSALS} WHERE {' AND '.join(clauses)} ORDER BY id DESC LIMIT :limit", values)
        return [{**dict(row), **self._sealer.open_refusal(row)} for row in rows]

    def failed_modules(self) -> dict[str, tuple[str, float]]:
        """See Views."""
        rows = self._connection.rows("SELECT module, failure, at FROM failed_modules ORDER BY module")
        return {row["module"]: (row["failure"], row["at"]) for row in rows}

    def loaded_at(self) -> dict[str, float]:
        """See Views."""
        rows = self._connection.rows("SELECT name, loaded_at FROM handlers WHERE NOT removed")
        return {row["name"]: row["loaded_at"] for row in rows}

    def last_failures(self) -> dict[str, dict[str, Any]]:
        """See Views."""
        return {row["handler"]: dict(row) for row in self._connection.rows(LAST_FAILURES)}

    def close(self) -> None:
        """See Views."""
        self._connection.close()
