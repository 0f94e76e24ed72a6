"""The SQLite store: one file in WAL mode, one group commit per receiver, short transactions everywhere else."""

from pathlib import Path

from inbox.errors import StoreUnavailable
from inbox.store.sqlite.archive import SqliteArchive
from inbox.store.sqlite.connection import Connection
from inbox.store.sqlite.inlet import SqliteInlet
from inbox.store.sqlite.schema import migrate
from inbox.store.sqlite.work import SqliteWork


def open_inlet(path: Path, *, patience: float = 5.0, limit: int = 512) -> SqliteInlet:
    """Return the receiver's side of the database at `path`, which is made or migrated if need be."""
    return SqliteInlet(_ready(path, durable=True, patience=patience), limit=limit, patience=patience)


def open_work(path: Path, *, patience: float = 5.0) -> SqliteWork:
    """Return the worker's side."""
    return SqliteWork(_ready(path, durable=False, patience=patience))


def open_archive(path: Path, *, patience: float = 5.0) -> SqliteArchive:
    """Return the owner's side."""
    return SqliteArchive(_ready(path, durable=True, patience=patience))


def _ready(path: Path, *, durable: bool, patience: float) -> Connection:
    if not path.parent.is_dir():
        raise StoreUnavailable(f"the folder of the database does not exist: {path.parent}")
    connection = Connection(path, durable=durable, patience=patience)
    try:
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection
