"""Which events a filter means: found through small tables and one index, so that no page walks over all events.

`kinds` has a row per source, type and status: how many listed events there are, how often copies of them came, and when
the last came. `spans` has a row per 1024 ids: when the oldest and the newest of them came, as times and ids rise
together only nearly. Triggers keep both in the transaction of the change itself, whoever makes it.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from inbox.store.protocols import Filter

_ADD = """
INSERT INTO kinds (source, type, status, events, duplicates, last_at)
SELECT NEW.source, NEW.type, NEW.status, 1, NEW.duplicates, NEW.received_at WHERE NEW.pruned_at IS NULL
ON CONFLICT (source, type, status) DO UPDATE
SET events = events + 1, duplicates = duplicates + excluded.duplicates, last_at = max(last_at, excluded.last_at)
"""
_TAKE = """
UPDATE kinds SET events = events - 1, duplicates = duplicates - OLD.duplicates
WHERE source = OLD.source AND type = OLD.type AND status = OLD.status AND OLD.pruned_at IS NULL
"""
_WIDEN = """
INSERT INTO spans (block, oldest, newest) VALUES (NEW.id >> 10, NEW.received_at, NEW.received_at)
ON CONFLICT (block) DO UPDATE SET oldest = min(oldest, excluded.oldest), newest = max(newest, excluded.newest)
"""
TABLES = (
    "DROP INDEX events_source",
    "DROP INDEX events_status",
    """
CREATE TABLE kinds (
    source     TEXT NOT NULL,
    type       TEXT NOT NULL,
    status     TEXT NOT NULL,
    events     INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    last_at    REAL NOT NULL,
    PRIMARY KEY (source, type, status)
) STRICT, WITHOUT ROWID
""",
    "CREATE TABLE spans (block INTEGER PRIMARY KEY, oldest REAL NOT NULL, newest REAL NOT NULL) STRICT",
    """
INSERT INTO kinds (source, type, status, events, duplicates, last_at)
SELECT source, type, status, sum(pruned_at IS NULL), coalesce(sum(duplicates) FILTER (WHERE pruned_at IS NULL), 0),
       max(received_at)
FROM events GROUP BY source, type, status
""",
    "INSERT INTO spans SELECT id >> 10, min(received_at), max(received_at) FROM events GROUP BY 1",
    f"CREATE TRIGGER events_added AFTER INSERT ON events BEGIN {_ADD}; {_WIDEN}; END",
    f"""
