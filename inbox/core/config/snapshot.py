"""The files that a process starts from: those on disk, or as `inbox run` read them when they were right the last time.

`inbox run` keeps them in memory and hands that memory on to its children; nothing of them, a secret least of all, is
written to a disk. Settings, secrets, schemas and handlers are read through `read` and `find`, and nowhere else.
"""

import base64
import errno
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from inbox.core.errors import InboxError

FILE = "INBOX_SNAPSHOT_FD"
"""Environment variable that tells a child which of its open files has the snapshot."""

_DIGEST = 32
_PATIENCE = 10.0
"""Seconds that a reader waits while a new snapshot is written."""

Content = bytes | int
"""What a file had, or the errno of the error that reading it gave."""


@dataclass(frozen=True)
class Snapshot:
    """Files by absolute path, and folders, whose paths end in a slash; when they were read, in Unix time."""

    files: Mapping[str, Content]
    at: float

    @cached_property
    def digest(self) -> str:
        """Return what differs when anything in the files does."""
        return sha256(json.dumps(self._encoded(), sort_keys=True).encode()).hexdigest()

    def packed(self) -> bytes:
        """Return the snapshot as bytes, behind their digest."""
        content = json.dumps({"at": self.at, "files": self._encoded()}).encode()
        return sha256(content).digest() + content

    def _encoded(self) -> dict[str, str | int]:
        return {
            path: content if isinstance(content, int) else base64.b64encode(content).decode()
            for path, content in self.files.items()
        }


def unpacked(packed: bytes) -> Snapshot | None:
    """Return what `packed` made these bytes of, None if they are not whole."""
    content = packed[_DIGEST:]
    if sha256(content).digest() != packed[:_DIGEST]:
        return None
    found = json.loads(content)
    files = {path: kept if isinstance(kept, int) else base64.b64decode(kept) for path, kept in found["files"].items()}
    return Snapshot(files, found["at"])


class Shared:
    """A snapshot in memory that children inherit as an open file; another one can be put in its place."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.number = _memory()
        self.put(snapshot)

    def put(self, snapshot: Snapshot) -> None:
        """Have whatever reads from now on get this snapshot."""
        content = snapshot.packed()
        os.pwrite(self.number, content, 0)
        os.ftruncate(self.number, len(content))

    @property
    def environment(self) -> dict[str, str]:
        """Return what tells a child of it."""
        return {FILE: str(self.number)}

    def close(self) -> None:
        """Let go of the memory."""
        os.close(self.number)


def _memory() -> int:
    """Return the number of a file in memory; elsewhere than on Linux of one without a name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("inbox-snapshot")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


_used: Snapshot | None = None
_number: int | None = None
_recorded: dict[str, Content] | None = None


def use(snapshot: Snapshot | None) -> None:
    """Have this process read from the snapshot, or from disk."""
    global _used
    _used = snapshot


def in_use() -> Snapshot | None:
    """Return the snapshot that this process reads from, None if it reads from disk."""
    return _used


def inherit(environ: MutableMapping[str, str]) -> None:
    """Use the snapshot that the environment names; what this process starts sees no trace of it.

    Raises InboxError if it cannot be read.
    """
    global _number
    named = environ.pop(FILE, "")
    if named:
        _number = int(named)
        os.set_inheritable(_number, False)
        renew()


def renew() -> None:
    """Use what is in the inherited file now. Raises InboxError if it cannot be read."""
    if _number is None:
        return
    end = time.monotonic() + _PATIENCE
    while (found := unpacked(_whole(_number))) is None:
        if time.monotonic() > end:
            raise InboxError("the snapshot of the settings cannot be read: it is not whole")
        time.sleep(0.05)
    use(found)


def passed_on() -> tuple[dict[str, str], list[int]]:
    """Return what has a process that this one starts use the same snapshot: environment, and files to pass."""
    return ({}, []) if _number is None else ({FILE: str(_number)}, [_number])


def _whole(number: int) -> bytes:
    try:
        return os.pread(number, os.fstat(number).st_size, 0)
    except OSError as error:
        raise InboxError(f"the snapshot of the settings cannot be read: {error.strerror}") from None


@contextmanager
def recording() -> Iterator[dict[str, Content]]:
    """Read from disk inside the block, and yield what is found: contents by path."""
    global _used, _recorded
    before, _used, _recorded = _used, None, {}
    try:
        yield _recorded
    finally:
        _used, _recorded = before, None


def read(path: Path) -> bytes:
    """Return what a file has, or had. Raises OSError."""
    key = _key(path)
    if _used is not None:
        return _given(_used.files.get(key, errno.ENOENT), key)
    content: Content
    try:
        content = path.read_bytes()
    except OSError as error:
        if _recorded is None or error.errno is None:
            raise
        content = error.errno
    if _recorded is not None:
        _recorded[key] = content
    return _given(content, key)


def _given(content: Content, path: str) -> bytes:
    if isinstance(content, int):
        raise OSError(content, os.strerror(content), path)
    return content


def find(folder: Path, suffix: str, *, deep: bool = False) -> list[Path]:
    """Return the files of a folder, or below it, whose names end so, sorted."""
    if _used is None:
        if _recorded is not None and folder.is_dir():
            _recorded[_folder(folder)] = b""
        return sorted(folder.rglob(f"*{suffix}") if deep else folder.glob(f"*{suffix}"))
    begin = _folder(folder)
    found = [path for path in _used.files if path.startswith(begin) and path.endswith(suffix)]
    return sorted(folder / path[len(begin) :] for path in found if deep or "/" not in path[len(begin) :])


def is_file(path: Path) -> bool:
    """Tell whether there is, or was, a file."""
    return path.is_file() if _used is None else _used.files.get(_key(path), errno.ENOENT) != errno.ENOENT


def is_folder(folder: Path) -> bool:
    """Tell whether there is, or was, a folder."""
    if _used is None:
        return folder.is_dir()
    return any(path.startswith(_folder(folder)) for path in _used.files)


def when(at: float) -> str:
    """Return a point in time, given in Unix seconds, as a log line or a message names it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def kept(path: Path) -> bytes | None:
    """Return what the snapshot has of a file, None if there is none of it."""
    content = _used.files.get(_key(path)) if _used is not None else None
    return content if isinstance(content, bytes) else None


def _key(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 – `resolve` follows links, which may lead elsewhere later


def _folder(folder: Path) -> str:
    return _key(folder).rstrip("/") + "/"
