"""What every target does with an event: the owner's code, the same in all of them.

It appends a line to `effects.txt`, keeps the newest version of the event's entity in `state.db`, and stops before or
after that for as long as the file `hold-before` or `hold-after` is there, so that a crash can be put exactly there.
"""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

TABLE = "CREATE TABLE IF NOT EXISTS state (entity TEXT PRIMARY KEY, version INTEGER NOT NULL)"
LATEST = (
    "INSERT INTO state (entity, version) VALUES (?, ?) ON CONFLICT (entity) DO UPDATE SET version = excluded.version"
)
NEWEST = f"{LATEST} WHERE excluded.version > version"


def work(folder: Path, event: dict[str, Any], keep: str = NEWEST) -> None:
    """Do the work for one event; `keep` is the statement that writes the entity's state."""
    wait(folder, "before")
    time.sleep(0.002)
    if "entity" in event:
        with closing(sqlite3.connect(folder / "state.db", timeout=10, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = OFF")
            database.execute(TABLE)
            database.execute(keep, (event["entity"], event["version"]))
    line = f"{event['id']} {event['version']}\n".encode()
    file = os.open(folder / "effects.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, line)
    os.close(file)
    wait(folder, "after")


def wait(folder: Path, when: str) -> None:
    """Say that the work is at this point, and stay there until the file is gone."""
    hold = folder / f"hold-{when}"
    if hold.exists():
        (folder / "held").touch()
    while hold.exists():
        time.sleep(0.005)
