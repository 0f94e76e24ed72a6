"""The handlers of the torture: each does what its event's payload says, and writes down what it did.

This file is copied into the scratch folder. One write to a file opened with O_APPEND is one line, whoever else
writes, and what was written stays when the process is killed: only the machine's own end could lose it.
"""

import json
import os
import resource
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

from inbox import Event, Retry, handles

JOURNAL = Path(__file__).parent.parent / "effects.jsonl"
DAMAGE = Path(__file__).parent.parent / "damage"


class Untold(Exception):
    """An error whose text cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Unread(dict[str, int]):
    """A result that cannot be read."""

    def items(self) -> NoReturn:
        """Raise an error."""
        raise KeyError("no items")


def note(step: str, event: Event) -> None:
    """Write a line."""
    names = ("handler", "source", "key", "attempt")
    line = {"step": step, "event": event.id, **{name: getattr(event, name) for name in names}, "pid": os.getpid()}
    file = os.open(JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(file, json.dumps(line).encode() + b"\n")
    finally:
        os.close(file)


def damage(event: Event) -> None:
    """Damage this process as the file `damage` says, if it is there; whoever takes it away first does."""
    mine = DAMAGE.with_name(f"damage.{os.getpid()}")
    with suppress(FileNotFoundError):
        DAMAGE.replace(mine)
        kind = mine.read_text("utf-8")
        mine.unlink()
        note("damage", event)
        if kind == "descriptors":
            os.closerange(3, 256)
        elif kind == "limit":
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        elif kind == "folder":
            os.chdir("/")
        elif kind == "stderr":
            sys.stderr.close()
        else:
            os.fork()  # both go on from here


@handles("*", "doomed", attempts=2, backoff=0.2)
@handles("*", "hangs", attempts=50, timeout=1.0, backoff=0.5, max_backoff=1.0)
@handles("*", attempts=50, backoff=0.5, max_backoff=1.0)
def work(event: Event) -> dict[str, int]:
    """Fail as often as the payload says, else work for a while and succeed."""
    note("begin", event)
    if event.type == "hangs" and event.attempt == 1:
        time.sleep(30)
    failures = event.payload["failures"]
    if event.type == "doomed" or event.attempt <= failures:
        note("raise", event)
        if event.id % 2:
            raise Retry("asked to", after=timedelta(seconds=0.1))
        raise Untold
    time.sleep(event.payload["pause"])
    note("end", event)
    time.sleep(event.payload["pause"] / 4)  # a moment to die in between the work and its record
    damage(event)
    return Unread(attempt=event.attempt) if event.id % 3 == 0 else {"attempt": event.attempt}


@handles("plain", attempts=50, backoff=0.5, max_backoff=1.0)
def sibling(event: Event) -> None:
    """Succeed at once, whatever happens to the other handler of the same event."""
    note("begin", event)
    note("end", event)
