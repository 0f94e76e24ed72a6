"""The tables, as migrations that are applied when the store is opened; the sum of the migrations is the schema.

events      one row per accepted request; small, so that lists stay fast
bodies      headers and raw body of an event, in a table of their own so that they can be dropped first
deliveries  one event for one handler (and one replay; 0 is the first time)
attempts    one run of a delivery
handlers    what the worker last loaded, so that others can route without importing it
held        refused requests that are kept to be verified again, bounded per source
refusals    the latest requests that were not accepted, bounded per source
replays     who ran what again, and why
keeps       events that retention must not touch, and why

An event whose body was pruned has `body_pruned_at`. One with `pruned_at` is only there for its key: it has neither body
nor deliveries and is not listed, but copies of it are recognised, until it goes altogether.
A sealed body or held request has `seal`: the number of the key that opens it, or the length of the body that was held.
seal        which file of keys belongs to this database; see `keys`
erasures    who destroyed the content of events, when, why, and of how many
matches: which secret of a source, counted from 1, matched last and when
counts, processes: see `counts`; kinds, spans: see `listing`; alarms, alarm_changes, notices: see `alarms`
"""

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from inbox.errors import StoreUnusable
from inbox.store.sqlite import alarms, counts, listing, matches, sealed
from inbox.store.sqlite.connection import Connection

migrations = Migrations("inbox")

_FIRST = """
CREATE TABLE events (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    source            TEXT NOT NULL,
    key               TEXT NOT NULL,
    type              TEXT NOT NULL,
    status            TEXT NOT NULL CHECK (status IN
        ('received', 'quarantined', 'conflict', 'unhandled', 'processing', 'succeeded', 'dead')),
    received_at       REAL NOT NULL,
    size              INTEGER NOT NULL,
    body_digest       BLOB NOT NULL,
    content_digest    BLOB NOT NULL,
    verified_by       TEXT NOT NULL,
    violations        TEXT,
    conflict_of       INTEGER REFERENCES events (id),
    retired           INTEGER NOT NULL DEFAULT 0,
    bound             INTEGER NOT NULL DEFAULT 0,
    duplicates        INTEGER NOT NULL DEFAULT 0,
    last_duplicate_at REAL
) STRICT;
CREATE UNIQUE INDEX events_key ON events (source, key) WHERE conflict_of IS NULL AND retired = 0;
CREATE UNIQUE INDEX events_conflict ON events (conflict_of, content_digest) WHERE conflict_of IS NOT NULL;
CREATE INDEX events_bound ON events (source, content_digest) WHERE bound = 1 AND conflict_of IS NULL AND retired = 0;
CREATE INDEX events_retired ON events (source, key, received_at) WHERE retired = 1;
CREATE INDEX events_unrouted ON events (id) WHERE status = 'received';
CREATE INDEX events_status ON events (status, id);
CREATE INDEX events_source ON events (source, id);

CREATE TABLE bodies (
    event_id INTEGER PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    method   TEXT NOT NULL,
    path     TEXT NOT NULL,
    query    TEXT NOT NULL,
    headers  TEXT NOT NULL,
    remote   TEXT NOT NULL,
    body     BLOB NOT NULL
) STRICT;

CREATE TABLE handlers (
    name      TEXT PRIMARY KEY,
    module    TEXT NOT NULL,
    marks     TEXT NOT NULL,
    failure   TEXT NOT NULL,
    removed   INTEGER NOT NULL DEFAULT 0,
    loaded_at REAL NOT NULL
) STRICT;

CREATE TABLE replays (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         REAL NOT NULL,
    who        TEXT NOT NULL,
    why        TEXT NOT NULL,
    selection  TEXT NOT NULL,
    handler    TEXT,
    ended_at   REAL,
    events     INTEGER,
    deliveries INTEGER
) STRICT;

CREATE TABLE deliveries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id    INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    handler     TEXT NOT NULL,
    replay_id   INTEGER NOT NULL DEFAULT 0,
    status      TEXT NOT NULL CHECK (status IN
        ('pending', 'running', 'retrying', 'parked', 'succeeded', 'dead', 'discarded', 'cancelled')),
    attempts    INTEGER NOT NULL DEFAULT 0,
    crashes     INTEGER NOT NULL DEFAULT 0,
    token       TEXT,
    worker      TEXT,
    lease_until REAL,
    due_at      REAL NOT NULL,
    created_at  REAL NOT NULL,
    finished_at REAL,
    value       TEXT,
    error       TEXT NOT NULL DEFAULT '',
    UNIQUE (event_id, handler, replay_id)
) STRICT;
CREATE INDEX deliveries_waiting ON deliveries (due_at) WHERE status IN ('pending', 'retrying');
CREATE INDEX deliveries_running ON deliveries (lease_until) WHERE status = 'running';
CREATE INDEX deliveries_parked ON deliveries (handler) WHERE status = 'parked';

CREATE TABLE attempts (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery_id INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    token       TEXT NOT NULL UNIQUE,
    worker      TEXT NOT NULL,
    started_at  REAL NOT NULL,
    finished_at REAL,
    result      TEXT NOT NULL DEFAULT 'running',
    error       TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX attempts_delivery ON attempts (delivery_id);

CREATE TABLE refusals (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    source    TEXT NOT NULL,
    at        REAL NOT NULL,
    code      TEXT NOT NULL,
    reason    TEXT NOT NULL,
    diagnosis TEXT NOT NULL,
    method    TEXT NOT NULL,
    remote    TEXT NOT NULL,
    headers   TEXT NOT NULL,
    size      INTEGER,
    bytes     INTEGER NOT NULL
) STRICT;
CREATE INDEX refusals_source ON refusals (source, id, bytes);

CREATE TABLE held (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    source     TEXT NOT NULL,
    at         REAL NOT NULL,
    expires_at REAL NOT NULL,
    method     TEXT NOT NULL,
    path       TEXT NOT NULL,
    query      TEXT NOT NULL,
    headers    TEXT NOT NULL,
    remote     TEXT NOT NULL,
    body       BLOB NOT NULL,
    bytes      INTEGER NOT NULL
) STRICT;
CREATE INDEX held_source ON held (source, id, bytes);
CREATE INDEX held_expires ON held (expires_at);

CREATE TABLE probes (id INTEGER PRIMARY KEY CHECK (id = 1), at REAL NOT NULL) STRICT;
"""


