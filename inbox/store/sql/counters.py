"""Counts per minute, added in the same transaction as what they count; rolled up to hours, and to a total for ever.

So several processes, restarts and kill -9 give right numbers: a count is committed with its event, or neither is. One
UPSERT per distinct (subject, name) of a batch. A subject is a source or a handler, "" what no configured source sent;
names are made here and in `inbox.core.histograms`, never of what strangers send. Read by `watch`.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TypeAlias

from inbox.core.histograms import Counts, names
from inbox.core.models import NewEvent, Refusal, Stored
from inbox.store.protocols import Outcome

MINUTE = 60
HOUR = 3600
KEEP_MINUTES = 3 * HOUR
KEEP_HOURS = 9 * 7 * 24 * HOUR
KEEP_DETAILS = 2 * 24 * HOUR
"""How long hours have the buckets of durations."""

TABLES = """
CREATE TABLE counts (
    span    INTEGER NOT NULL CHECK (span IN (0, 60, 3600)),
    at      INTEGER NOT NULL,
    subject TEXT NOT NULL,
    name    TEXT NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (span, at, subject, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE processes (
    role   TEXT PRIMARY KEY,
    since  REAL NOT NULL,
    at     REAL NOT NULL,
    steady REAL NOT NULL
) STRICT
"""
"""`counts`: span 60 and 3600 begin at `at`; span 0 is what was ever counted and is no longer in minutes.
`processes`: when a receiver or worker last gave a sign of life, and since when it does without a gap."""

AT_ONCE = 100
"""Counts in one statement: each statement costs the interpreter's lock several times."""

Attempts: TypeAlias = Counter[tuple[str, str]]
"""Counts of one moment, by (handler, name)."""

END_ATTEMPTS = """
WITH mine (fence, new, at, why) AS (VALUES {rows})
UPDATE attempts SET result = new, finished_at = at, error = why
FROM mine WHERE token = fence AND result IN ('running', 'crashed')
RETURNING id, token, started_at, source, (SELECT handler FROM deliveries WHERE id = delivery_id) AS handler
"""

_TALLY = "INSERT INTO counts (span, at, subject, name, n) VALUES "
_ADD = " ON CONFLICT (span, at, subject, name) DO UPDATE SET n = n + excluded.n"
# Durations are asked for as totals and, but for those of answers and commits, for the last day.
_TO_HOURS = """
INSERT INTO counts (span, at, subject, name, n)
SELECT 3600, at - at % 3600, subject, name, sum(n) FROM counts
WHERE span = 60 AND at < :bound AND (instr(name, '/') = 0 OR (substr(name, 1, 5) = 'handl' AND at >= :details))
GROUP BY at - at % 3600, subject, name
ON CONFLICT (span, at, subject, name) DO UPDATE SET n = n + excluded.n
"""
_TO_EVER = """
INSERT INTO counts (span, at, subject, name, n)
SELECT 0, 0, subject, name, sum(n) FROM counts WHERE span = 60 AND at < :bound GROUP BY subject, name
ON CONFLICT (span, at, subject, name) DO UPDATE SET n = n + excluded.n
"""
_DROP_MINUTES = "DELETE FROM counts WHERE span = 60 AND at < :bound"
_DROP_HOURS = "DELETE FROM counts WHERE span = 3600 AND at < :oldest"
_DROP_DETAILS = "DELETE FROM counts WHERE span = 3600 AND at < :details AND instr(name, '/') > 0"


def tally(connection: sqlite3.Connection, minute: int, counts: Mapping[tuple[str, str], int]) -> None:
    """Add counts by (subject, name) to the minute that begins at these Unix seconds, in the open transaction."""
    rows = [(minute, *key, number) for key, number in counts.items()]
    for begin in range(0, len(rows), AT_ONCE):
        some = rows[begin : begin + AT_ONCE]
        connection.execute(_statement(len(some)), [value for row in some for value in row])


@cache
def _statement(rows: int) -> str:
    return f"{_TALLY}{', '.join(['(60, ?, ?, ?, ?)'] * rows)}{_ADD}"


def minute_of(at: float) -> int:
    """Return the Unix seconds at which the minute began."""
    return int(at // MINUTE) * MINUTE


def tally_batch(
    connection: sqlite3.Connection, items: Iterable[NewEvent | Refusal | None], results: Iterable[Stored | bool]
) -> None:
    """Count what became of the requests of a batch, each in the minute in which it came."""
    minutes: defaultdict[int, Counter[tuple[str, str]]] = defaultdict(Counter)
    for item, result in zip(items, results, strict=True):
        if isinstance(item, NewEvent) and isinstance(result, Stored):
            minutes[minute_of(item.received_at)][item.source, result.outcome] += 1
        elif isinstance(item, Refusal):
            minutes[minute_of(item.at)][item.source, f"refused:{item.code}:{item.reason}"] += 1
    for minute, counts in minutes.items():
        tally(connection, minute, counts)


def count_attempt(counts: Attempts, run: sqlite3.Row, outcome: Outcome, at: float, received_at: float | None) -> None:
    """Add the end of an attempt, as END_ATTEMPTS returns it, to the counts of its handler and of its event's source.

    Of the handler the result, and how long it took from the claim to here. Of the source whether it failed, and how
    long after its receipt an event was handled; None for `received_at` where that means nothing, as in a replay.
    """
    handler, source = run["handler"], run["source"]
    counts[handler, f"attempt:{outcome.result}"] += 1
    for name, number in names("handler", max(0.0, at - run["started_at"])).items():
        counts[handler, name] += number
    if outcome.status in ("succeeded", "dead", "discarded"):
        counts[handler, f"ended:{outcome.status}"] += 1
    if went_wrong(outcome):
        counts[source, f"failing:{outcome.status}"] += 1
    elif received_at is not None and outcome.status in ("succeeded", "discarded"):
        for name, number in names("handled", max(0.0, at - received_at)).items():
            counts[source, name] += number


def went_wrong(outcome: Outcome) -> bool:
    """Tell whether an attempt failed, rather than that it was told to stop."""
    return outcome.status in ("retrying", "dead") and outcome.result != "interrupted"


def tally_rescue(connection: sqlite3.Connection, handler: str, crashed: int, at: float) -> None:
    """Count deliveries that were taken over from a worker whose lease ran out."""
    if crashed:
        tally(connection, minute_of(at), {(handler, "rescue"): crashed})


def roll(connection: sqlite3.Connection, at: float) -> None:
    """Move old minutes into their hours and into what was ever counted, and forget old hours.

    In the transaction that is open: another process finds the minutes before, or their sums after.
    """
    values = {"bound": rolled_until(at), "oldest": int(at) - KEEP_HOURS, "details": int(at) - KEEP_DETAILS}
    for statement in (_TO_HOURS, _TO_EVER, _DROP_MINUTES, _DROP_HOURS, _DROP_DETAILS):
        connection.execute(statement, values)


def rolled_until(at: float) -> int:
    """Return the Unix seconds before which minutes are rolled up: the beginning of an hour."""
    return int((at - KEEP_MINUTES) // HOUR) * HOUR


def summed(rows: Sequence[sqlite3.Row]) -> Counts:
    """Return rows of (subject, name, n) as counts."""
    return {(row["subject"], row["name"]): row["n"] for row in rows}
