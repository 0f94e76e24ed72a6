"""Committed events → their words in the index, oldest first; what became of events since → blocks written anew.

Each step is one short transaction after a look without a lock. A block is written anew beside the old one, which then
goes in small pieces; until then who looks finds the old one, and sees which of its events are gone in the events.
"""

import json
import sqlite3
from typing import Any

from inbox.store.sqlite.connection import Connection
from inbox.store.sqlite.fts import SHIFT, make_table, merge, require_fts
from inbox.store.sqlite.searchable_text import text_of

EVENTS, BYTES = 32, 131_072
"""What is indexed in one transaction: about 3 ms."""

PAGES = 16
"""What is merged or taken away in one transaction."""

REWRITE_AFTER = 3600.0
"""Seconds for which words stay of bodies that were pruned; those of events that were erased or sealed go at once."""

HOLD = 3.0
"""Seconds for which one process has the index for itself after each step."""

_OWN = """
UPDATE search_owner SET owner = :owner, until = :steady + :hold
WHERE owner = :owner OR until <= :steady OR until > :steady + 60.0 RETURNING one
"""
_OTHERS = "SELECT 1 FROM search_owner WHERE owner <> :owner AND until > :steady AND until <= :steady + 60.0"
_NEWEST = "SELECT * FROM search_blocks WHERE state = 'live' ORDER BY block DESC LIMIT 1"
_STALE = """
SELECT * FROM search_blocks
WHERE state = 'live' AND stale > 0 AND (urgent OR built_at <= :at - :pause OR built_at > :at)
ORDER BY urgent DESC, block LIMIT 1
"""
_BUILDING = "SELECT * FROM search_blocks WHERE state = 'building' LIMIT 1"
_GOING = "SELECT * FROM search_blocks WHERE state = 'going' LIMIT 1"
_LOOSE = """
SELECT * FROM search_blocks
WHERE state = 'live' AND merged < 1 AND block < (SELECT max(block) FROM search_blocks WHERE state = 'live') LIMIT 1
"""
_BYTES = "SELECT id, size FROM events WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
# Looked at inside the transaction: it may have been pruned, erased or sealed a moment ago.
_EVENTS = """
SELECT id, key, type, query, seal IS NOT NULL AS sealed, event_id IS NULL AS bodiless,
       CASE WHEN seal IS NULL THEN body END AS body, erased_at IS NOT NULL AS erased
FROM events LEFT JOIN bodies ON event_id = id
WHERE id IN (SELECT value FROM json_each(?)) AND pruned_at IS NULL ORDER BY id
"""
_MOVE = """
UPDATE search_blocks SET upto = :upto, sealed = sealed + :sealed, bodiless = bodiless + :bodiless, cut = cut + :cut
WHERE number = :number AND upto = :before
"""
_ALL_GONE = """
UPDATE search_blocks SET state = 'going' WHERE block = :block AND state = 'live'
AND block < (SELECT max(block) FROM search_blocks WHERE state = 'live')
AND NOT EXISTS (SELECT 1 FROM events WHERE id BETWEEN :first AND :last AND pruned_at IS NULL)
"""
_BEGIN = "INSERT INTO search_blocks (block, state, upto, built_at) VALUES (?, ?, ?, ?) RETURNING number"
_SWAP = (
    "UPDATE search_blocks SET state = 'going' WHERE block = :block AND state = 'live'",
    "UPDATE search_blocks SET state = 'live', built_at = :at WHERE number = :number",
)
_TAKE = """
DELETE FROM search_text_{number}_data WHERE id IN (SELECT id FROM search_text_{number}_data WHERE id > 10 LIMIT :pages)
"""
_BUSY = """
SELECT EXISTS (SELECT 1 FROM events WHERE status = 'received')
    OR EXISTS (SELECT 1 FROM deliveries WHERE status IN ('pending', 'retrying') AND paused_by IS NULL
               AND due_at <= ?) AS busy
"""


