"""Words in events: one FTS5 table for each 32,768 ids, so that each stays small and can be written anew or dropped.

SQLite before 3.43 cannot delete from a table without content, and before 3.44 leaves deleted words in the file until
they are merged away; a table that is dropped is overwritten with zeros. `search_blocks` says what is in which table.
Triggers note what becomes of indexed events, whoever changes them. Next: `indexing` writes, `joined` reads.
"""

import re
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from inbox.core.errors import SearchUnavailable
from inbox.store.sql.handlers import encodable

SHIFT = 15
"""Ids of one block have the same higher bits."""

_OF = f"block = {{id}} >> {SHIFT} AND state <> 'going' AND upto >= {{id}}"
TABLES = (
    """
CREATE TABLE search_blocks (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    block    INTEGER NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('live', 'building', 'going')),
    upto     INTEGER NOT NULL,
    sealed   INTEGER NOT NULL DEFAULT 0,
    bodiless INTEGER NOT NULL DEFAULT 0,
    cut      INTEGER NOT NULL DEFAULT 0,
    stale    INTEGER NOT NULL DEFAULT 0,
    urgent   INTEGER NOT NULL DEFAULT 0,
    built_at REAL NOT NULL DEFAULT 0,
    merged   INTEGER NOT NULL DEFAULT 0
) STRICT
""",
    "CREATE UNIQUE INDEX search_block ON search_blocks (block, state) WHERE state <> 'going'",
    """
CREATE TABLE search_owner (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    owner TEXT NOT NULL,
    until REAL NOT NULL
) STRICT
""",
    "INSERT INTO search_owner (one, owner, until) VALUES (1, '', 0)",
    "CREATE INDEX deliveries_handler ON deliveries (handler, event_id)",
    f"""
CREATE TRIGGER search_body_gone AFTER DELETE ON bodies BEGIN
    UPDATE search_blocks SET stale = stale + (OLD.seal IS NULL), sealed = sealed - (OLD.seal IS NOT NULL),
                             bodiless = bodiless + 1
    WHERE {_OF.format(id="OLD.event_id")};
END
""",
    f"""
CREATE TRIGGER search_body_sealed AFTER UPDATE OF seal ON bodies WHEN OLD.seal IS NULL AND NEW.seal IS NOT NULL BEGIN
    UPDATE search_blocks SET stale = stale + 1, urgent = 1, sealed = sealed + 1 WHERE {_OF.format(id="OLD.event_id")};
END
""",
    f"""
CREATE TRIGGER search_erased AFTER UPDATE OF erased_at ON events
WHEN OLD.erased_at IS NULL AND NEW.erased_at IS NOT NULL BEGIN
    UPDATE search_blocks SET stale = stale + 1, urgent = 1 WHERE {_OF.format(id="OLD.id")};
END
""",
    f"""
CREATE TRIGGER search_pruned AFTER UPDATE OF pruned_at ON events
WHEN OLD.pruned_at IS NULL AND NEW.pruned_at IS NOT NULL BEGIN
    UPDATE search_blocks SET stale = stale + 1, bodiless = bodiless - 1 WHERE {_OF.format(id="OLD.id")};
END
""",
    f"""
CREATE TRIGGER search_typed AFTER UPDATE OF type ON events WHEN OLD.type <> NEW.type BEGIN
    UPDATE search_blocks SET stale = stale + 1 WHERE {_OF.format(id="OLD.id")};
END
""",
    f"""
CREATE TRIGGER search_removed AFTER DELETE ON events BEGIN
    UPDATE search_blocks SET stale = stale + 1, bodiless = bodiless - (OLD.pruned_at IS NULL)
    WHERE {_OF.format(id="OLD.id")};
END
""",
)
"""Statements of the migration. None of the triggers works when an event comes."""

# detail=full, for phrases: an e-mail address, a date or an id with dashes is one. No content, no sizes of rows: what is
# found is shown from where it is. Merges are made in small steps, not when a transaction happens to need one.
_CREATE = """
CREATE VIRTUAL TABLE search_text_{number} USING fts5
    (text, content='', columnsize=0, detail=full, tokenize='unicode61 remove_diacritics 2')
"""
_SET = "INSERT INTO search_text_{number} (search_text_{number}, rank) VALUES (?, ?)"
_SETTINGS = {"automerge": 0, "crisismerge": 1999, "usermerge": 16}

_PIECE = re.compile(r'"([^"]*)"?(\*?)|([^\s"]+)')
_TAIL = re.compile(r"[^\W_]+$")
_HAS_FTS = "SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"
SHORTEST = 2
"""Characters of a beginning, as in `or*`: with fewer, very many words would have to be read."""

LONGEST = 1000
"""Characters of a question; what is behind them is not looked at."""


def make_table(connection: sqlite3.Connection, number: int) -> None:
    """Make an empty table."""
    connection.execute(_CREATE.format(number=number))
    for setting, value in _SETTINGS.items():
        connection.execute(_SET.format(number=number), (setting, value))


def merge(connection: sqlite3.Connection, number: int, pages: int) -> bool:
    """Write up to so many pages of a table together, all of it if negative; tell whether that was of any use."""
    before = connection.total_changes
    connection.execute(_SET.format(number=number), ("merge", pages))
    return connection.total_changes - before > 1


def expression(text: str) -> str:
    """Return what somebody typed as an FTS5 expression, which it always is: words, "phrases", beginnings*.

    As sqlite-utils' quote_fts does, which knows no beginnings; and FTS5 reads no further than the first NUL.
    """
    text = encodable(text.replace("\0", " "))[:LONGEST]
    pieces = []
    for phrase, more, word in _PIECE.findall(text):
        said, goes_on = (word.rstrip("*"), word.endswith("*")) if word else (phrase, bool(more))
        last = _TAIL.search(said)
        pieces.append(f'"{said}"' + (" *" if goes_on and last and len(last[0]) >= SHORTEST else ""))
    return " AND ".join(piece for piece in pieces if any(map(str.isalnum, piece)))


def require_fts(rows: Callable[[str], Sequence[Any]]) -> None:
    """Raise SearchUnavailable if this SQLite has no FTS5."""
    if not rows(_HAS_FTS):
        raise SearchUnavailable("this Python's SQLite was built without FTS5: text cannot be searched for")
