"""The one place that wires everything: Settings → receiver, worker, archive. The only place that asks the clock.

A part's module is imported when the part is made: a look at the list of events needs neither schemas nor handlers.
"""

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from inbox.core.config import snapshot
from inbox.core.config.secret_refs import dotenv
from inbox.core.config.settings import Settings, SourceSettings, load, locate
from inbox.core.elapsed import Clocks
from inbox.core.errors import ConfigError, Malformed, StoreError
from inbox.core.lazy import Once
from inbox.core.log import flush
from inbox.core.models import HandlerSpec, Payload, Request
from inbox.receive.queue_notifier import QueueNotifier
from inbox.store import sqlite
from inbox.store.opened import Stores
from inbox.store.protocols import Inlet

if TYPE_CHECKING:
    from inbox.deliver.dispatcher import Dispatcher, Wake
    from inbox.deliver.handler_loader import Registry
    from inbox.deliver.handover import Handover, Left, Post
    from inbox.deliver.queue import Queue
    from inbox.operate.monitoring import Monitoring
    from inbox.operate.retention import Pruner
    from inbox.operate.search_indexer import Indexer
    from inbox.receive.receiver import Receiver
    from inbox.replay.action_runner import ActionRunner
    from inbox.replay.planner import ReplayPlanner
    from inbox.replay.release import Releaser
    from inbox.verify.providers.base import Provider
    from inbox.verify.schemas import Schemas

log = structlog.get_logger("inbox.runtime")

Clock = Callable[[], float]

PRUNING = "prune"
"""The name of the thread that prunes in a worker process."""


