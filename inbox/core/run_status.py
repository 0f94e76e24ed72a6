"""What a running `inbox run` says of itself, in a file beside the database: whom to ask, and what it started from."""

import fcntl
import json
from pathlib import Path
from typing import NamedTuple


class RunStatus(NamedTuple):
    """Whom to ask, how many reloads ended so far, and what was wrong with the last.

    stale   why the files on disk would not start, "" if they would as far as that is known
    at      when what runs was read, in Unix time
    digest  of what runs
    """

    pid: int
    ended: int
    problem: str
    stale: str = ""
    at: float = 0.0
    digest: str = ""


def place(database: Path) -> Path:
    """Return where the file of a database's supervisor is."""
    return database.with_name(f".{database.name}-supervisor")


def notice(path: Path) -> RunStatus | None:
    """Return what the file says, None if no supervisor runs."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return RunStatus(*json.loads(file.read()))
    except (OSError, ValueError, TypeError):
        return None
    return None