class SqliteIndexing:
    """See `inbox.store.protocols_search.Indexing`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._merge_next = False

    def step(self, *, owner: str, at: float, steady: float) -> str | None:
        """See Indexing."""
        require_fts(self._connection.rows)
        me = {"owner": owner, "steady": steady, "hold": HOLD}
        if self._connection.rows(_OTHERS, {"owner": owner, "steady": steady}):
            return None
        return self._take_away(me) or self._rewrite(me, at) or self._go_on(me, at) or self._tighten(me)

    def clear(self, *, owner: str, at: float, steady: float) -> str | None:
        """See Indexing."""
        me = {"owner": owner, "steady": steady, "hold": HOLD}
        if not self._connection.rows("SELECT 1 FROM search_blocks LIMIT 1"):
            return None
        require_fts(self._connection.rows)
        if self._connection.rows("SELECT 1 FROM search_blocks WHERE state <> 'going' LIMIT 1"):
            with self._connection.write() as raw:
                if not _own(raw, me):
                    return None
                raw.execute("UPDATE search_blocks SET state = 'going'")
        return self._take_away(me)

    def busy(self, at: float) -> bool:
        """See Indexing."""
        return bool(self._connection.rows(_BUSY, (at,))[0]["busy"])

    def tidy(self) -> None:
        """See Indexing."""
        self._connection.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """See Indexing."""
        self._connection.close()

    def _take_away(self, me: dict[str, Any]) -> str | None:
        """Take some pages of a block that nobody wants, and in the end its table."""
        if not (found := self._connection.rows(_GOING)):
            return None
        number = found[0]["number"]
        with self._connection.write() as raw:
            if not _own(raw, me):
                return None
            if raw.execute(_TAKE.format(number=number), {"pages": PAGES}).rowcount:
                return "taken"
            raw.execute(f"DROP TABLE search_text_{number}")
            raw.execute("DELETE FROM search_blocks WHERE number = ?", (number,))
        return "dropped"

    def _rewrite(self, me: dict[str, Any], at: float) -> str | None:
        """Begin or go on to write a block anew of which something is gone."""
        building = self._connection.rows(_BUILDING)
        if building:
            return self._build(building[0], me, at)
        if not (found := self._connection.rows(_STALE, {"at": at, "pause": REWRITE_AFTER})):
            return None
        with self._connection.write() as raw:
            if not _own(raw, me):
                return None
            if raw.execute(_BUILDING).fetchone():
                return None  # another process has begun one meanwhile
            block, first = found[0]["block"], found[0]["block"] << SHIFT
            if raw.execute(_ALL_GONE, {"block": block, "first": first, "last": first + (1 << SHIFT) - 1}).rowcount:
                return "left"
            number = raw.execute(_BEGIN, (block, "building", first - 1, at)).fetchone()["number"]
            make_table(raw, number)
        return "begun"

    def _build(self, block: sqlite3.Row, me: dict[str, Any], at: float) -> str | None:
        """Index some more of a block that is written anew; it takes the place of the old one when it is as far."""
        (live,) = self._connection.rows(
            "SELECT upto FROM search_blocks WHERE block = ? AND state = 'live'", (block["block"],)
        )
        if block["upto"] < live["upto"]:
            return self._index(block, live["upto"], me)
        with self._connection.write() as raw:
            if not _own(raw, me):
                return None
            for statement in _SWAP:
                raw.execute(statement, {"block": block["block"], "number": block["number"], "at": at})
        return "rewritten"

    def _go_on(self, me: dict[str, Any], at: float) -> str | None:
        """Index some events that came since, or merge what that made; a new block begins where their ids do."""
        newest = self._connection.rows(_NEWEST)
        if self._merge_next and newest:
            self._merge_next = False
            if merged := self._merged(newest[0]["number"], PAGES, me):
                return merged
        upto = newest[0]["upto"] if newest else 0
        (next_id,) = self._connection.rows("SELECT min(id) AS id FROM events WHERE id > ?", (upto,))
        if next_id["id"] is None:
            return None
        block = next_id["id"] >> SHIFT
        if newest and newest[0]["block"] == block:
            return self._index(newest[0], 2**63 - 1, me)
        with self._connection.write() as raw:
            now = raw.execute(_NEWEST).fetchall()
            if not _own(raw, me) or [tuple(row) for row in now] != [tuple(row) for row in newest]:
                return None  # another process has begun it meanwhile
            make_table(raw, raw.execute(_BEGIN, (block, "live", next_id["id"] - 1, 0.0)).fetchone()["number"])
        return "begun"

    def _index(self, block: sqlite3.Row, last: int, me: dict[str, Any]) -> str | None:
        """Index the next events of a block, up to the id `last`. Atomic: its cursor moves in the same transaction."""
        last = min(last, ((block["block"] + 1) << SHIFT) - 1)
        ids, size = [], 0
        for row in self._connection.rows(_BYTES, (block["upto"], last, EVENTS)):
            ids.append(row["id"])
            size += row["size"]
            if size >= BYTES:
                break
        counts = {"sealed": 0, "bodiless": 0, "cut": 0}
        with self._connection.write() as raw:
            if not _own(raw, me):
                return None
            words = []
            for event in raw.execute(_EVENTS, (json.dumps(ids),)):
                counts["sealed"] += event["sealed"]
                counts["bodiless"] += event["bodiless"]
                if not event["erased"]:
                    text, cut = text_of(event)
                    counts["cut"] += cut
                    words.append((event["id"], text))
            values = {**counts, "number": block["number"], "before": block["upto"], "upto": ids[-1] if ids else last}
            if raw.execute(_MOVE, values).rowcount:
                raw.executemany(f"INSERT INTO search_text_{block['number']} (rowid, text) VALUES (?, ?)", words)
        self._merge_next = True
        return "indexed"

    def _tighten(self, me: dict[str, Any]) -> str | None:
        """Merge the words of a block that is full, a little at a time, so that a search reads them in one place."""
        if not (found := self._connection.rows(_LOOSE)):
            return None
        number, begun = found[0]["number"], found[0]["merged"] < 0
        if merged := self._merged(number, PAGES if begun else -PAGES, me, begin=not begun):
            return merged
        with self._connection.write() as raw:
            raw.execute("UPDATE search_blocks SET merged = 1 WHERE number = ?", (number,))
        return "merged"

    def _merged(self, number: int, pages: int, me: dict[str, Any], *, begin: bool = False) -> str | None:
        with self._connection.write() as raw:
            if not _own(raw, me):
                return None
            if begin:
                raw.execute("UPDATE search_blocks SET merged = -1 WHERE number = ?", (number,))
            return "merged" if merge(raw, number, pages) else None


def _own(raw: sqlite3.Connection, me: dict[str, Any]) -> bool:
    """Take the index for oneself, or keep it; False if another process has it."""
    return raw.execute(_OWN, me).fetchone() is not None
