"""The disk: what it confirms, what it is, and how much is left on it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from inbox.core.config.settings import InboxSettings, ServerSettings, Settings
from inbox.tools.doctor import disk
from tests.support.machine import doctor, injected, levels, mounted, of
from tests.support.place import Place

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,errors=remount-ro
30 22 0:40 / /data rw,relatime shared:5 - {kind} {origin} {options}
31 30 0:41 / /data/with\040späce rw - tmpfs tmpfs rw
"""


@pytest.fixture
def mount(tmp_path: Path) -> Callable[..., disk.Mount]:
    """Return what is mounted at /data, according to such a table of mounts."""

    def found(kind: str, options: str = "rw", path: str = "/data/inbox") -> disk.Mount:
        table = tmp_path / "mountinfo"
        table.write_text(MOUNTS.strip().format(kind=kind, origin="somewhere", options=options))
        mount = disk.mount_of(Path(path), table)
        assert mount is not None
        return mount

    return found


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse", "fuse.sshfs", "fuse.glusterfs", "afs", "lustre"]
)
def test_a_network_file_system_is_a_problem(kind: str, mount: Callable[..., disk.Mount]) -> None:
    """SQLite's log needs memory that all processes share."""
    (found,) = disk.kinds(mount(kind))
    assert ("problem", "file system") == (found.level, found.subject)
    assert f"{kind} at /data: SQLite's write-ahead log does not work over a network" in found.found


@pytest.mark.parametrize("kind", ["tmpfs", "ramfs", "overlay", "virtiofs", "fuseblk", "vfat"])
def test_a_file_system_that_does_not_last_is_a_warning(kind: str, mount: Callable[..., disk.Mount]) -> None:
    """It is named, with what will happen."""
    assert [("warning", "file system")] == levels([*disk.kinds(mount(kind))])


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "f2fs"])
def test_a_file_system_of_a_disk_is_fine(kind: str, mount: Callable[..., disk.Mount]) -> None:
    """Nothing has to be done."""
    assert [] == levels([*disk.kinds(mount(kind))])


@pytest.mark.parametrize(
    ("kind", "option"), [("ext4", "barrier=0"), ("xfs", "nobarrier"), ("ext3", "barrier=none"), ("overlay", "volatile")]
)
def test_a_mount_option_that_makes_fsync_a_lie_is_a_problem(
    kind: str, option: str, mount: Callable[..., disk.Mount]
) -> None:
    """The option is named."""
    found = [*disk.kinds(mount(kind, f"rw,{option},data=ordered"))][-1]
    assert ("problem", True) == (found.level, f"is mounted with {option}: fsync returns before" in found.found)


def test_the_innermost_mount_counts(mount: Callable[..., disk.Mount]) -> None:
    """The longest path in the table that leads to the folder, also one with a space; /database is not in /data."""
    assert "tmpfs" == mount("xfs", path="/data/with späce/inbox").kind
    assert ("xfs", "ext4") == (mount("xfs").kind, mount("xfs", path="/database").kind)


def test_a_system_without_a_table_of_mounts_is_told_as_it_is(tmp_path: Path) -> None:
    """Nothing is claimed."""
    assert disk.mount_of(tmp_path, tmp_path / "none") is None
    assert [("ok", "its kind cannot be told on this system")] == [(f.level, f.found) for f in disk.kinds(None)]


def test_measuring_leaves_nothing_behind(tmp_path: Path) -> None:
    """A hundred appends, or as many as there is time for, in a file that is gone afterwards."""
    assert 1 <= len(disk.measure(tmp_path)) <= disk.APPENDS
    assert [] == list(tmp_path.iterdir())


def test_memory_is_found_out() -> None:
    """/dev/shm confirms in microseconds, which no disk does; its kind says so, too."""
    found = [*disk.look(Settings(Path("/dev/shm")))]
    assert [("warning", "file system"), ("warning", "fsync")] == levels(found)[:2]
    assert "tmpfs at /dev/shm: it is in memory" in found[0].found
    assert "no disk is that fast, so a power cut may lose what was acknowledged" in found[1].found


@pytest.mark.parametrize(
    ("seconds", "level"),
    [(3e-6, "warning"), (30e-6, "ok"), (1e-3, "ok"), (0.02, "ok"), (0.2, "warning"), (6.0, "problem")],
)
def test_the_level_follows_from_the_median(seconds: float, level: str) -> None:
    """Memory; a disk with capacitors, an SSD, a rotating disk; one that is overloaded; one that makes requests fail."""
    assert level == disk.speed([seconds] * 99 + [9.0], patience=5.0).level


def test_median_and_p99_are_shown() -> None:
    """One slow fsync in a hundred shows in neither, two show in the p99."""
    assert "100 appends with fsync: median 500 µs, p99 500 µs" == disk.speed([5e-4] * 99 + [2.0], 5.0).found
    assert "100 appends with fsync: median 500 µs, p99 2e+03 ms" == disk.speed([5e-4] * 98 + [2.0] * 2, 5.0).found


def test_a_slow_disk_is_found_out(place: Place) -> None:
    """Measured on a real disk whose fsyncs the kernel delays by 0.2 s; bounded in time."""
    place.configure(server="store_timeout = 4.0")
    (found,) = of(doctor(place.folder, before=injected("fsync:delay_exit=200000")), "fsync")
    assert ("warning", True) == (found.level, "every answer waits that long" in found.found)


def test_a_disk_that_fails_is_a_problem(place: Place) -> None:
    """Fsync answers with an error."""
    (found,) = of(doctor(place.folder, before=injected("fsync:error=EIO")), "fsync")
    assert ("problem", True) == (found.level, "Input/output error" in found.found)


def test_a_folder_that_is_missing_or_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    """Nobody can make a file in /proc, not even root."""
    missing = Settings(tmp_path, InboxSettings(database="sqlite:///none/inbox.db"))
    assert [("problem", "folder")] == levels([*disk.look(missing)])
    readonly = Settings(tmp_path, InboxSettings(database="sqlite:////proc/inbox.db"))
    assert ("problem", "fsync") in levels([*disk.look(readonly)])


def test_a_disk_without_room_is_a_problem(tmp_path: Path) -> None:
    """Less is free than must stay free, or than requests that wait may need."""
    free = os.statvfs(tmp_path)
    reserve = free.f_bavail * free.f_frsize
    assert ("problem", "space") in levels([*disk.look(Settings(tmp_path, InboxSettings(min_free_bytes=2 * reserve)))])
    waiting = ServerSettings(max_in_flight_bytes=reserve)
    assert ("warning", "space") in levels([*disk.look(Settings(tmp_path, server=waiting))])
    assert "space" not in [subject for _, subject in levels([*disk.look(Settings(tmp_path))])]


def test_a_small_file_system_shows_in_space_and_inodes(tmp_path: Path) -> None:
    """A file system of 16 MiB for 300 files."""
    found = doctor(tmp_path, before=mounted(tmp_path, "size=16m,nr_inodes=300"))
    assert {("warning", "file system"), ("problem", "space"), ("problem", "inodes")} <= set(levels(found))
    assert "16 MiB are free" in of(found, "space")[0].found


def test_a_file_system_that_became_read_only_is_a_problem(tmp_path: Path) -> None:
    """As it happens after an error: neither the folder nor the database can be written."""
    then = 'python3 -c \'open("inbox.db", "w")\' && mount -o remount,ro .'
    found = doctor(tmp_path, before=mounted(tmp_path, "size=256m", then))
    assert "Read-only file system" in of(found, "fsync")[0].found
    assert [True] == ["may not write" in item.found for item in of(found, "access")]
