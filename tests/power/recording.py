"""What processes did to the database's files and told their clients, in one order: strace's log as operations.

The log has one line per system call, or two when another thread came in between: it then began at the first and ended
at the second. A line of the log is the clock here.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.needs import strace

CALLS = "openat,pwrite64,write,writev,sendto,sendmsg,ftruncate,fsync,fdatasync,unlink,unlinkat,rename,fallocate"
KNOWN = {"openat", "pwrite64", "write", "writev", "sendto", "ftruncate", "fsync", "fdatasync", "unlink"}
"""Calls that are understood; another one on a file of the database fails the test."""

_BEGUN = re.compile(r"(\d+) +(\w+)\((.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")
_HEX = re.compile(r"(?:\\x[0-9a-f]{2})+")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_FILE = re.compile(r"\d+<((?:\\x[0-9a-f]{2})+)>(\(deleted\))?")
_SOCKET = re.compile(r"\d+<TCP:\[(.*?)\]>")
_ID = re.compile(rb'\{"status":"(accepted|duplicate|conflict|quarantined)","id":(\d+)\}')


def tracing(log: Path) -> list[str]:
    """Return what has to stand in front of a command so that its calls are added to the log."""
    limits = ("-s", "10000000", "-e", f"trace={CALLS}", "-e", "signal=none")
    return [strace(), "-D", "-f", "-q", "-yy", "--seccomp-bpf", "-xx", *limits, "-A", "-o", str(log)]


@dataclass
class Operation:
    """One system call: the lines at which it began and ended; `end` is None if it never did."""

    call: str
    begin: int
    name: str = ""
    end: int | None = None
    offset: int = 0
    data: bytes = b""
    result: int = 0

    def ended_before(self, line: int) -> bool:
        """Tell whether the call had returned when this line was written."""
        return self.end is not None and self.end < line


@dataclass
class Recording:
    """The operations on the database's files in their order, and at which line which event was acknowledged."""

    operations: list[Operation] = field(default_factory=list)
    acknowledged: dict[int, int] = field(default_factory=dict)
    """Event id → line at which the first byte of its answer was handed to the kernel."""
    lines: int = 0

    def syncs(self, *names: str) -> list[Operation]:
        """Return the calls that waited for the disk for one of these files."""
        return [item for item in self.operations if item.call == "sync" and item.name in names]


def read(log: Path, folder: Path, database: str = "inbox.db") -> Recording:
    """Return what the log says of the database in the folder. Files are named without their folder, it itself is ""."""
    reader = _Reader(folder, database)
    with log.open() as lines:
        for number, line in enumerate(lines):
            reader.line(number, line)
            reader.recording.lines = number + 1
    return reader.recording


class _Reader:
    def __init__(self, folder: Path, database: str) -> None:
        self.recording = Recording()
        self._folder = str(folder)
        self._database = database
        self._unfinished: dict[str, Operation] = {}
        self._answers: dict[str, int] = {}
        self._there: set[str] = set()
        self._ours = _escaped(f"{folder}/{database}"), f"<{_escaped(self._folder)}>"

    def line(self, number: int, line: str) -> None:
        resumed = _RESUMED.match(line)
        if resumed:
            operation = self._unfinished.pop(resumed[1], None)
            if operation is not None:
                self._end(operation, number, resumed[3])
            return
        begun = _BEGUN.match(line)
        if begun is None:
            return
        if "<TCP:[" in line:
            self._answer(number, begun[3])
        elif self._ours[0] in line or (self._ours[1] in line and "sync(" in line):
            self._begin(number, begun)

    def _begin(self, number: int, begun: re.Match[str]) -> None:
        pid, call, rest = begun.groups()
        assert call in KNOWN, f"{call} is not understood: {rest[:200]}"
        operation = _OPERATIONS[call](number, rest)
        operation.name = operation.name.removeprefix(self._folder).lstrip("/")
        if operation.name.endswith("-shm"):
            return
        if rest.rstrip().endswith("<unfinished ...>"):
            self._unfinished[pid] = operation
        else:
            self._end(operation, number, rest)
        self.recording.operations.append(operation)

    def _end(self, operation: Operation, number: int, rest: str) -> None:
        found = re.search(r"\) += (-?\d+)", rest)
        operation.result = int(found[1]) if found else -1
        operation.end = number
        if operation.call == "open":
            new = operation.result >= 0 and operation.name not in self._there
            operation.call = "create" if new and operation.data == b"O_CREAT" else "none"
            self._there |= {operation.name} if operation.result >= 0 else set()
        elif operation.result < 0:
            operation.call = "none"
        elif operation.call == "unlink":
            self._there.discard(operation.name)
        elif operation.call == "write":
            operation.data = operation.data[: operation.result]

    def _answer(self, number: int, rest: str) -> None:
        socket = _SOCKET.search(rest)
        assert socket is not None, rest
        text = b"".join(_texts(rest))
        if text.startswith(b"HTTP/1.1 2"):
            self._answers[socket[1]] = number
        for _, event in _ID.findall(text):
            self.recording.acknowledged.setdefault(int(event), self._answers.get(socket[1], number))


def _escaped(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def _texts(rest: str) -> Iterator[bytes]:
    for hexadecimal, cut in _TEXT.findall(rest):
        assert not cut, "strace shortened what was written"
        yield bytes.fromhex(hexadecimal.replace("\\x", ""))


def _named(rest: str) -> str:
    found = _FILE.match(rest)
    assert found, rest[:200]
    assert not found[2], f"a call on a file that is gone: {rest[:200]}"
    return bytes.fromhex(found[1].replace("\\x", "")).decode()


def _opened(number: int, rest: str) -> Operation:
    path = _TEXT.search(rest)
    assert path is not None
    flag = b"O_CREAT" if "O_CREAT" in rest else b""
    return Operation("open", number, bytes.fromhex(path[1].replace("\\x", "")).decode(), data=flag)


def _written(number: int, rest: str) -> Operation:
    (data,) = _texts(rest)
    offset = re.search(r'", \d+, (\d+)', rest)
    assert offset is not None, rest[-100:]
    return Operation("write", number, _named(rest), offset=int(offset[1]), data=data)


def _truncated(number: int, rest: str) -> Operation:
    size = re.search(r">, (\d+)", rest)
    assert size is not None, rest
    return Operation("truncate", number, _named(rest), offset=int(size[1]))


_OPERATIONS: dict[str, Callable[[int, str], Operation]] = {
    "openat": _opened,
    "pwrite64": _written,
    "ftruncate": _truncated,
    "fsync": lambda number, rest: Operation("sync", number, _named(rest)),
    "fdatasync": lambda number, rest: Operation("sync", number, _named(rest)),
    "unlink": lambda number, rest: Operation("unlink", number, next(_texts(rest)).decode()),
}
