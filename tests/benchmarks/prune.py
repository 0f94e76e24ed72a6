"""`python -m tests.benchmarks.prune`: what pruning and backup do to the answers of a real inbox under a steady load.

Prints a Markdown table: the time of answers without, with `inbox prune` and with `inbox backup` beside them, in turns,
so that a busy machine is busy for all of them. The stored bodies have 6 KB, and are 90 days old.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from inbox.store.sqlite import open_work
from inbox.store.sqlite.connection import Connection
from tests.support.crowd import send, settle
from tests.support.place import Place

SENDERS = 6
RATE = 100.0
"""Requests per second, all senders together."""

DAY = 86400.0
BESIDE: dict[str, list[str]] = {
    "nothing": [],
    "inbox prune": ["prune"],
    "inbox backup": ["backup", "--force", "copy.db"],
}


def fill(path: Path, count: int, *, size: int = 6000) -> None:
    """Store so many events that were handled long ago."""
    open_work(path).close()
    connection, begun = Connection(path, durable=False), time.time() - 90 * DAY
    for first in range(0, count, 1000):
        with connection.write() as raw:
            for number in range(first, min(first + 1000, count)):
                body = json.dumps({"id": f"old {number}", "data": os.urandom(size // 2).hex()}).encode()
                digest = sha256(body).digest()
                row = raw.execute(
                    "INSERT INTO events (source, key, type, status, received_at, size, body_digest, content_digest, "
                    "verified_by) VALUES ('acme', ?, '', 'succeeded', ?, ?, ?, ?, 'token') RETURNING id",
                    (f"old {number}", begun + number, len(body), digest, digest),
                ).fetchone()
                raw.execute(
                    "INSERT INTO bodies (event_id, method, path, query, headers, remote, body) "
                    "VALUES (?, 'POST', '', '', '[]', '', ?)",
                    (row["id"], body),
                )
    connection.close()


def answers(place: Place, turn: str, seconds: float) -> list[float]:
    """Send at a steady rate for so many seconds, and return how long each answer took, in milliseconds."""
    took: list[float] = []
    end = time.monotonic() + seconds

    def sender(number: int) -> None:
        due, count = time.monotonic(), 0
        while due < end:
            time.sleep(max(0.0, due - time.monotonic()))
            due, count, begun = due + SENDERS / RATE, count + 1, time.perf_counter()
            assert send(place, f"{turn} {number} {count}", 1500).status == 200
            took.append((time.perf_counter() - begun) * 1000)

    threads = [threading.Thread(target=sender, args=(number,)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(took)


def measure(place: Place, rounds: int, seconds: float) -> dict[str, list[tuple[float, float]]]:
    """Return the median and the 99th percentile of each turn, by what went on beside it."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for turn in range(rounds):
        for name, command in BESIDE.items():
            begun = [sys.executable, "-m", "inbox", *command] if command else ["sleep", "3600"]
            with subprocess.Popen(begun, cwd=place.folder, env=place.environment, stdout=subprocess.DEVNULL) as beside:
                time.sleep(1.0)  # until it is there
                took = answers(place, f"{turn} {name}", seconds)
                beside.terminate()
            found[name].append((statistics.median(took), took[int(len(took) * 0.99)]))
    return found


def main(given: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.prune", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="stored events (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn (%(default)s)")
    options = parser.parse_args(given)
    with TemporaryDirectory(dir=Path()) as folder:
        place = Place(Path(folder).absolute())
        settle(place)
        (path := place.folder / "inbox.toml").write_text(f"{path.read_text()}keep_bodies = {DAY}\n")
        fill(place.folder / "inbox.db", options.events)
        place.start("serve")  # without a worker, which would prune by itself in the turns that are to be without
        try:
            found = measure(place, options.rounds, options.seconds)
        finally:
            place.close()
    print("| beside the answers | p50 ms | p99 ms |\n|---|---|---|")  # noqa: T201
    for name, turns in found.items():
        p50, p99 = (
            f"{statistics.median(turn):.1f} ({min(turn):.1f}–{max(turn):.1f})" for turn in zip(*turns, strict=True)
        )
        print(f"| {name} | {p50} | {p99} |")  # noqa: T201


if __name__ == "__main__":
    main()
