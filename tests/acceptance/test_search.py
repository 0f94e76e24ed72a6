"""A real worker indexes what a real receiver took, goes on after it was killed, and empties what is not wanted."""

import sqlite3
from contextlib import closing

from inbox.store.sqlite import open_finding, open_work
from tests.store.test_event_index import _EVENT
from tests.support.place import Place, descendants, eventually

MANY = 1500


def pending(place: Place) -> int:
    """Return how many events are not indexed yet."""
    finding = open_finding(place.settings.database)
    try:
        return finding.unseen().pending
    finally:
        finding.close()


def test_workers_index_and_go_on_after_a_kill(place: Place) -> None:
    """Killed in the middle, all of them: the next ones index the rest, and each event is found once."""
    place.configure(worker="processes = 2")
    open_work(place.settings.database).close()
    with closing(sqlite3.connect(place.settings.database)) as connection:
        rows = ((n, "roomz", str(n), f"type.qword{n}", "unhandled", 1.0) for n in range(1, MANY + 1))
        connection.executemany(_EVENT, rows)
        connection.execute("UPDATE events SET body_pruned_at = 1.0")
        connection.commit()
    place.start("worker")
    eventually(lambda: 0 < pending(place) < MANY, f"a worker has begun; {place.log_text()}")
    place.kill(*descendants(place.pid), place.pid)
    place.stop()
    left = pending(place)
    place.start()
    place.send("roomz")
    eventually(lambda: pending(place) == 0, f"all is indexed; {place.log_text()}", 60.0)
    assert [[MANY + 1], [7], MANY] == [
        [row["id"] for row in place.json("events", "--text", "workspace")],
        [row["id"] for row in place.json("events", "--text", "type.qword7")],
        len(place.json("events", "--text", "qword*", "--limit", "100000")),
    ]
    assert left > 0
    place.stop()
