"""What happened, as the ones who did it wrote it down: the client, the handler, and who killed. One JSON line each.

The store is believed in nothing that these can tell. Next: `inbox.tools.torture.evidence` puts them beside the
database.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

CLIENT, EFFECTS, FAULTS = "client.jsonl", "effects.jsonl", "faults.jsonl"


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of one request that the client sent.

    kind     fresh, copy, late or conflict; forged for one that must not be believed
    digest   SHA-256 of the body, hex
    fate     what is to become of the event: succeeded, or dead because its handler gives up on it
    http     the status of the answer, 0 if there was none: the event may be stored or not
    outcome  accepted, duplicate, conflict or quarantined; the error's code, or the name of what broke the connection
    id       the event's id, 0 if none was told
    """

    at: float
    kind: str
    source: str
    key: str
    digest: str
    fate: str
    http: int
    outcome: str
    id: int

    @property
    def acknowledged(self) -> bool:
        """Tell whether the sender may forget this event, because it is the inbox's now."""
        return 200 <= self.http <= 299


@dataclass(frozen=True, slots=True)
class Effect:
    """What a handler wrote: "begin", then "end" when its work was done, or "raise" when it gave up on purpose."""

    step: str
    event: int
    handler: str
    source: str
    key: str
    attempt: int
    pid: int


@dataclass(frozen=True, slots=True)
class Fault:
    """What was done to the inbox, and when. "damage" is what a handler was told to do to its process.

    what   "kill" or "stop" of a process, "delete" or "block" of the queue, "unlink" of the database's log, "damage",
           "stall" of the machine

    what   "kill" or "stop" of a process, "delete" of the queue, "unlink" of the database's log, "stall" of the machine
    role   what the process was, as in "worker child"
    until  when a stopped process, or the machine, went on, or when every process was replaced that had the log open;
           the same as `at` for everything else
    """

    at: float
    until: float
    what: str
    role: str
    pid: int = 0


Record = TypeVar("Record", Reply, Effect, Fault)


class Journal:
    """A file of lines that is only ever added to; several threads may write."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._mutex = threading.Lock()

    def add(self, record: Reply | Effect | Fault) -> None:
        """Write a line."""
        line = json.dumps(asdict(record)) + "\n"
        with self._mutex:
            self._file.write(line)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path, kind: type[Record]) -> list[Record]:
    """Return the records of a file, none if it is not there. Raises ValueError for a line that is not one."""
    return [kind(**line) for line in _lines(path)]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        yield from map(json.loads, path.read_text("utf-8").splitlines())
