"""Whose turn it is: one writer at a time over all processes, for as long as one is willing to wait."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inbox.core.errors import StoreUnavailable
from inbox.store.sqlite.connection import Connection
from inbox.store.sqlite.write_lock import WriteLock
from tests.support.needs import need

HOLD = """
import sys
from pathlib import Path
from inbox.store.sqlite.write_lock import WriteLock
with WriteLock(Path(sys.argv[1])).taken(1.0):
    print("taken", flush=True)
    sys.stdin.read()
"""


def test_another_process_waits_for_its_turn(tmp_path: Path) -> None:
    """While another process has the turn nobody gets it; when that process is gone, however it went, it is free."""
    turn = WriteLock(tmp_path / "inbox.db")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "inbox.db")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert b"taken\n" == other.stdout.readline()
        with pytest.raises(StoreUnavailable, match=r"have been writing for 0\.05 s"), turn.taken(0.05):
            raise AssertionError("two have the turn")
        other.kill()
    with turn.taken(1.0):
        pass
    turn.close()


def test_writing_takes_a_turn(tmp_path: Path) -> None:
    """A write transaction, with its checkpoint, happens inside a turn; a failed one lets go of it."""
    connection = Connection(tmp_path / "inbox.db", durable=True, patience=0.05)
    turn = WriteLock(tmp_path / "inbox.db")
    with connection.write() as raw:
        raw.execute("CREATE TABLE t (a)")
        with pytest.raises(StoreUnavailable), turn.taken(0.0):
            raise AssertionError("two have the turn")
    with pytest.raises(ZeroDivisionError), connection.write():
        raise ZeroDivisionError
    with turn.taken(0.0), pytest.raises(StoreUnavailable, match="other processes have been writing"):
        connection.write().__enter__()
    turn.close()
    connection.close()


def test_the_lock_file_belongs_to_the_owner_of_the_database(tmp_path: Path) -> None:
    """A command run as root does not lock the service's user out."""
    need(os.geteuid() == 0, "only root can give a file away")
    database = tmp_path / "inbox.db"
    database.touch()
    os.chown(database, 12345, 12345)
    turn = WriteLock(database)
    with turn.taken(1.0):
        found = (tmp_path / "inbox.db-lock").stat()
    turn.close()
    assert (12345, 12345) == (found.st_uid, found.st_gid)


def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    """The reason is named."""
    with (
        pytest.raises(StoreUnavailable, match="cannot be locked"),
        WriteLock(tmp_path / "gone" / "inbox.db").taken(0.0),
    ):
        raise AssertionError("there is no such folder")
