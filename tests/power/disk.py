"""A disk that loses its power: which contents the database's files can have after it comes back.

What a completed fsync covers is there. Of what came later anything may be there or not: each write, each 512-byte
sector of it, in any order, with or without the file's new size; and of new and deleted names as many as the folder's
journal got to. https://sqlite.org/atomiccommit.html (section 2) states the same assumptions.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from random import Random

from tests.power.recording import Operation, Recording

SECTOR = 512

Piece = tuple[int, bytes]
"""Offset and bytes; a truncation is the new size and no bytes."""

Choice = Callable[[list[Piece]], list[Piece]]


@dataclass
class _File:
    """An inode: what is surely there, what may be, and how often the former has changed."""

    number: int
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Operation] = field(default_factory=list)
    changed: int = 0

    def synced(self, begin: int) -> None:
        for operation in [item for item in self.pending if item.ended_before(begin)]:
            apply(self.durable, [piece(operation)])
            self.pending.remove(operation)
            self.changed += 1


@dataclass
class State:
    """Files as a disk could show them. `key` is equal for equal contents; `how` says what was chosen."""

    key: tuple[object, ...]
    how: str
    _files: dict[str, tuple[bytearray, Sequence[Piece]]]

    def contents(self) -> dict[str, bytes]:
        """Return the files by their names."""
        return {name: bytes(apply(bytearray(durable), pieces)) for name, (durable, pieces) in self._files.items()}

    def lay_down(self, folder: Path) -> None:
        """Write the files into an empty folder."""
        for name, content in self.contents().items():
            (folder / name).write_bytes(content)


class Disk:
    """The disk under a recording; `advance` lets time go on until a line, `states` are what it could show there."""

    def __init__(self, recording: Recording) -> None:
        self._numbers = count()
        self._names: dict[str, _File] = {}
        self._durable_names: dict[str, _File] = {}
        self._pending_names: list[tuple[Operation, _File]] = []
        self._ahead = self._timeline(recording.operations)
        self._next: tuple[int, Operation, bool] | None = next(self._ahead, None)

    def advance(self, line: int) -> None:
        """Let everything happen that happened before this line."""
        while self._next is not None and self._next[0] < line:
            _, operation, ended = self._next
            self._happen(operation, ended)
            self._next = next(self._ahead, None)

    @property
    def pending(self) -> int:
        """Return how many writes the disk may or may not have now."""
        return sum(len(file.pending) for file in self._names.values())

    def states(self, random: Random, chosen: int) -> Iterator[State]:
        """Yield the extremes, and so many states chosen at random."""
        yield self._state("none", lambda items: [], names=0)
        if not self.pending and not self._pending_names:
            return
        yield self._state("all", list, names=None)
        yield self._state("only the last", lambda items: items[-1:], names=None)
        yield self._state("all but the last", lambda items: items[:-1], names=None)
        for number in range(chosen):
            odds, torn = random.random(), number % 2 == 1
            names = random.randint(0, len(self._pending_names))
            how = f"random {'sectors' if torn else 'writes'}, odds {odds:.2f}, names {names}"
            choose = partial(_some, random=random, odds=odds, torn=torn)
            yield self._state(how, choose, names=names, grow=number % 3 == 0)

    def _state(self, how: str, choose: Choice, names: int | None, *, grow: bool = False) -> State:
        """Return the state in which each file has the pieces that `choose` returns, and as many names are settled.

        With `grow` files have the size that all writes would give them, and zeros where one is missing.
        """
        there = dict(self._durable_names)
        for operation, file in self._pending_names[:names]:
            _rename(there, operation, file)
        files: dict[str, tuple[bytearray, Sequence[Piece]]] = {}
        keys: list[object] = []
        for name, file in sorted(there.items()):
            pieces = choose(_all(file))
            if grow:
                pieces.append((max(len(file.durable), *(at + len(data) for at, data in _all(file)), 0), b""))
            files[name] = (file.durable, pieces)
            keys.append((name, file.number, file.changed, tuple((offset, hash(data)) for offset, data in pieces)))
        return State(tuple(keys), how, files)

    def _happen(self, operation: Operation, ended: bool) -> None:
        if operation.call in ("create", "unlink") and ended:
            file = _File(next(self._numbers)) if operation.call == "create" else self._names[operation.name]
            _rename(self._names, operation, file)
            self._pending_names.append((operation, file))
        elif operation.call in ("write", "truncate") and not ended:
            self._names[operation.name].pending.append(operation)
        elif operation.call == "sync" and ended and operation.name:
            self._names[operation.name].synced(operation.begin)
        elif operation.call == "sync" and ended:
            for item in [item for item in self._pending_names if item[0].ended_before(operation.begin)]:
                _rename(self._durable_names, *item)
                self._pending_names.remove(item)

    @staticmethod
    def _timeline(operations: Iterable[Operation]) -> Iterator[tuple[int, Operation, bool]]:
        """Yield each operation at its begin, and again at its end, in the order of lines."""
        moments = [(item.begin, item, False) for item in operations]
        moments += [(item.end, item, True) for item in operations if item.end is not None]
        return iter(sorted(moments, key=lambda moment: (moment[0], moment[2])))


def piece(operation: Operation) -> Piece:
    """Return what a write or a truncation does to the bytes of its file."""
    return operation.offset, operation.data


def _all(file: _File) -> list[Piece]:
    return [piece(operation) for operation in file.pending]


def apply(content: bytearray, pieces: Iterable[Piece]) -> bytearray:
    """Change the content as the pieces say, and return it; what was never written is zero."""
    for offset, data in pieces:
        end = offset + len(data)
        if len(content) < end:
            content.extend(bytes(end - len(content)))
        if data:
            content[offset:end] = data
        else:
            del content[offset:]
    return content


def _rename(names: dict[str, _File], operation: Operation, file: _File) -> None:
    if operation.call == "create":
        names[operation.name] = file
    else:
        names.pop(operation.name, None)


def _some(pieces: list[Piece], random: Random, odds: float, torn: bool) -> list[Piece]:
    """Return some of the pieces, or of their sectors, half of the time in another order."""
    if torn:
        pieces = [part for whole in pieces for part in sectors(whole)]
    chosen = [item for item in pieces if random.random() < odds]
    if random.random() < 0.5:
        random.shuffle(chosen)
    return chosen


def sectors(whole: Piece) -> Iterator[Piece]:
    """Yield a write in parts that do not cross a sector's boundary."""
    offset, data = whole
    if not data:
        yield whole
    while data:
        length = SECTOR - offset % SECTOR
        yield offset, data[:length]
        offset, data = offset + length, data[length:]