CREATE TRIGGER events_changed AFTER UPDATE OF type, status, duplicates, pruned_at ON events
WHEN (OLD.type, OLD.status, OLD.duplicates, OLD.pruned_at) IS NOT (NEW.type, NEW.status, NEW.duplicates, NEW.pruned_at)
BEGIN {_TAKE}; {_ADD}; END
""",
    f"CREATE TRIGGER events_removed AFTER DELETE ON events BEGIN {_TAKE}; END",
    "CREATE INDEX events_kind ON events (source, type, status) WHERE pruned_at IS NULL",
)
"""Statements of the migration; `events_unrouted` stays, for the worker."""

_OF_KIND = {"source": "source = :source", "type": "type GLOB :type", "status": "status = :status"}
_OF_EVENT = {
    "since": "received_at >= :since",
    "until": "received_at < :until",
    "before": "id < :before",
    "after": "id > :after",
}
_OF_DELIVERY = {
    "handler": "EXISTS (SELECT 1 FROM deliveries AS d WHERE d.event_id = events.id AND d.handler = :handler)",
}
_OF_SPAN = {
    "since": "newest >= :since",
    "until": "oldest < :until",
    "before": "block <= :before >> 10",
    "after": "block >= :after >> 10",
}
FEW = 100
"""Kinds of which each is looked up by itself."""

_SPANS = "spans CROSS JOIN events {index} ON id BETWEEN block << 10 AND (block << 10) + 1023"
_THIS_KIND = ["source = kind.source", "type = kind.type", "status = kind.status"]


def where(wanted: Filter) -> tuple[str, dict[str, Any]]:
    """Return the WHERE clause of a filter, without pruned events, and its values. `type` may be a shell glob.

    Text is not in it: whoever wants that finds the events first, and names them by id.
    """
    assert wanted.text is None, "text is not searched for by a clause"
    values = _values(wanted)
    clauses = ["pruned_at IS NULL", *_held(_OF_EVENT, values), *_held(_OF_DELIVERY, values)]
    if kinds := _held(_OF_KIND, values):
        clauses.append(f"(source, type, status) IN (SELECT source, type, status FROM kinds WHERE {_and(kinds)})")
    return f"WHERE {_and(clauses)}", values


def kinds(wanted: Filter) -> tuple[str, dict[str, Any]]:
    """Return a query for the number of kinds that are meant, up to one more than FEW, and its values."""
    values = _values(wanted)
    return f"SELECT count(*) AS n FROM (SELECT 1 FROM kinds WHERE {_and(_live(values))} LIMIT {FEW + 1})", values


def page(columns: str, wanted: Filter, kinds: int) -> tuple[str, dict[str, Any]]:
    """Return a query for `:limit` events, newest first, or oldest first if `wanted.after` is set, and its values.

    Of each kind that is meant it takes a page: a few events are found beside many of another kind without a search.
    Where there are too many kinds for that, as with a type for each event, it looks at one event after another.
    """
    values, order = _values(wanted), "ASC" if wanted.after is not None else "DESC"
    asked = _held(_OF_KIND, values)
    found = _walk(values, order, asked)
    if asked and kinds <= FEW:
        of_kind = _walk(values, order, _THIS_KIND, index="INDEXED BY events_kind")
        live = _and(f"kind.{clause}" for clause in _live(values))
        found = f"""
            SELECT found.id FROM kinds AS kind CROSS JOIN events AS found ON found.id IN ({of_kind}) WHERE {live}
        """
    return f"SELECT {columns} FROM events WHERE id IN ({found}) ORDER BY id {order} LIMIT :limit", values


def count(wanted: Filter) -> tuple[str, dict[str, Any]]:
    """Return a query for the number of events, and its values; only with a time or an id does it look at events."""
    values = _values(wanted)
    clauses = _held(_OF_KIND, values)
    if not _held(_OF_EVENT, values):
        return f"SELECT coalesce(sum(events), 0) AS n FROM kinds WHERE {_and([*clauses, 'true'])}", values
    clauses += ["pruned_at IS NULL", *_held(_OF_SPAN, values), *_held(_OF_EVENT, values)]
    return f"SELECT count(*) AS n FROM {_SPANS.format(index='NOT INDEXED')} WHERE {_and(clauses)}", values


def _walk(values: dict[str, Any], order: str, clauses: list[str], index: str = "NOT INDEXED") -> str:
    """Return a query for the ids of a page; span by span if time matters."""
    clauses = ["pruned_at IS NULL", *clauses, *_held(_OF_EVENT, values)]
    if not values.keys() & {"since", "until"}:
        return f"SELECT id FROM events {index} WHERE {_and(clauses)} ORDER BY id {order} LIMIT :limit"
    through, clauses = _SPANS.format(index=index), [*_held(_OF_SPAN, values), *clauses]
    return f"SELECT id FROM {through} WHERE {_and(clauses)} ORDER BY block {order}, id {order} LIMIT :limit"


def _live(values: dict[str, Any]) -> list[str]:
    """Return clauses for the kinds that are meant and that have events which may be recent enough."""
    return ["events > 0", *_held({**_OF_KIND, "since": "last_at >= :since"}, values)]


def _values(wanted: Filter) -> dict[str, Any]:
    values = {name: value for name, value in asdict(wanted).items() if value is not None}
    if "type" in values:
        values["type"] = values["type"].replace("[!", "[^")  # as SQLite's GLOB spells it
    return values


def _held(clauses: dict[str, str], values: dict[str, Any]) -> list[str]:
    """Return those of the clauses that the filter asks for."""
    return [clause for name, clause in clauses.items() if name in values]


def _and(clauses: Iterable[str]) -> str:
    return " AND ".join(clauses)
