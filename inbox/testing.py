"""For tests of handlers and sources: a whole inbox in a folder, with a clock that stands still and no server.

Everything in it is real (verification, schemas, SQLite, deliveries) but the queue, which waits to be asked:

    def test_presence_is_kept(tmp_path):
        with Inbox(tmp_path, handlers="handlers") as inbox:
            answer = inbox.receive("roomz")
            inbox.run()
            assert inbox.event(answer.id)["status"] == "succeeded"
"""

import heapq
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType, TracebackType
from typing import Any

from inbox.cli.send import signed
from inbox.core.config.settings import InboxSettings, Settings, SourceSettings
from inbox.core.elapsed import Clocks
from inbox.core.models import Event, Payload, Request, Secret, utc
from inbox.deliver.dispatcher import Dispatcher
from inbox.receive.receiver import Answer, payload_of, redact_headers
from inbox.replay.planner import Replayed
from inbox.runtime import Runtime
from inbox.store.protocols import Filter
from inbox.store.sqlite import open_archive
from inbox.ui.services import actions
from inbox.verify.event_key import content_digest
from inbox.verify.providers import PROVIDERS, build
from inbox.verify.providers.base import Provider, encode

NOW = 1_767_225_600.0
"""Where the clock stands: 2026-01-01T00:00:00Z."""

SECRET = "webhook-inbox-test-secret-000000"
"""The secret of every source here that is not given another: 32 bytes, as AES needs."""

_READY = ("roomz", "roomle", "breakcold", "breakcold_v2", "lemlist", "rootfi", "romify")


class ManualQueue:
    """A queue in memory that hands out its messages when it is asked."""

    def __init__(self, clock: "Clock") -> None:
        self._clock = clock
        self._waiting: list[tuple[float, int, str, int]] = []
        self._number = 0

    def event(self, event_id: int) -> None:
        """Have an event routed."""
        self._add("event", event_id, 0.0)

    def wake(self, after: float = 0.0) -> None:
        """Have somebody look for work, `after` seconds from now."""
        self._add("work", 0, after)

    def take(self) -> tuple[str, int] | None:
        """Return the next message that is due, None if there is none."""
        if not self._waiting or self._waiting[0][0] > self._clock():
            return None
        _, _, kind, number = heapq.heappop(self._waiting)
        return kind, number

    def problem(self) -> str:
        """Return why it cannot be used: never."""
        return ""

    def lose(self) -> None:
        """Forget every message, as a deleted queue file does."""
        self._waiting.clear()

    def _add(self, kind: str, number: int, after: float) -> None:
        self._number += 1
        heapq.heappush(self._waiting, (self._clock() + after, self._number, kind, number))


