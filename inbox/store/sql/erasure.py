"""Events → their keys only: what they said is destroyed here, and in every copy of the database that was sealed.

First the data keys go, in their own file, then the rows; what a crash leaves in between is done by `reapply`, which
also erases again what an older copy of the database, or of the file of keys, brought back.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inbox.store.sealing.sealer import Sealer
from inbox.store.sql.deliveries import settle
from inbox.store.sql.holds import KEPT
from inbox.store.sqlite.connection import Connection

STEP = 100
"""Events that are erased in one transaction."""

_THESE = "IN (SELECT value FROM json_each(:ids))"
_FIND = f"""
SELECT events.id, events.erased_at, bodies.event_id AS body, bodies.seal, {KEPT} AS kept
FROM events LEFT JOIN bodies ON bodies.event_id = events.id WHERE events.id {_THESE} ORDER BY events.id
"""
_ABOUT = """
SELECT id FROM events WHERE subject = :subject AND source = :source AND erased_at IS NULL AND id > :after
ORDER BY id LIMIT :limit
"""
_UNKNOWN = """
SELECT count(*) AS n FROM events
WHERE source = ? AND subject IS NULL AND body_pruned_at IS NULL AND erased_at IS NULL
"""
# A worker that runs one of them loses its lease, so that nothing that its handler says is written down.
_ERASE = (
    f"DELETE FROM bodies WHERE event_id {_THESE}",
    f"""
UPDATE events SET erased_at = :at, body_pruned_at = coalesce(body_pruned_at, :at), violations = NULL,
                  status = CASE status WHEN 'received' THEN 'unhandled' ELSE status END
WHERE id {_THESE}
""",
    f"""
UPDATE attempts SET error = '', finished_at = coalesce(finished_at, :at),
                    result = CASE WHEN result IN ('running', 'crashed') THEN 'interrupted' ELSE result END
WHERE delivery_id IN (SELECT id FROM deliveries WHERE event_id {_THESE})
""",
    f"""
UPDATE deliveries SET status = 'cancelled', paused_by = NULL, finished_at = :at, token = NULL, worker = NULL,
                      lease_until = NULL
WHERE event_id {_THESE} AND status IN ('pending', 'running', 'retrying', 'parked')
""",
    f"UPDATE deliveries SET value = NULL, error = '' WHERE event_id {_THESE}",
)
_SETTLED = f"SELECT id FROM events WHERE id {_THESE} AND status = 'processing'"
_ERASED = "SELECT id FROM events WHERE erased_at IS NOT NULL AND id > ? ORDER BY id LIMIT ?"
_BROUGHT_BACK = "SELECT event_id, seal FROM bodies WHERE event_id IN (SELECT value FROM json_each(?))"


@dataclass(frozen=True, slots=True)
class Erasure:
    """What became of events: how many were erased, those of them that were not sealed, and those that are kept."""

    erased: int = 0
    plain: int = 0
    kept: int = 0

    def __add__(self, other: "Erasure") -> "Erasure":
        return Erasure(self.erased + other.erased, self.plain + other.plain, self.kept + other.kept)


class SqliteErasing:
    """Erases what events said; their keys stay, so that a copy that comes later is recognised."""

    def __init__(self, connection: Connection, sealer: Sealer) -> None:
        self._connection = connection
        self._sealer = sealer

    def about(self, source: str, value: str, after: int = 0, limit: int = STEP) -> list[int]:
        """Return ids of events about a subject, larger than `after`. Raises ConfigError where nothing is sealed."""
        values = {"subject": self._sealer.subject(source, value), "source": source, "after": after, "limit": limit}
        return [row["id"] for row in self._connection.rows(_ABOUT, values)]

    def unknown(self, source: str) -> int:
        """Return how many events of a source have a body, and nobody knows whom they are about."""
        return int(self._connection.rows(_UNKNOWN, (source,))[0]["n"])

    def begin(self, *, at: float, who: str, why: str, selection: str) -> int:
        """Record that somebody erases, and return the number of the entry."""
        sql = "INSERT INTO erasures (at, who, why, selection, events) VALUES (?, ?, ?, ?, 0) RETURNING id"
        with self._connection.write() as raw:
            return int(raw.execute(sql, (at, who, why, selection)).fetchone()["id"])

    def erase(self, ids: Sequence[int], entry: int, at: float) -> Erasure:
        """Erase events that are not kept, and count them in an entry. The keys go first; then one transaction."""
        rows = self._connection.rows(_FIND, {"ids": json.dumps(list(ids))})
        going = [row for row in rows if not row["kept"] and row["erased_at"] is None]
        if self._sealer.on:  # also the keys of bodies that were pruned here, which older copies have
            self._sealer.destroy([row["id"] for row in going], at)
        self._erase_rows([row["id"] for row in going], entry, at)
        plain = sum(row["body"] is not None and row["seal"] is None for row in going)
        return Erasure(len(going), plain, sum(bool(row["kept"]) for row in rows))

    def _erase_rows(self, ids: Sequence[int], entry: int, at: float) -> None:
        values = {"ids": json.dumps(list(ids)), "at": at}
        with self._connection.write() as raw:
            for statement in _ERASE:
                raw.execute(statement, values)
            for row in raw.execute(_SETTLED, values).fetchall():
                settle(raw, row["id"])
            raw.execute("UPDATE erasures SET events = events + ? WHERE id = ?", (len(ids), entry))

    def reapply(self, at: float, who: str) -> int:
        """Erase again what was erased and is there, as in an older copy of the database; return how many events.

        An older copy of the file of keys has keys of what was erased in the database: they go, too.
        """
        if self._sealer.keys is None:
            return 0
        if done := self._erase_brought_back(at, who) + self._destroy_brought_back(at):
            self.tidy()
        return done

    def _destroy_brought_back(self, at: float) -> int:
        after, found = 0, 0
        while ids := [row["id"] for row in self._connection.rows(_ERASED, (after, STEP))]:
            after, found = ids[-1], found + self._sealer.destroy(ids, at)
        return found

    def _erase_brought_back(self, at: float, who: str) -> int:
        assert self._sealer.keys is not None
        after, found = 0, 0
        while page := self._sealer.keys.erased(after, STEP):
            after = page[-1].id
            gone = {(key.event_id, key.id) for key in page}
            rows = self._connection.rows(_BROUGHT_BACK, (json.dumps([key.event_id for key in page]),))
            ids = [row["event_id"] for row in rows if (row["event_id"], row["seal"]) in gone]
            if ids:
                why = "its key was destroyed before, and the database was put back from a copy or not finished"
                entry = self.begin(at=at, who=who, why=why, selection=json.dumps({"ids": ids}))
                self._erase_rows(ids, entry, at)
            found += len(ids)
        return found

    def tidy(self) -> bool:
        """Empty the logs of the keys and the database, which have what was overwritten; tell whether that was done."""
        settled = self._sealer.keys is None or self._sealer.keys.settle()
        return self._connection.empty_log() and settled

    def erasures(self, limit: int) -> list[dict[str, Any]]:
        """Return who erased what, and why, the latest first."""
        return [dict(row) for row in self._connection.rows("SELECT * FROM erasures ORDER BY id DESC LIMIT ?", (limit,))]

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()
