"""The tables, as migrations that are applied when the store is opened; the sum of the migrations is the schema.

events      one row per accepted request; small, so that lists stay fast
bodies      headers and raw body of an event, in a table of their own so that they can be dropped first
deliveries  one event for one handler (and one replay; 0 is the first time)
attempts    one run of a delivery
handlers    what the worker last loaded, so that others can route without importing it
held        refused requests that are kept to be verified again, bounded per source
refusals    the latest requests that were not accepted, bounded per source
actions     who ran what again, cancelled or ignored it, why, and how far that is; see `acting`
pauses      which handlers and sources wait; see `pausing`
keeps       events that retention must not touch, and why

An event whose body was pruned has `body_pruned_at`. One with `pruned_at` is only there for its key: it has neither body
nor deliveries and is not listed, but copies of it are recognised, until it goes altogether.
A sealed body or held request has `seal`: the number of the key that opens it, or the length of the body that was held.
seal        which file of keys belongs to this database; see `keys`
erasures    who destroyed the content of events, when, why, and of how many
matches: which secret of a source, counted from 1, matched last and when
users, logins, tokens, cookie_secret: see `access`
counts, processes: see `counts`; kinds, spans: see `listing`; alarms, alarm_changes, notices: see `alarms`
failed_modules, last_failures: see `handlers`; elapsed, elapsed_marks: see `elapsed`
search_blocks, search_owner: see `search`
identity    which database this is; see `mark`
"""

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from inbox.core.errors import StoreUnusable
from inbox.store.sealing import rows
from inbox.store.sql import accounts, actions, alarms, counters, elapsed, handlers, holds, secret_usage
from inbox.store.sqlite import event_index, fts, identity, schema
from inbox.store.sqlite.connection import Connection
from inbox.store.sqlite.marker import APPLICATION_ID

migrations = Migrations("inbox")

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
    "0010_actions",
    "0011_search",
    "0012_admin",
    "0013_failures",
    "0015_sealed_only",
    "0016_holds",
    "0017_elapsed",
    "0018_held_networks",
    "0019_identity",
)


@migrations(name="0001_first")
def _first(database: Database) -> None:
    database.conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for statement in schema.TABLES.split(";"):
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
    for statement in counters.TABLES.split(";"):
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
    for statement in event_index.TABLES:
        database.conn.execute(statement)


@migrations(name="0008_seal")
def _seal(database: Database) -> None:
    for statement in rows.TABLES.split(";"):
        database.conn.execute(statement)


@migrations(name="0009_request_ids")
def _request_ids(database: Database) -> None:
    """Let an answer lead to what was stored, and a source tell which of its secrets matched last."""
    for statement in secret_usage.TABLES.split(";"):
        database.conn.execute(statement)


@migrations(name="0010_actions")
def _actions(database: Database) -> None:
    actions.migrate(database.conn)


@migrations(name="0011_search")
def _search(database: Database) -> None:
    """Let events be found by their words and by handler."""
    for statement in fts.TABLES:
        database.conn.execute(statement)


@migrations(name="0012_admin")
def _admin(database: Database) -> None:
    """Let there be users, logins and tokens for the pages."""
    for statement in accounts.TABLES.split(";"):
        database.conn.execute(statement)


@migrations(name="0013_failures")
def _failures(database: Database) -> None:
    """Remember what failed: modules that have no handler yet, and the last attempt of each handler that did."""
    for statement in handlers.TABLES.split(";"):
        database.conn.execute(statement)


@migrations(name="0015_sealed_only")
def _sealed_only(database: Database) -> None:
    """Let an inbox be one in which everything is sealed, and find what was erased."""
    for statement in rows.ONLY.split(";"):
        database.conn.execute(statement)


@migrations(name="0016_holds")
def _holds(database: Database) -> None:
    """Let events be kept that are not there yet."""
    database.conn.execute(holds.TABLES)


@migrations(name="0017_elapsed")
def _elapsed(database: Database) -> None:
    """Remember how much time has passed, and how far the store was at which time."""
    for statement in elapsed.TABLES.split(";"):
        database.conn.execute(statement)


@migrations(name="0018_held_networks")
def _held_networks(database: Database) -> None:
    """Let addresses share the place for held requests."""
    for statement in rows.HELD_NETWORKS.split(";"):
        database.conn.execute(statement)


@migrations(name="0019_identity")
def _identity(database: Database) -> None:
    """Give the database an id, by which its marker knows it."""
    for statement in identity.TABLES:
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
