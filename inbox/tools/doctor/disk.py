"""The disk under the database: whether it keeps what it confirms, of which kind it is, and whether there is room."""

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from inbox.core.config.settings import Settings
from inbox.tools.doctor.finding import Finding, ok, problem, warning

APPENDS = 100
PAGE = 4096
LONGEST = 3.0
"""Seconds that are measured at most."""

IMPLAUSIBLE = 20e-6
"""Seconds. An append and its fsync are at least two writes that wait for each other: the data, and the file's new size.
Memory answers in 1 to 5 µs. The fastest disks with capacitors take 12 µs and more for the flush alone, most SSDs take
a millisecond (https://smalldatum.blogspot.com/2026/01/ssds-power-loss-protection-and-fsync.html)."""

SLOW = 0.1
"""Seconds. Each answer waits for one fsync, and some senders give up after three seconds."""

INODES = 1000
MOUNTS = Path("/proc/self/mountinfo")

NETWORK = frozenset(
    [
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fuse",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "orangefs",
        "prl_fs",
        "smb3",
        "smbfs",
        "vboxsf",
    ]
)
"""File systems whose files other machines or programs hold: WAL needs memory and locks that all processes share,
https://sqlite.org/wal.html#overview. All of `fuse.*` belong to them."""

PASSING = {
    "tmpfs": "it is in memory: everything is gone after a power cut or a restart",
    "ramfs": "it is in memory: everything is gone after a power cut or a restart",
    "overlay": "it is a container's own layer: everything is gone when the container is removed",
    "aufs": "it is a container's own layer: everything is gone when the container is removed",
    "virtiofs": "it is a folder of the machine around this one: whether an fsync gets to the disk is up to that",
    "fuseblk": "a program serves it (NTFS, exFAT): whether an fsync gets to the disk is up to that",
    "vfat": "it has no journal and no permissions",
    "exfat": "it has no journal and no permissions",
}
CARELESS = frozenset(("nobarrier", "barrier=0", "barrier=none", "volatile", "eatmydata"))
"""Mount options with which fsync returns before the data is safe."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system: its kind, where it is mounted, and its options."""

    kind: str
    point: str
    options: frozenset[str]


def look(settings: Settings) -> Iterator[Finding]:
    """Yield findings about the folder of the database."""
    folder = settings.database.parent
    if not folder.is_dir():
        yield problem(
            "folder", f"the folder of the database does not exist: {folder}", "make it, or set inbox.database"
        )
        return
    yield from kinds(mount_of(folder))
    try:
        durations = measure(folder)
    except OSError as error:
        yield problem(
            "fsync",
            f"a file in {folder} cannot be written and synced: {error.strerror}",
            "give the user that runs this the right to write there, and look at the disk (dmesg)",
        )
    else:
        yield speed(durations, settings.server.store_timeout)
    yield from room(settings, os.statvfs(folder))


def measure(folder: Path) -> list[float]:
    """Return how many seconds each of some appends with fsync took, in a file that is removed. Raises OSError."""
    durations: list[float] = []
    with tempfile.NamedTemporaryFile(prefix=".inbox-doctor-", dir=folder, buffering=0) as file:
        began = time.monotonic()
        while len(durations) < APPENDS and time.monotonic() - began < LONGEST:
            start = time.perf_counter()
            file.write(bytes(PAGE))
            os.fsync(file.fileno())
            durations.append(time.perf_counter() - start)
    return durations


def speed(durations: list[float], patience: float) -> Finding:
    """Return what the durations say of the disk; `patience` is how long a request waits for the store."""
    middle, late = median(durations), sorted(durations)[max(0, len(durations) * 99 // 100 - 1)]
    text = f"{len(durations)} appends with fsync: median {_duration(middle)}, p99 {_duration(late)}"
    if middle < IMPLAUSIBLE:
        return warning(
            "fsync",
            f"{text}: no disk is that fast, so a power cut may lose what was acknowledged",
            "use a real disk with a write barrier: no tmpfs, no eatmydata, no virtual disk with cache=unsafe",
        )
    if middle > patience:
        return problem("fsync", f"{text}: requests get 503", "use a faster disk, or raise server.store_timeout")
    if middle > SLOW:
        return warning("fsync", f"{text}: every answer waits that long", "use a faster disk, such as an SSD")
    return ok("fsync", text)


def kinds(mount: Mount | None) -> Iterator[Finding]:
    """Yield what kind of file system this is, and what that means."""
    if mount is None:
        yield ok("file system", "its kind cannot be told on this system")
        return
    text = f"{mount.kind} at {mount.point}"
    if mount.kind in NETWORK or mount.kind.startswith("fuse."):
        yield problem(
            "file system",
            f"{text}: SQLite's write-ahead log does not work over a network or a program that serves files",
            "put the database on a disk of this machine",
        )
    elif mount.kind in PASSING:
        yield warning("file system", f"{text}: {PASSING[mount.kind]}", "put the database on a volume that stays")
    else:
        yield ok("file system", text)
    for option in sorted(mount.options & CARELESS):
        yield problem(
            "file system",
            f"{text} is mounted with {option}: fsync returns before the data is safe",
            "mount it without that option",
        )


def mount_of(path: Path, mounts: Path = MOUNTS) -> Mount | None:
    """Return where a path lies, None if the system does not say."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    found = None
    for line in lines:
        left, _, right = line.partition(" - ")
        point = left.split()[4].encode().decode("unicode_escape").encode("latin-1").decode()
        if path.resolve().is_relative_to(point) and (found is None or len(point) >= len(found.point)):
            kind, _, rest = right.partition(" ")
            options = {*left.split()[5].split(","), *rest.rpartition(" ")[2].split(",")}
            found = Mount(kind, point, frozenset(options))
    return found


def room(settings: Settings, disk: os.statvfs_result) -> Iterator[Finding]:
    """Yield whether the disk has room for what may wait for the store, and for new files."""
    free, waiting, reserve = (
        disk.f_bavail * disk.f_frsize,
        settings.server.max_in_flight_bytes,
        settings.inbox.min_free_bytes,
    )
    text = f"{_size(free)} are free on the disk of the database"
    if free < reserve:
        yield problem("space", f"{text}, less than min_free_bytes: events get 503", "free space, or lower the reserve")
    elif free < reserve + 2 * waiting:
        yield warning(
            "space",
            f"{text}; the reserve is {_size(reserve)}, and requests of {_size(waiting)} may wait to be written twice "
            "(log and database)",
            "free space before events get 503",
        )
    else:
        yield ok("space", text)
    if disk.f_files and disk.f_favail < INODES:
        yield problem("inodes", f"{disk.f_favail} more files can be made on this disk", "remove files you do not need")


def _duration(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"


def _size(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB" if size < 2**33 else f"{size / 2**30:,.0f} GiB"
