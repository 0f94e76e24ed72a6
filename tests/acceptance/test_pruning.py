"""A real worker prunes when its scheduler says so, and ends at once when it is told to, pruning or not."""

import time
from datetime import datetime
from hashlib import sha256

from inbox.deliver.queue import Queue
from inbox.operate.retention import STEP_ROWS
from inbox.store.sqlite import open_work
from inbox.store.sqlite.connection import Connection
from tests.support.place import Place, eventually

EVENTS = 3 * STEP_ROWS
BODY = """
INSERT INTO bodies (event_id, method, path, query, headers, remote, body) VALUES (?, 'POST', '', '', '[]', '', x'7b7d')
"""
OLD = """
INSERT INTO events (source, key, type, status, received_at, size, body_digest, content_digest, verified_by)
VALUES ('roomz', ?, '', 'succeeded', 100.0, 2, ?, ?, '')
"""


def test_a_worker_prunes_on_schedule_and_stops_in_the_middle_of_it(place: Place) -> None:
    """What is due every minute by the crontab is put into the queue as the scheduler does; SIGTERM need not wait.

    After its first step the pruning thread pauses for longer than any test lasts; the rest is there afterwards.
    """
    place.configure(worker="processes = 1")
    path = place.folder / "inbox.toml"
    text = path.read_text().replace("# keep_bodies = 0.0", "keep_bodies = 1.0").replace("# pause = 10.0", "pause = 1e7")
    path.write_text(text)
    open_work(place.settings.database).close()
    connection, digest = Connection(place.settings.database, durable=False), sha256(b"{}").digest()
    with connection.write() as raw:
        for number in range(1, EVENTS + 1):
            raw.execute(OLD, (f"k{number}", digest, digest))
            raw.execute(BODY, [number])
    place.inbox("clock", "confirm", "--count")
    place.start("worker")
    eventually(lambda: "event=handlers.loaded" in place.log_text(), f"the worker is ready; {place.log_text()}")
    queue = Queue(place.folder / "queue.db", lambda: None)  # type: ignore[arg-type, return-value]
    queue.every_minute("prune", lambda: None)
    for task in queue.huey.read_periodic(datetime.now()):  # noqa: DTZ005 – as huey's scheduler asks
        queue.huey.enqueue(task)
    queue.close()
    left = "SELECT count(*) FROM bodies"
    eventually(lambda: connection.rows(left)[0][0] < EVENTS, f"the worker prunes; {place.log_text()}")
    begun = time.monotonic()
    assert (0, True) == (place.stop(), time.monotonic() - begun < 5.0), place.log_text()
    assert ([(EVENTS - STEP_ROWS,)], [("ok",)]) == (
        [tuple(row) for row in connection.rows(left)],
        [tuple(row) for row in connection.rows("PRAGMA integrity_check")],
    )
    connection.close()
