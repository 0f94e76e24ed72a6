"""What handlers share with their process → what one of them damaged, and when the process is to be renewed.

Handlers run in the worker's own process. One that closes a descriptor, lowers a limit or changes the working directory
harms whatever runs after it. Nothing here repairs: the process hands over what it holds and ends.
"""

import os
import resource
import select
import signal
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

DESCRIPTORS = Path("/dev/fd")
LIMITS = ("RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_AS", "RLIMIT_NPROC")
CROWDED = 0.8
"""The share of allowed descriptors that may be open before the process is renewed."""

FEW = 8
"""Runs between two looks at how many descriptors are open."""

Identity = tuple[int, int]
"""Device and inode of an open file."""

_changes = 0


_watched: list["Integrity"] = []


def descriptors_change() -> None:
    """Say that this program is about to close, or has just opened, descriptors of its own."""
    global _changes
    _changes += 1


def watch(integrity: "Integrity") -> None:
    """Have `damage` look at this process from now on."""
    _watched[:] = [integrity]


def damage() -> str:
    """Return what a handler damaged in this process, "" if nothing, or if nobody watches. Asked before each write."""
    return _watched[0].damage() if _watched else ""


class Integrity:
    """The state of this process that its own work needs, as it was when the handlers had been loaded.

    `paths` are files that this program has open in the process. `inherited` are descriptors that were open before any
    handler was loaded; those of the paths are found by their identity, because connections come and go.
    """

    def __init__(self, paths: Iterable[Path], inherited: Collection[int] = (0, 1, 2)) -> None:
        self._paths = list(paths)
        self._inherited = {file: identity for file in inherited if (identity := _identity(file)) is not None}
        self._own: dict[int, Identity] = {}
        self._seen = -1
        self._again = True
        self._poller = select.poll()
        self._limits = _limits()
        self._folder = _folder()
        self._blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._streams = [stream for stream in (sys.stdin, sys.stdout, sys.stderr) if not _closed(stream)]

    def prepare(self) -> None:
        """Note which descriptors belong to this program now; cheap when that did not change."""
        if self._seen == _changes and not self._again:
            return
        self._again = self._seen != _changes  # SQLite opens its log only when a connection is first used
        self._seen = _changes
        self._own = {**self._inherited, **_opened(self._paths)}
        self._poller = select.poll()
        for file in self._own:
            self._poller.register(file, 0)

    def damage(self, *, thorough: bool = True) -> str:
        """Return what is no longer as it was, "" if nothing is.

        Unless it is `thorough`, which takes some microseconds more, a descriptor that now is another file is not seen.
        """
        return (  # the limits come first: with a low one poll(2) fails
            next((f"{name} is {now[0]}" for name, now in _limits().items() if now != self._limits[name]), "")
            or self._descriptors(thorough)
            or next((f"{_name(stream)} was closed" for stream in self._streams if _closed(stream)), "")
            or ("the working directory was changed" if _folder() != self._folder else "")
            or ("signals are blocked" if signal.pthread_sigmask(signal.SIG_BLOCK, ()) != self._blocked else "")
        )

    def _descriptors(self, thorough: bool) -> str:
        if thorough:
            broken = [file for file, identity in self._own.items() if _identity(file) != identity]
        else:
            broken = [file for file, event in self._poller.poll(0) if event & select.POLLNVAL]
        if self._seen != _changes:  # it may have closed them itself meanwhile
            broken = [file for file in broken if file in self._inherited]
        return f"descriptor {min(broken)} was closed" if broken else ""


class Renewal:
    """When a process has run enough: after so many runs, with so many bytes of memory, with too many open files.

    0 runs or bytes is no limit.
    """

    def __init__(self, max_runs: int = 0, max_memory: int = 0) -> None:
        self._max_runs = max_runs
        self._max_memory = max_memory
        self._most_files = int(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * CROWDED)
        self.runs = 0

    def due(self) -> str:
        """Return why the process is to be replaced, "" if it may go on."""
        if 0 < self._max_runs <= self.runs:
            return f"{self.runs} runs; max_runs = {self._max_runs}"
        if self._max_memory and _peak() > self._max_memory and (held := memory()) > self._max_memory:
            return f"{held} bytes of memory; max_memory = {self._max_memory}"
        if self.runs % FEW == 0 and 0 < self._most_files < (lowest := _lowest_free()):
            return f"{lowest} descriptors are open; RLIMIT_NOFILE allows few more"
        return ""


def memory() -> int:
    """Return how many bytes of memory this process holds; where the system does not say, how many it ever held."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except (OSError, IndexError):
        return _peak()
    return int(pages) * resource.getpagesize()


def open_files() -> list[int]:
    """Return the descriptors that are open in this process, none if the system does not say."""
    try:
        return [int(entry.name) for entry in DESCRIPTORS.iterdir() if _identity(int(entry.name)) is not None]
    except (OSError, ValueError):
        return []


def _opened(paths: Iterable[Path]) -> dict[int, Identity]:
    """Return the descriptors that are open on these files."""
    wanted = set()
    for path in paths:
        with suppress(OSError):
            found = path.stat()
            wanted.add((found.st_dev, found.st_ino))
    return {file: identity for file in open_files() if (identity := _identity(file)) in wanted and identity is not None}


def _identity(file: int) -> Identity | None:
    try:
        found = os.fstat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _limits() -> dict[str, tuple[int, int]]:
    return {name: resource.getrlimit(getattr(resource, name)) for name in LIMITS if hasattr(resource, name)}


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 – once per run, and Path is much slower
    except OSError:
        return ""


def _closed(stream: object) -> bool:
    return bool(getattr(stream, "closed", True))


def _name(stream: object) -> str:
    return {"<stdin>": "standard input", "<stdout>": "standard output"}.get(
        getattr(stream, "name", ""), "standard error"
    )


def _peak() -> int:
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024


def _lowest_free() -> int:
    """Return the lowest descriptor that is free, the most there can be if none is: what leaks uses up the low ones."""
    try:
        file = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 1 << 30
    os.close(file)
    return file