APPLICATION_ID = 0x77686978
"""Marks the file as ours ("whix"), https://sqlite.org/pragma.html#pragma_application_id."""

KNOWN = (
    "0001_first",
    "0002_steady_leases",
    "0003_retention",
    "0004_counts",
    "0005_alarms",
    "0006_claimed_together",
    "0007_listing",
    "0008_seal",
    "0009_request_ids",
)


@migrations(name="0001_first")
def _first(database: Database) -> None:
    database.conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for statement in _FIRST.split(";"):
        if statement.strip():
            database.conn.execute(statement)


@migrations(name="0002_steady_leases")
def _steady_leases(database: Database) -> None:
    """Let a lease end by the steady clock (`lease_until` is for people), and let a pause know when it began."""
    for column in ("steady_until", "lease", "waits_since"):
        database.conn.execute(f"ALTER TABLE deliveries ADD COLUMN {column} REAL NOT NULL DEFAULT 0")


_RETENTION = """
ALTER TABLE events ADD COLUMN body_pruned_at REAL;
ALTER TABLE events ADD COLUMN pruned_at REAL;
ALTER TABLE attempts ADD COLUMN source TEXT NOT NULL DEFAULT '';
UPDATE attempts SET source =
    (SELECT source FROM events JOIN deliveries ON event_id = events.id WHERE deliveries.id = delivery_id);
CREATE INDEX attempts_source ON attempts (source, id);
CREATE INDEX events_bodies ON events (source, id, size, body_pruned_at, pruned_at) WHERE pruned_at IS NULL;
CREATE INDEX events_bodiless ON events (source, id) WHERE body_pruned_at IS NOT NULL AND pruned_at IS NULL;
CREATE INDEX events_stripped ON events (source, id) WHERE pruned_at IS NOT NULL;
CREATE TABLE keeps (
    event_id INTEGER PRIMARY KEY REFERENCES events (id),
    at       REAL NOT NULL,
    who      TEXT NOT NULL,
    why      TEXT NOT NULL
) STRICT
"""


@migrations(name="0003_retention")
def _retention(database: Database) -> None:
    """Let an event lose its body, then everything but its key; and let the owner keep one from that."""
    for statement in _RETENTION.split(";"):
        database.conn.execute(statement)


@migrations(name="0004_counts")
def _counts(database: Database) -> None:
    for statement in counts.TABLES.split(";"):
        database.conn.execute(statement)


@migrations(name="0005_alarms")
def _alarms(database: Database) -> None:
    for statement in alarms.TABLES.split(";"):
        database.conn.execute(statement)


@migrations(name="0006_claimed_together")
def _claimed_together(database: Database) -> None:
    """Let an attempt tell that its delivery was claimed together with others."""
    database.conn.execute("ALTER TABLE attempts ADD COLUMN together INTEGER NOT NULL DEFAULT 0")


@migrations(name="0007_listing")
def _listing(database: Database) -> None:
    for statement in listing.TABLES:
        database.conn.execute(statement)


@migrations(name="0008_seal")
def _seal(database: Database) -> None:
    for statement in sealed.TABLES.split(";"):
        database.conn.execute(statement)


@migrations(name="0009_request_ids")
def _request_ids(database: Database) -> None:
    """Let an answer lead to what was stored, and a source tell which of its secrets matched last."""
    for statement in matches.TABLES.split(";"):
        database.conn.execute(statement)


def migrate(connection: Connection) -> None:
    """Bring the database to this program's schema.

    Atomic over processes: all of it in one write transaction. Raises StoreUnusable, and changes nothing, if the file
    is another program's database or has migrations that this program does not know.
    """
    with connection.snapshot():
        applied = _applied(connection)
    if not applied:
        connection.rows("PRAGMA auto_vacuum = INCREMENTAL")  # before the first page; later it takes `inbox compact`
    connection.use_wal()
    if len(applied) < len(KNOWN):
        with connection.write(patience=30.0):
            if len(_applied(connection)) < len(KNOWN):
                migrations.apply(connection.database)


def _applied(connection: Connection) -> list[str]:
    """Return the names of the migrations that the database has. Raises StoreUnusable if it is not ours."""
    ((mark,),) = connection.rows("PRAGMA application_id")
    ((tables,),) = connection.rows("SELECT count(*) FROM sqlite_schema")
    if mark != APPLICATION_ID and tables:
        raise StoreUnusable("this is another program's database: name a file of its own in inbox.database")
    applied = [migration.name for migration in migrations.applied(connection.database)]
    newer = [name for name in applied if name not in KNOWN]
    if newer:
        raise StoreUnusable(
            f"the database was written by a newer webhook-inbox (it has {', '.join(newer)}): upgrade the program, "
            "or restore the backup that was made before the upgrade"
        )
    return applied
