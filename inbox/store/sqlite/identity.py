"""The id and the generation of a database, and its marker; see `mark` for what they are compared with, and when."""

from inbox.core.errors import StoreUnusable
from inbox.store.sqlite import marker
from inbox.store.sqlite.connection import Connection

TABLES = (
    "CREATE TABLE identity (one INTEGER PRIMARY KEY CHECK (one = 1), id BLOB NOT NULL) STRICT",
    "INSERT INTO identity VALUES (1, randomblob(16))",
)


def identify(connection: Connection) -> None:
    """Compare the database with its marker, once per process, or make the marker. Raises StoreUnusable."""
    if connection.files.identified:
        return
    found, known = current(connection), marker.read(connection.files.path)
    if known is not None and known.database not in ("", found.database):
        raise StoreUnusable(
            f"{connection.files.path} is the database of another inbox: put the one back that was here; to go on with "
            f"this one, delete {marker.path_of(connection.files.path)}"
        )
    if known is None or not known.database:
        marker.write(connection.files.path, found)
    connection.files.identified = True


def advance(connection: Connection) -> None:
    """Begin a new generation and write it into the marker. One transaction, on a durable connection.

    A copy that was made before has a lower generation.
    """
    with connection.write() as raw:
        ((generation,),) = raw.execute("PRAGMA user_version")
        raw.execute(f"PRAGMA user_version = {generation + 1}")
    marker.write(connection.files.path, current(connection))


def current(connection: Connection) -> marker.Mark:
    """Return the id of the database and its generation; what another process can see is on disk."""
    with connection.snapshot():
        (row,) = connection.rows("SELECT hex(id) AS id FROM identity")
        ((generation,),) = connection.rows("PRAGMA user_version")
    return marker.Mark(row["id"].lower(), generation)
