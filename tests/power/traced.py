"""The real receiver and worker under strace, and clients that know what was acknowledged."""

import http.client
import json
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from inbox.cli.send import signed
from inbox.core.config.settings import load
from inbox.verify.providers import build
from tests.power.recording import tracing
from tests.support.place import Place, eventually

CLIENTS = 6
HANDLER = """
from inbox import Event, handles
from ._noted import noted

@handles("roomz")
@noted
def seen(event: Event) -> str:
    return event.key
"""
WEAKENED = """
from inbox.store.sqlite.connection import Connection

real = Connection._open

def weakened(self):
    database = real(self)
    database.conn.execute("PRAGMA synchronous = {level}")
    return database

Connection._open = weakened
"""


@dataclass
class Traced:
    """A place whose processes are traced, and what it acknowledged: event id → body."""

    place: Place
    log: Path
    bodies: dict[int, bytes] = field(default_factory=dict)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self, *command: str) -> Iterator[None]:
        """Run the command under strace, and wait for the end of its log."""
        self.place.prefix = tracing(self.log)
        self.place.start(*command)
        yield
        self.place.stop()
        self.place.prefix = []
        eventually(lambda: not self._traced(), "strace has written its log")

    def send(self, times: int) -> None:
        """Send so many new events over several connections, and remember those that were acknowledged."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            for _ in pool.map(self._client, [times // CLIENTS] * CLIENTS):
                pass

    def _client(self, times: int) -> None:
        settings = load(self.place.folder / "inbox.toml")
        provider = build(settings.sources["roomz"])
        connection = http.client.HTTPConnection("127.0.0.1", self.place.port, timeout=30)
        for number in range(times):
            body = json.dumps(sample(number)).encode()
            request = signed(provider, "", body, at=time.time())
            connection.request("POST", "/in/roomz", request.body, dict(request.headers))
            response = connection.getresponse()
            answer = json.loads(response.read())
            assert (200, "accepted") == (response.status, answer.get("status")), answer
            with self._mutex:
                self.bodies[answer["id"]] = body
        connection.close()

    def _traced(self) -> bool:
        """Tell whether strace still writes: it ends when the last process that it watches has ended."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if str(self.log).encode() in path.read_bytes():
                    return True
        return False


def sample(number: int) -> dict[str, object]:
    """Return a payload whose size differs from one to the next: within a page, and over several."""
    padding = "x" * (20, 300, 3000, 20, 9000)[number % 5]
    return {"id": str(uuid.uuid4()), "type": "t", "timestamp": "2026-01-01T00:00:00Z", "data": {"padding": padding}}


def record(folder: Path, events: int, *, weakened: str = "", seal_key: str = "") -> Traced:
    """Record a receiver from its first start; unless weakened, then receiver and worker together on the same data.

    `weakened` is the level of `PRAGMA synchronous` that every connection is given instead of its own. With a `seal_key`
    there is no worker either.
    """
    (folder / "place").mkdir()
    traced = Traced(Place(folder / "place"), folder / "strace.log")
    place = traced.place
    place.configure(
        worker="lease = 1.0", sources='[sources.roomz]\nprovider = "roomz"\nsecrets = ["env:ROOMZ_WEBHOOK_SECRET"]\n'
    )
    place.only_handler("own", HANDLER)
    if seal_key:
        place.seal(seal_key)
    if weakened:
        (place.folder / "sitecustomize.py").write_text(WEAKENED.format(level=weakened))
        place.environment["PYTHONPATH"] = str(place.folder)
    try:
        with traced.running("serve"):
            traced.send(events)
        if not weakened and not seal_key:
            with traced.running("run"):
                traced.send(events)
                done = 2 * events
                eventually(lambda: place.log_text().count("event=delivery.succeeded") >= done, "everything is handled")
    finally:
        place.close()
    return traced
