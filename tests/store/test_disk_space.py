"""Room on the disk: no event is taken that would use the reserve, and events are taken again when there is room."""

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from inbox.core.errors import StoreUnavailable, StoreUnusable
from inbox.store.protocols import Filter, Outcome
from inbox.store.sql.events import SqliteInlet
from inbox.store.sqlite import open_archive, open_inlet, open_work
from inbox.store.sqlite.disk_space import MOMENT
from tests.support.needs import need
from tests.support.stores import event, refusal

MIB = 1 << 20
RESERVED = 4 * MIB


def mounted(folder: Path, size: int) -> Path:
    """Mount a file system of so many bytes on the folder; skip where that is not possible."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    need(shutil.which("mount"), "there is no `mount` here")
    done = subprocess.run(command, capture_output=True, text=True)
    need(done.returncode == 0, f"a small file system cannot be mounted here (that needs root): {done.stderr.strip()}")
    return folder


def unmount(folder: Path) -> None:
    """Let the file system go, also if something still has a file of it open."""
    subprocess.run(["umount", "-l", str(folder)], check=True)


def free(folder: Path) -> int:
    """Return how many bytes are free for everybody."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


@contextmanager
def ballast(folder: Path, leave: int) -> Iterator[None]:
    """Fill the disk with a file until so many bytes are free; 0 means that not a byte more can be written."""
    path = folder / "ballast"
    with suppress(OSError), path.open("ab", buffering=0) as file:
        while (room := free(folder) - leave) > 0 or not leave:
            file.write(bytes(min(max(room, 512), MIB)))
    time.sleep(MOMENT)  # for which the last look at the disk is good
    yield
    path.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    folder = mounted(tmp_path / "disk", 16 * MIB)
    yield folder
    unmount(folder)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a database may be made."""
    return tmp_path / "inbox.db"


@pytest.fixture
def opened() -> Iterator[Callable[..., SqliteInlet]]:
    """Open an inlet with limits; it is closed afterwards."""
    inlets: list[SqliteInlet] = []

    def make(path: Path, **limits: int) -> SqliteInlet:
        inlets.append(open_inlet(path, **limits))
        return inlets[-1]

    yield make
    for inlet in inlets:
        inlet.close()


def events(path: Path) -> list[str]:
    """Return the keys of the events that are stored."""
    archive = open_archive(path)
    try:
        return [row["key"] for row in archive.events(Filter(), 1000)]
    finally:
        archive.close()


def pragma(path: Path, name: str) -> str:
    """Return the value of a pragma, as text."""
    connection = sqlite3.connect(path)
    try:
        return str(connection.execute(f"PRAGMA {name}").fetchone()[0])
    finally:
        connection.close()


def fill(inlet: SqliteInlet, size: int, limit: int = 200) -> int:
    """Store events of this size until one is refused, and return how many were accepted."""
    for number in range(limit):
        try:
            inlet.add_event(event(f"fill {number}", b"x" * size))
        except StoreUnavailable:
            return number
    raise AssertionError("none was refused")


def test_reserve_is_not_used(disk: Path, opened: Callable[..., SqliteInlet]) -> None:
    """Events, refusals and the probe are refused while less is free, and each says how much is; then taken again."""
    inlet = opened(disk / "inbox.db", min_free_bytes=RESERVED)
    inlet.add_event(event("before"))
    with ballast(disk, leave=RESERVED - MIB):
        for call in (
            lambda: inlet.add_event(event("meanwhile")),
            lambda: inlet.add_refusal(refusal()),
            inlet.probe,
        ):
            with pytest.raises(StoreUnavailable, match=rf"^\d+ bytes are free .*; min_free_bytes = {RESERVED}$"):
                call()
        assert ["before"] == events(disk / "inbox.db")
    assert "accepted" == inlet.add_event(event("meanwhile")).outcome
    inlet.probe()


def test_large_event_does_not_break_into_the_reserve(disk: Path, opened: Callable[..., SqliteInlet]) -> None:
    """It is written twice, to the log and to the database: where that would not leave enough, only smaller ones fit."""
    inlet = opened(disk / "inbox.db", min_free_bytes=RESERVED)
    inlet.add_event(event("before"))
    with ballast(disk, leave=RESERVED + MIB):
        with pytest.raises(StoreUnavailable, match=rf"{MIB} would come"):
            inlet.add_event(event("large", b"x" * MIB))
        inlet.probe()
        assert "accepted" == inlet.add_event(event("small")).outcome
        assert free(disk) >= RESERVED


@pytest.mark.parametrize("size", [100_000, 200_000, 330_000])
def test_the_log_does_not_break_into_the_reserve(disk: Path, opened: Callable[..., SqliteInlet], size: int) -> None:
    """What it adds to the database file when it is emptied, up to 4 MiB at once, is room that is taken already."""
    fill(opened(disk / "inbox.db", min_free_bytes=RESERVED), size, limit=400)
    assert RESERVED == min(free(disk), RESERVED)


def test_own_events_leave_the_reserve(disk: Path, opened: Callable[..., SqliteInlet]) -> None:
    """However many come, they stop before it; the worker goes on in it, and deleting makes room for more."""
    database = disk / "inbox.db"
    inlet = opened(database, min_free_bytes=RESERVED)
    accepted = fill(inlet, 300_000)
    assert (True, RESERVED) == (accepted > 0, min(free(disk), RESERVED))
    work = open_work(database)
    for number in work.unrouted(1000):
        for delivery in work.route(number, {"m.f": True}, 1.0):
            assert work.claim(delivery, token=f"t{delivery}", worker="w", at=2.0, lease=30.0) is not None
            assert work.finish(delivery, f"t{delivery}", Outcome("succeeded", "succeeded"), 3.0).held
    work.close()
    assert ["succeeded"] * accepted == statuses(database)
    with pytest.raises(StoreUnavailable):
        inlet.add_event(event("one more", b"x" * 300_000))


def statuses(path: Path) -> list[str]:
    """Return the statuses of all events."""
    archive = open_archive(path)
    try:
        return [row["status"] for row in archive.events(Filter(), 1000)]
    finally:
        archive.close()


def test_full_disk_without_a_reserve_is_refused_by_sqlite(disk: Path, opened: Callable[..., SqliteInlet]) -> None:
    """Not a byte is left: nothing is half-written, and the same event is accepted when there is room."""
    database = disk / "inbox.db"
    inlet = opened(database)
    inlet.add_event(event("before"))
    large = event("large", b"x" * MIB)
    with ballast(disk, leave=0):
        with pytest.raises(StoreUnavailable, match="the store is not available"):
            inlet.add_event(large)
        assert ["before"] == events(database)
    assert "accepted" == inlet.add_event(large).outcome
    assert ["large", "before"] == events(database)
    assert "ok" == pragma(database, "integrity_check")


@pytest.mark.parametrize("size", [1_000, 5_000, 100_000])
def test_store_holds_no_more_than_it_may(path: Path, opened: Callable[..., SqliteInlet], size: int) -> None:
    """Events stop within two of the limit, refusals and the probe with them, and the reason has both numbers."""
    limit = 600_000
    inlet = opened(path, max_store_bytes=limit)
    accepted = fill(inlet, size, limit=1000)
    assert limit - 2 * size - 50_000 < held(path) <= limit + 50_000
    assert accepted == len(events(path))
    with pytest.raises(StoreUnavailable, match=rf"^the store holds \d+ bytes, {size} .*max_store_bytes = {limit}$"):
        inlet.add_event(event("one more", b"x" * size))


def held(path: Path) -> int:
    """Return how many bytes of the database are in use."""
    pages, unused, size = (int(pragma(path, name)) for name in ("page_count", "freelist_count", "page_size"))
    return (pages - unused) * size


def test_store_that_holds_too_much_is_not_ready(path: Path, opened: Callable[..., SqliteInlet]) -> None:
    """Lowered below what is there, the limit stops events, refusals and the probe alike."""
    opened(path).add_event(event("large", b"x" * MIB))
    inlet = opened(path, max_store_bytes=MIB)
    for call in (lambda: inlet.add_event(event("more")), lambda: inlet.add_refusal(refusal()), inlet.probe):
        with pytest.raises(StoreUnavailable, match=rf"max_store_bytes = {MIB}$"):
            call()
    assert ["large"] == events(path)


def test_deleting_makes_room_in_a_file_that_stays_as_large(path: Path, opened: Callable[..., SqliteInlet]) -> None:
    """Free pages do not count: the receiver notices by itself that somebody else has pruned."""
    inlet = opened(path, max_store_bytes=2 * MIB)
    accepted = fill(inlet, 200_000)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("DELETE FROM bodies")
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    assert path.stat().st_size > 2 * MIB - 200_000
    inlet.probe()
    assert "accepted" == inlet.add_event(event("after", b"x" * 200_000)).outcome
    assert accepted + 1 == len(events(path))


def test_worker_is_not_limited(path: Path, opened: Callable[..., SqliteInlet]) -> None:
    """What was accepted is worked on, however much the store holds."""
    opened(path).add_event(event("large", b"x" * MIB))
    with pytest.raises(StoreUnavailable):
        opened(path, max_store_bytes=MIB).probe()
    work = open_work(path)
    (delivery,) = work.route(1, {"m.f": True}, 1.0)
    assert work.claim(delivery, token="t", worker="w", at=2.0, lease=30.0) is not None
    assert work.finish(delivery, "t", Outcome("dead", "error", error="x" * 8000), 3.0).held
    work.close()


def test_event_that_fits_nowhere_is_refused_and_smaller_ones_are_not(
    path: Path, opened: Callable[..., SqliteInlet]
) -> None:
    """It does not make room for itself, and does not spoil the store for others."""
    inlet = opened(path, max_store_bytes=MIB)
    with pytest.raises(StoreUnavailable):
        inlet.add_event(event("large", b"x" * MIB))
    assert "accepted" == inlet.add_event(event("small")).outcome


@pytest.mark.parametrize("limits", [{"min_free_bytes": 1}, {"max_store_bytes": MIB}])
def test_deleted_folder_is_a_store_error(
    tmp_path: Path, opened: Callable[..., SqliteInlet], limits: dict[str, int]
) -> None:
    """The limits ask the disk first, and an error of the disk is one of the store: 503, not 500."""
    folder = tmp_path / "folder"
    folder.mkdir()
    inlet = opened(folder / "inbox.db", **limits)
    inlet.add_event(event("before"))
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    with pytest.raises((StoreUnavailable, StoreUnusable)):
        inlet.add_event(event("after"))
