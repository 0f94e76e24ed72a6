"""The one place that wires everything: Settings → receiver, worker, archive. The only place that asks the clock.

A part's module is imported when the part is made: a look at the list of events needs neither schemas nor handlers.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from inbox.config import Settings, SourceSettings, load, locate
from inbox.errors import ConfigError, Malformed, StoreError
from inbox.models import HandlerSpec, Payload, Request
from inbox.parts import Once
from inbox.references import dotenv
from inbox.store import sqlite
from inbox.store.base import Inlet
from inbox.stores import Stores
from inbox.wakes import Wakes

if TYPE_CHECKING:
    from inbox.actions import Performer
    from inbox.delivery import Dispatcher, Wake
    from inbox.indexer import Indexer
    from inbox.ingest import Receiver
    from inbox.plugins import Registry
    from inbox.providers.base import Provider
    from inbox.queue import Queue
    from inbox.release import Releaser
    from inbox.replay import Replayer
    from inbox.retention import Pruner
    from inbox.validation import Schemas
    from inbox.watching import Watching

log = structlog.get_logger("inbox.runtime")

Clock = Callable[[], float]

PRUNING = "prune"
"""The name of the thread that prunes in a worker process."""


class Runtime(Stores):
    """An inbox with these settings.

    Parts are made when they are first asked for, so that each process opens only what it needs: the receiver never
    loads handlers, the worker never opens the receiver's side of the store.
    """

    def __init__(self, settings: Settings, *, clock: Clock = time.time, steady: Clock = time.monotonic) -> None:
        super().__init__(settings)
        self.clock = clock
        self.steady = steady

    @classmethod
    def from_environment(cls) -> "Runtime":
        """Return the inbox that INBOX_CONFIG or the working directory names. Raises ConfigError."""
        return cls(load(locate(os.environ)))

    @Once
    def sources(self) -> Mapping[str, "Provider"]:
        """Return the configured sources by name. Raises ConfigError."""
        from inbox.providers import build

        return {name: build(source) for name, source in self.settings.sources.items()}

    @Once
    def schemas(self) -> "Schemas":
        """Return the compiled schemas. Raises ConfigError."""
        from inbox.validation import Schemas

        folder = self.settings.path(self.settings.inbox.schemas)
        if not folder.is_dir():
            raise ConfigError("inbox.toml: inbox.schemas", f"{folder} is not a folder")
        return Schemas(folder)

    @property
    def handlers_folder(self) -> Path:
        """Return the folder of handler files. Raises ConfigError."""
        folder = self.settings.path(self.settings.inbox.handlers)
        if not folder.is_dir():
            raise ConfigError("inbox.toml: inbox.handlers", f"{folder} is not a folder")
        return folder

    @Once
    def inlet(self) -> Inlet:
        """Return the receiver's side of the store."""
        server, limits = self.settings.server, self.settings.inbox
        return sqlite.open_inlet(
            self.settings.database,
            patience=server.patience,
            limit=server.max_waiting,
            max_waiting_bytes=server.max_waiting_bytes,
            reserved_bytes=limits.reserved_bytes,
            max_store_bytes=limits.max_store_bytes,
            refusal_limits=lambda source: self.settings.retention.refusal_limits(self.sources.get(source)),
            observe=self.watching.timings.observe,
            sealer=self.sealer,
        )

    @Once
    def pruner(self) -> "Pruner":
        """Return what deletes what may go."""
        from inbox.retention import Pruner

        clocks = {"clock": self.clock, "steady": time.monotonic}
        return Pruner(self.pruning, self.settings.retention, self.sources, **clocks, pause=time.sleep)

    def prune(self) -> None:
        """Delete for less than a minute what may go, beside the work of this process, unless that goes on already."""
        going_on = any(thread.name == PRUNING for thread in threading.enumerate())
        if self.pruner.wanted and not going_on:
            threading.Thread(target=self.pruner.for_a_while, name=PRUNING, daemon=True).start()

    @Once
    def indexer(self) -> "Indexer":
        """Return what indexes the words in events; a worker process starts it."""
        from inbox.indexer import Indexer

        store = sqlite.open_indexing(self.settings.database)
        return Indexer(store, self.settings.search.enabled, clock=self.clock, steady=self.steady)

    @Once
    def watching(self) -> "Watching":
        """Return those who look after the inbox."""
        from inbox.watching import Watching

        sources, probe = (lambda: self.sources), (lambda: self.receiver.probe())
        sealer = lambda: self.sealer  # noqa: E731 – beside the other two
        return Watching(self.settings, sources, probe, clock=self.clock, steady=self.steady, sealer=sealer)

    @Once
    def queue(self) -> "Queue":
        """Return the queue; its jobs are this runtime's dispatcher."""
        from inbox.queue import Queue

        queue = Queue(self.settings.path(self.settings.inbox.queue), lambda: self.dispatcher)
        queue.every_minute("prune", lambda: self.prune())
        return queue

    @Once
    def receiver(self) -> "Receiver":
        """Return what the endpoint hands requests to."""
        from inbox.ingest import Receiver

        _ = self.presence
        return Receiver(self.sources, self.schemas, self.inlet, self.wakes, self.clock)

    @Once
    def wakes(self) -> Wakes:
        """Return how the receiver wakes the queue."""
        return Wakes(self.queue.wake)

    @Once
    def registry(self) -> "Registry":
        """Return the handlers, imported. The receiver never asks for this.

        They find the settings of `.env` in os.environ, unless the environment has others.
        """
        from inbox.plugins import load as load_handlers

        for name, value in dotenv(self.settings.folder).items():
            os.environ.setdefault(name, value)
        return load_handlers(self.handlers_folder)

    @Once
    def dispatcher(self) -> "Dispatcher":
        """Return the worker's dispatcher; the worker gives signs of life from then on."""
        self.watching.replace = lambda: os._exit(1)  # the worker starts another one; huey lets none end by itself
        self.watching.pulse("worker").start()
        return self.make_dispatcher(self.queue)

    def close(self) -> None:
        """Let go of what was opened."""
        self.close_parts(
            *("watching", "indexer", "finding", "inlet", "wakes", "access", "archive", "acting", "dispatcher"),
            *("keeping", "pruning", "erasing", "sealed", "queue", "sealer", "presence"),
        )

    def settle(self) -> None:
        """See to it that no log of SQLite stays when all processes have ended: a copy of a file has all of it then."""
        self.close()
        for path in (self.settings.path(self.settings.inbox.keys), self.settings.database):
            try:
                sqlite.settle(path)
            except StoreError as error:
                log.warning("store.not_settled", file=str(path), error=str(error))
        self.queue.settle()

    def load(self) -> None:
        """Import the handlers, get ready to run them, and look for what was left; a worker process does this first."""
        _ = self.presence
        handlers = self.dispatcher.handlers
        log.info(
            "handlers.loaded", handlers=",".join(handlers) or None, failed=",".join(self.registry.failures) or None
        )
        if self.sealer.on and (erased := self.erasing.reapply(self.clock(), "worker")):
            log.warning("events.erased_again", number=erased)
        self.queue.sweep()
        self.indexer.start()

    def make_dispatcher(self, wake: "Wake") -> "Dispatcher":
        """Return a dispatcher that wakes through `wake`; the handlers are remembered in the store."""
        import inbox.ingest  # noqa: F401 – for `read`: the first delivery is not to wait for it
        from inbox.attempt import Runner
        from inbox.delivery import Dispatcher
        from inbox.guard import Guard

        worker = self.settings.worker
        work = sqlite.open_work(self.settings.database, sealer=self.sealer)
        work.remember(self.registry.specs(), self.clock())
        guard = Guard(
            lambda delivery, token: work.heartbeat(
                delivery, token, self.clock() + worker.lease, self.steady() + worker.lease
            ),
            interval=worker.lease / 3,
            grace=worker.grace,
        )
        runner = Runner(
            self.registry,
            guard,
            read=self.read,
            holds=lambda delivery, token: work.holds(delivery, token, self.steady()),
            clock=self.clock,
            max_crashes=worker.max_crashes,
        )
        return Dispatcher(
            *(self.registry, work, wake, guard, runner),
            clock=self.clock,
            steady=self.steady,
            lease=worker.lease,
            errands=self.performer,
        )

    @Once
    def replayer(self) -> "Replayer":
        """Return what finds out how old events are replayed."""
        from inbox.replay import Replayer

        return Replayer(self.archive, self.sources, self.schemas, self.known_handlers)

    @Once
    def performer(self) -> "Performer":
        """Return what does recorded actions. The receiver never asks for this: it records them."""
        from inbox.actions import Performer

        return Performer(self.acting, self.archive, lambda: self.replayer, clock=self.clock, steady=self.steady)

    @Once
    def releaser(self) -> "Releaser":
        """Return what verifies held requests again."""
        from inbox.release import Releaser

        return Releaser(self.receiver, self.archive)

    def read(self, source: str, request: Request) -> Payload:
        """Return the payload of a stored request, also of a source that is no longer configured. Raises Malformed."""
        from inbox.ingest import payload_of
        from inbox.providers import build

        return payload_of(self.sources.get(source) or build(SourceSettings(source, "unsigned", (), {})), request)

    def subject_of(self, source: str, request: Request) -> str | None:
        """Return whom a stored request is about, None if that is not known."""
        if provider := self.sources.get(source):
            with suppress(Malformed):
                return provider.subject_of(request, self.read(source, request))
        return None

    def known_handlers(self) -> list[HandlerSpec]:
        """Return the handlers that load now, and those that a worker has loaded before."""
        known = {spec.name: spec for spec in self.archive.handlers()}
        known |= {name: handler.spec for name, handler in self.registry.handlers.items()}
        return list(known.values())