class Runtime(Stores):
    """An inbox with these settings.

    Parts are made when they are first asked for, so that each process opens only what it needs: the receiver never
    loads handlers, the worker never opens the receiver's side of the store.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock = time.time,
        steady: Clock = time.monotonic,
        clocks: Callable[[], Clocks] | None = None,
    ) -> None:
        super().__init__(settings)
        self.clock = clock
        self.steady = steady
        self._clocks = clocks
        self.post: Post | None = None

    @classmethod
    def from_environment(cls) -> "Runtime":
        """Return the inbox that INBOX_CONFIG or the working directory names. Raises ConfigError."""
        return cls(load(locate(os.environ)))

    @Once
    def sources(self) -> Mapping[str, "Provider"]:
        """Return the configured sources by name. Raises ConfigError."""
        from inbox.verify.providers import build

        return {name: build(source) for name, source in self.settings.sources.items()}

    @Once
    def schemas(self) -> "Schemas":
        """Return the compiled schemas. Raises ConfigError."""
        from inbox.verify.schemas import Schemas

        folder = self.settings.path(self.settings.inbox.schemas)
        if not snapshot.is_folder(folder):
            raise ConfigError("inbox.toml: inbox.schemas", f"{folder} is not a folder")
        return Schemas(folder)

    @property
    def handlers_folder(self) -> Path:
        """Return the folder of handler files. Raises ConfigError."""
        folder = self.settings.path(self.settings.inbox.handlers)
        if not snapshot.is_folder(folder):
            raise ConfigError("inbox.toml: inbox.handlers", f"{folder} is not a folder")
        if snapshot.in_use() is None and not os.access(folder, os.R_OK | os.X_OK):
            raise ConfigError("inbox.toml: inbox.handlers", f"{folder} cannot be read: permission denied")
        return folder

    @Once
    def inlet(self) -> Inlet:
        """Return the receiver's side of the store."""
        server, limits = self.settings.server, self.settings.inbox
        return sqlite.open_inlet(
            self.settings.database,
            patience=server.store_timeout,
            limit=server.max_in_flight,
            max_in_flight_bytes=server.max_in_flight_bytes,
            min_free_bytes=limits.min_free_bytes,
            max_store_bytes=limits.max_store_bytes,
            refusal_limits=lambda source: self.settings.retention.refusal_limits(self.sources.get(source)),
            observe=self.watching.timings.observe,
            sealer=self.sealer,
        )

    @Once
    def pruner(self) -> "Pruner":
        """Return what deletes what may go."""
        from inbox.operate.retention import Pruner

        clocks, passed = {"clock": self.clock, "steady": time.monotonic}, self.watching.timekeeper.certain
        retention = self.settings.retention
        return Pruner(self.pruning, retention, self.sources, passed=passed, **clocks, pause=time.sleep)

    def prune(self) -> None:
        """Delete for less than a minute what may go, beside the work of this process, unless that goes on already."""
        going_on = any(thread.name == PRUNING for thread in threading.enumerate())
        if self.pruner.wanted and not going_on:
            threading.Thread(target=self.pruner.for_a_while, name=PRUNING, daemon=True).start()

    @Once
    def indexer(self) -> "Indexer":
        """Return what indexes the words in events; a worker process starts it."""
        from inbox.operate.search_indexer import Indexer

        store = sqlite.open_indexing(self.settings.database)
        return Indexer(store, self.settings.search.enabled, clock=self.clock, steady=self.steady)

    @Once
    def watching(self) -> "Monitoring":
        """Return those who look after the inbox."""
        from inbox.operate.monitoring import Monitoring

        sources, probe = (lambda: self.sources), (lambda: self.receiver.probe())
        sealer, queue = (lambda: self.sealer), (lambda: self.queue.problem())
        clocks = {"clock": self.clock, "steady": self.steady}
        return Monitoring(self.settings, sources, probe, **clocks, clocks=self._clocks, sealer=sealer, queue=queue)

    @Once
    def queue(self) -> "Queue":
        """Return the queue; its jobs are this runtime's dispatcher."""
        from inbox.deliver.queue import Queue

        queue = Queue(self.settings.path(self.settings.inbox.queue), lambda: self.dispatcher)
        queue.every_minute("prune", lambda: self.prune())
        return queue

    @Once
    def receiver(self) -> "Receiver":
        """Return what the endpoint hands requests to."""
        from inbox.receive.receiver import Receiver

        _ = self.presence
        timekeeper = self.watching.timekeeper.begun()
        return Receiver(self.sources, self.schemas, self.inlet, self.wakes, self.clock, timekeeper)

    @Once
    def wakes(self) -> QueueNotifier:
        """Return how the receiver wakes the queue."""
        return QueueNotifier(self.queue.wake)

    @Once
    def unusable(self) -> Mapping[str, str]:
        """Return the modules of handlers that end or hang the process that imports them, and what they did."""
        from inbox.deliver.import_check import trial

        _ = self.unset
        return trial(self.handlers_folder)

    @Once
    def unset(self) -> tuple[str, ...]:
        """Set what `.env` has in os.environ, unless the environment has it; return the names that cannot be set."""
        unset = []
        for name, value in dotenv(self.settings.folder).items():
            try:
                os.environ.setdefault(name, value)
            except (ValueError, OSError):
                unset.append(name)
                log.error("environment.not_set", file=".env", name=name, why="null character")
        return tuple(unset)

    @Once
    def registry(self) -> "Registry":
        """Return the handlers, imported, but for those that must not be. The receiver never asks for this."""
        from inbox.deliver.handler_loader import load as load_handlers

        _ = self.unset
        return load_handlers(self.handlers_folder, self.unusable)

    @Once
    def dispatcher(self) -> "Dispatcher":
        """Return the worker's dispatcher; the worker gives signs of life from then on."""
        self.watching.replace = _end_process
        self.watching.pulse("worker").start()
        return self.make_dispatcher(self.queue)

    def close(self) -> None:
        """Let go of what was opened."""
        self.close_parts(
            *("watching", "indexer", "finding", "inlet", "wakes", "access", "archive", "acting", "dispatcher"),
            *("keeping", "pruning", "erasing", "sealed", "queue", "sealer", "presence"),
        )

    def empty_logs(self) -> None:
        """See to it that no log of SQLite stays when all processes have ended: a copy of a file has all of it then."""
        self.close()
        for path in (self.settings.path(self.settings.inbox.key_file), self.settings.database):
            try:
                sqlite.settle(path)
            except StoreError as error:
                log.warning("store.not_settled", file=str(path), error=str(error))
        self.queue.settle()

    def load(self, handover: "Handover | None" = None, inherited: Collection[int] = ()) -> "Post | None":
        """Import the handlers, get ready to run them, and look for what was left; a worker process does this first.

        With a `handover` it may end by itself; `inherited` are the descriptors that were open before.
        """
        _ = self.presence, self.registry
        self.watching.timekeeper.begun()
        if handover is not None:
            self.post = handover.post(self.settings, inherited)
        handlers = self.dispatcher.handlers
        log.info(
            "handlers.loaded", handlers=",".join(handlers) or None, failed=",".join(self.registry.failures) or None
        )
        if self.sealer.on and (erased := self.erasing.reapply(self.clock(), "worker")):
            log.warning("events.erased_again", number=erased)
        self.queue.sweep()
        self.indexer.start()
        return self.post

    def settle(self, left: "Left") -> None:
        """Record what a worker process left that ended by itself. Raises StoreError."""
        from inbox.deliver.dispatcher import report
        from inbox.deliver.handover import settle

        with closing(sqlite.open_work(self.settings.database, sealer=self.sealer)) as work:
            settle(left, work, self.clock(), report)
        self.queue.wake()

    def make_dispatcher(self, wake: "Wake") -> "Dispatcher":
        """Return a dispatcher that wakes through `wake`; the handlers are remembered in the store."""
        import inbox.receive.receiver  # noqa: F401 – for `read`: the first delivery is not to wait for it
        from inbox.deliver.dispatcher import Dispatcher
        from inbox.deliver.runner import HandlerRunner
        from inbox.deliver.watchdog import Watchdog

        worker = self.settings.worker
        work = sqlite.open_work(self.settings.database, sealer=self.sealer)
        work.remember(self.registry.specs(), self.clock())
        guard = Watchdog(
            lambda delivery, token: work.heartbeat(
                delivery, token, self.clock() + worker.lease, self.steady() + worker.lease
            ),
            interval=worker.lease / 3,
            grace=worker.kill_after,
        )
        runner = HandlerRunner(
            self.registry,
            guard,
            read=self.read,
            holds=lambda delivery, token: work.holds(delivery, token, self.steady()),
            age=lambda claimed: self.watching.timekeeper.age(claimed.id, claimed.created_at),
            clock=self.clock,
            max_crashes=worker.max_crashes,
        )
        return Dispatcher(
            *(self.registry, work, wake, guard, runner),
            clock=self.clock,
            steady=self.steady,
            lease=worker.lease,
            errands=self.performer,
            passed=self.watching.timekeeper.certain,
            post=self.post,
        )

    @Once
    def replayer(self) -> "ReplayPlanner":
        """Return what finds out how old events are replayed."""
        from inbox.replay.planner import ReplayPlanner

        return ReplayPlanner(self.archive, self.sources, self.schemas, self.known_handlers)

    @Once
    def performer(self) -> "ActionRunner":
        """Return what does recorded actions. The receiver never asks for this: it records them."""
        from inbox.replay.action_runner import ActionRunner

        return ActionRunner(self.acting, self.archive, lambda: self.replayer, clock=self.clock, steady=self.steady)

    @Once
    def releaser(self) -> "Releaser":
        """Return what verifies held requests again."""
        from inbox.replay.release import Releaser

        return Releaser(self.receiver, self.archive)

    def read(self, source: str, request: Request) -> Payload:
        """Return the payload of a stored request, also of a source that is no longer configured. Raises Malformed."""
        from inbox.receive.receiver import payload_of
        from inbox.verify.providers import build

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


def _end_process() -> None:
    """End a worker process, but not before its log is written; huey lets none end by itself, and starts another."""
    flush()
    os._exit(1)
