"""The SQLite store: one file in WAL mode, one group commit per receiver, short transactions everywhere else."""

from contextlib import suppress
from pathlib import Path

from inbox.core.errors import StoreUnavailable
from inbox.core.histograms import Observe, unobserved
from inbox.store.sealing.sealer import UNSEALED, Sealer
from inbox.store.sql.accounts import SqliteAccess
from inbox.store.sql.actions import SqliteActing
from inbox.store.sql.alarms import SqliteAlarms
from inbox.store.sql.archive import SqliteArchive
from inbox.store.sql.dashboard import SqliteViews
from inbox.store.sql.deliveries import SqliteWork
from inbox.store.sql.elapsed import SqliteTimekeeping
from inbox.store.sql.erasure import SqliteErasing
from inbox.store.sql.event_search import SqliteFinding
from inbox.store.sql.events import SqliteInlet
from inbox.store.sql.monitor import SqliteWatch
from inbox.store.sql.refusals import RefusalLimits, usual
from inbox.store.sql.retention import SqliteKeeping, rewrite
from inbox.store.sqlite.backup import back_up, restore
from inbox.store.sqlite.connection import Connection
from inbox.store.sqlite.disk_space import DiskSpace
from inbox.store.sqlite.fts_indexing import SqliteIndexing
from inbox.store.sqlite.identity import advance, identify
from inbox.store.sqlite.inspect import look_for_damage
from inbox.store.sqlite.instance_lock import InstanceLock
from inbox.store.sqlite.marker import admit, is_ours
from inbox.store.sqlite.migrations import migrate

__all__ = [
    "InstanceLock",
    "Sealer",
    "back_up",
    "compact",
    "is_there",
    "look_for_damage",
    "open_acting",
    "open_archive",
    "open_inlet",
    "open_keeping",
    "open_work",
    "restore",
    "settle",
]


def open_inlet(
    path: Path,
    *,
    patience: float = 5.0,
    limit: int = 512,
    max_in_flight_bytes: int = 64 * 1024 * 1024,
    min_free_bytes: int = 0,
    max_store_bytes: int = 0,
    refusal_limits: RefusalLimits = usual,
    observe: Observe = unobserved,
    sealer: Sealer = UNSEALED,
) -> SqliteInlet:
    """Return the receiver's side of the database at `path`, which is made or migrated if need be.

    A new generation of it begins.
    """
    connection = _ready(path, durable=True, patience=patience, sealer=sealer)
    with suppress(StoreUnavailable):  # a store that is locked or full takes nothing now: senders get a 503
        advance(connection)
    space = DiskSpace(path, connection, reserved=min_free_bytes, max_bytes=max_store_bytes)
    return SqliteInlet(
        connection,
        limit=limit,
        patience=patience,
        max_bytes=max_in_flight_bytes,
        space=space,
        refusal_limits=refusal_limits,
        observe=observe,
        sealer=sealer,
    )


def open_work(path: Path, *, patience: float = 5.0, sealer: Sealer = UNSEALED) -> SqliteWork:
    """Return the worker's side."""
    return SqliteWork(_ready(path, durable=False, patience=patience, sealer=sealer), sealer)


def open_archive(path: Path, *, patience: float = 5.0, sealer: Sealer = UNSEALED) -> SqliteArchive:
    """Return the owner's side, which lists also what it has no key for."""
    return SqliteArchive(_ready(path, durable=True, patience=patience), sealer)


def open_keeping(path: Path, *, patience: float = 5.0, durable: bool = True) -> SqliteKeeping:
    """Return the retention side. What was pruned need not be `durable`: after a power cut it goes again."""
    return SqliteKeeping(_ready(path, durable=durable, patience=patience))


def open_finding(path: Path, *, patience: float = 5.0) -> SqliteFinding:
    """Return the side of those who look for events."""
    return SqliteFinding(_ready(path, durable=False, patience=patience))


def open_indexing(path: Path, *, patience: float = 5.0) -> SqliteIndexing:
    """Return the indexer's side; a power cut may cost the last of its steps, which are then done again."""
    return SqliteIndexing(_ready(path, durable=False, patience=patience))


def open_erasing(path: Path, sealer: Sealer, *, patience: float = 5.0) -> SqliteErasing:
    """Return what destroys the content of events."""
    return SqliteErasing(_ready(path, durable=True, patience=patience, sealer=sealer), sealer)


def open_sealed(path: Path, sealer: Sealer, *, patience: float = 5.0) -> Connection:
    """Return a connection for `reseal`."""
    return _ready(path, durable=True, patience=patience, sealer=sealer)


def open_acting(path: Path, *, patience: float = 5.0, sealer: Sealer = UNSEALED) -> SqliteActing:
    """Return the side of what is done to many events at once, and of pauses."""
    return SqliteActing(_ready(path, durable=True, patience=patience), sealer)


def is_there(path: Path) -> bool:
    """Tell whether there is a database of an inbox. Raises StoreUnusable if its files do not belong together."""
    admit(path)
    return path.exists() and path.stat().st_size > 0 and is_ours(path)


def settle(path: Path) -> None:
    """Bring the log of a database, or of the file of data keys, into it after all processes have ended.

    Processes that end do so themselves; this is for those that were killed. Raises StoreError.
    """
    if path.exists():
        connection = Connection(path, durable=True)
        try:
            connection.empty_log()
        finally:
            connection.close()


def compact(path: Path) -> int:
    """Write the database anew, as small as it can be, while nobody works on it, and return its size."""
    connection = _ready(path, durable=True, patience=5.0)
    try:
        return rewrite(path, connection)
    finally:
        connection.close()


def open_watch(path: Path, *, patience: float = 1.0) -> SqliteWatch:
    """Return the side of those who look after the inbox."""
    connection = _ready(path, durable=False, patience=patience)
    return SqliteWatch(path, connection, Connection(path, durable=True, patience=patience))


def open_timekeeping(path: Path, *, patience: float = 1.0) -> SqliteTimekeeping:
    """Return what keeps how much time has passed; a power cut may cost the last look, which makes nothing older."""
    return SqliteTimekeeping(_ready(path, durable=False, patience=patience))


def open_views(path: Path, *, patience: float = 1.0, sealer: Sealer = UNSEALED) -> SqliteViews:
    """Return what the desk sees besides events."""
    return SqliteViews(_ready(path, durable=False, patience=patience), sealer)


def open_alarms(path: Path, *, patience: float = 5.0) -> SqliteAlarms:
    """Return what is known of the alarms."""
    return SqliteAlarms(_ready(path, durable=True, patience=patience))


def open_access(path: Path, *, patience: float = 5.0) -> SqliteAccess:
    """Return who may see the pages."""
    return SqliteAccess(_ready(path, durable=True, patience=patience))


def _ready(path: Path, *, durable: bool, patience: float, sealer: Sealer | None = None) -> Connection:
    if not path.parent.is_dir():
        raise StoreUnavailable(f"the folder of the database does not exist: {path.parent}")
    connection = Connection(path, durable=durable, patience=patience)
    try:
        migrate(connection)
        identify(connection)
        if sealer is not None:
            sealer.check(connection)
    except BaseException:
        connection.close()
        raise
    return connection