class Clock:
    """A clock that stands still until it is moved. `jumped` is by how much it was set, rather than that time passed."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now
        self.jumped = 0.0

    def steady(self) -> float:
        """Return the time on a clock that nobody sets."""
        return self.now - self.jumped

    def clocks(self) -> Clocks:
        """Return both, as a machine has them that a time server keeps right."""
        return Clocks(self.now, self.steady(), "test", True)

    def __call__(self) -> float:
        """Return Unix seconds."""
        return self.now


class _Runtime(Runtime):
    queue: ManualQueue  # type: ignore[assignment]
    wakes: Callable[[int], None]  # type: ignore[assignment]
    unusable = MappingProxyType({})  # a module that ends the process ends the test, visibly


class Inbox:
    """An inbox whose database lies in `folder`.

    handlers  folder of handler files, none if not given
    schemas   folder of schemas; default: the ones that are shipped
    sources   settings per source name, as in inbox.toml, but with secrets in the clear; default: one source per
              seed sender, called as its provider, with SECRET
    """

    def __init__(
        self,
        folder: Path,
        *,
        handlers: str | Path | None = None,
        schemas: str | Path | None = None,
        sources: Mapping[str, Mapping[str, Any]] | None = None,
        now: float = NOW,
    ) -> None:
        self.clock = Clock(now)
        places = InboxSettings(
            handlers=str(Path(handlers).absolute() if handlers is not None else _empty(folder / "handlers")),
            schemas=str(Path(schemas).absolute() if schemas is not None else _shipped_schemas()),
        )
        chosen = {name: {"provider": name} for name in _READY} if sources is None else sources
        settings = Settings(folder, places, sources={name: _source(name, table) for name, table in chosen.items()})
        lay_database(settings.database)
        self.runtime = _Runtime(settings, clock=self.clock, steady=self.clock.steady, clocks=self.clock.clocks)
        self.queue = self.runtime.queue = ManualQueue(self.clock)
        self.runtime.wakes = self.queue.event
        self._dispatcher: Dispatcher | None = None

    def receive(
        self,
        source: str,
        payload: Payload | bytes | None = None,
        *,
        type: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request that the sender would send: around a payload (JSON value or bytes), else around a sample.

        Raises Refused and StoreError as the endpoint would answer them.
        """
        request = self.signed(source, payload, type=type).with_headers(headers or {})
        return self.accept(source, request)

    def signed(self, source: str, payload: Payload | bytes | None = None, *, type: str = "") -> Request:
        """Return the request that `receive` sends."""
        body = payload if isinstance(payload, bytes) or payload is None else encode(payload)
        return signed(self.runtime.sources[source], type, body, at=self.clock())

    def accept(self, source: str, request: Request) -> Answer:
        """Hand over a request as it stands."""
        return self.runtime.receiver.accept(source, request, lambda limit: request.body)

    @property
    def dispatcher(self) -> Dispatcher:
        """Return the worker's dispatcher; the handlers are loaded when it is first asked for."""
        if self._dispatcher is None:
            self._dispatcher = self.runtime.make_dispatcher(self.queue)
        return self._dispatcher

    def reload(self) -> None:
        """Load the handlers again, as a worker does when it starts."""
        self.runtime.__dict__.pop("registry", None)
        if self._dispatcher is not None:
            self._dispatcher.close()
            self._dispatcher = None
        self.dispatcher.sweep()

    def run(self, limit: int = 1000) -> int:
        """Work on everything that is due now, and return how many messages that were. Raises after `limit`."""
        dispatcher = self.dispatcher
        for done in range(limit):
            if self.queue.take() is None:
                return done
            dispatcher.work()
        raise RuntimeError(f"there is still work after {limit} messages")

    def sweep(self) -> int:
        """Look for work that nobody was told about, and return how much there was."""
        return self.dispatcher.sweep()

    def index(self) -> int:
        """Make the words of all events findable, as a worker does meanwhile, and return how many steps that took."""
        return self.runtime.indexer.catch_up()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.now += seconds

    def set_clock(self, seconds: float) -> None:
        """Set the clock forward or back, as an administrator or NTP does, while no time passes."""
        self.clock.now += seconds
        self.clock.jumped += seconds

    def event(self, event_id: int) -> dict[str, Any]:
        """Return everything about an event. Raises NotFound."""
        return self.runtime.archive.event(event_id)

    def events(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return the events that match a Filter's fields, newest first."""
        return self.runtime.archive.events(Filter(**wanted), 1000)

    def replay(self, event_id: int, handler: str | None = None, *, force: bool = False) -> Replayed:
        """Run an event again, for all its handlers or one."""
        runtime = self.runtime
        runtime.__dict__.pop("registry", None)
        number = actions.begin(
            runtime,
            "replay",
            who="test",
            why="",
            ids=[event_id],
            handler=handler,
            force=force,
            known=None if handler is None else [handler],
            hold=1.0,
        )
        done = runtime.performer.step(runtime.acting.action(number), 2)
        assert done, "nobody else does this"
        self.queue.wake()
        return done[0]

    def close(self) -> None:
        """Close the database."""
        for name in ("inlet", "archive", "acting", "finding", "indexer", "watching", "presence"):
            if name in self.runtime.__dict__:
                getattr(self.runtime, name).close()
        if self._dispatcher is not None:
            self._dispatcher.close()

    def __enter__(self) -> "Inbox":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def sample(source: str, payload: Payload | None = None, *, type: str = "", now: float = NOW, id: str = "1") -> Event:
    """Return an event such as a handler gets from the sender, to call a handler with directly; nothing is stored."""
    provider = build(_source(source, {"provider": source}))
    if payload is None:
        payload = provider.sample(type, id=id, at=now)
    request = provider.sign(provider.compose(encode(payload), type, id=id, at=now), at=now)
    verified = provider.verify(request, at=now)
    request = _redacted(provider, request)
    found = payload_of(provider, request)
    key = provider.key_of(request, found, verified, content_digest(request))
    return Event(1, source, provider.type_of(request, found), key, found, request, utc(now), handler="test.handler")


def lay_database(path: Path) -> None:
    """Put a new, empty database there if there is none: a copy, since making one takes five times as long."""
    if not path.exists():
        path.write_bytes(_new_database())


@cache
def _new_database() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "inbox.db")
        open_archive(path).close()
        return path.read_bytes()


def _redacted(provider: Provider, request: Request) -> Request:
    request = provider.redact(request)
    return request.replace(headers=redact_headers(request.headers))


def _source(name: str, table: Mapping[str, Any]) -> SourceSettings:
    options = dict(table)
    provider = options.pop("provider")
    secrets = options.pop("secrets", [SECRET] if PROVIDERS[provider].needs_secret else [])
    if provider == "roomle":
        options = {"api_key": Secret("test-api-key"), **options}
    return SourceSettings(name, provider, tuple(Secret(secret) for secret in secrets), options)


def _shipped_schemas() -> Path:
    packaged = Path(__file__).parent / "project" / "schemas"
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "schemas"


def _empty(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder
