"""A copy taken while events pour in, and an inbox that goes on from it: real processes, real HTTP."""

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

from tests.support.crowd import runs, send, settle
from tests.support.place import Place, eventually

SENDERS = 3


class Storm:
    """Senders that send as fast as they are answered; `answered` has the time of each acknowledgement by key."""

    def __init__(self, place: Place) -> None:
        self.answered: dict[str, float] = {}
        self.refused: list[object] = []
        self._place = place
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Let the senders end."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _send(self, number: int) -> None:
        count = 0
        while not self._over.wait(0.005):
            count += 1
            key = f"s{number}-{count}"
            answer = send(self._place, key, 2000)
            if answer.status == 200:
                self.answered[key] = time.monotonic()
            else:
                self.refused.append(answer)


def keys(path: Path, which: str = "true") -> set[str]:
    """Return the keys of the events in a database."""
    with closing(sqlite3.connect(path)) as connection:
        return {key for (key,) in connection.execute(f"SELECT key FROM events WHERE {which}")}


def test_copy_has_what_was_acknowledged_before_it_began(place: Place) -> None:
    """Taken in the middle of a storm that it does not stop; and an inbox restored from it does what waited."""
    settle(place)
    place.start()
    storm = Storm(place)
    try:
        eventually(lambda: len(storm.answered) > 100, "the storm is there")
        begun = time.monotonic()
        said = place.inbox("backup", "copy.db").stdout
        ended = time.monotonic()
        eventually(lambda: max(storm.answered.values()) > ended, "the storm goes on")
    finally:
        storm.end()
    copied = keys(place.folder / "copy.db")
    before = {key for key, at in storm.answered.items() if at < begun}
    during = {key for key, at in storm.answered.items() if begun < at < ended}
    assert (set(), []) == (before - copied, storm.refused)
    assert during, "nothing was answered while the copy was made"
    assert f"copy.db: {len(copied)} events, the newest " in said

    refused = place.inbox("restore", "copy.db", ok=False)
    assert (1, True) == (
        refused.returncode,
        "a receiver or worker of inbox.db is running: stop it first" in refused.stderr,
    )
    place.stop()
    refused = place.inbox("restore", "copy.db", ok=False)
    assert (1, True) == (refused.returncode, "inbox.db exists: move it away first" in refused.stderr)
    for path in [*place.folder.glob("inbox.db*"), *place.folder.glob("queue.db*")]:
        path.unlink()
    done = runs(place)
    waiting = keys(place.folder / "copy.db", "status <> 'succeeded'")
    assert f"inbox.db: {len(copied)} events, the newest " in place.inbox("restore", "copy.db").stdout
    place.start()
    restored = place.folder / "inbox.db"
    eventually(lambda: keys(restored, "status = 'succeeded'") == copied, "what waited in the copy is done")
    assert waiting == set(runs(place) - done)
    assert "duplicate" == send(place, min(before), 2000).word
