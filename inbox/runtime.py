"""The one place that wires everything: Settings → receiver, worker, archive. The only place that asks the clock."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog

from inbox.alarms.watchman import EVERY, LATER, Watchman
from inbox.config import Settings, SourceSettings, dotenv, load, locate
from inbox.delivery import Dispatcher, Wake
from inbox.errors import ConfigError
from inbox.guard import Guard
from inbox.ingest import Receiver, payload_of
from inbox.lookout import Limits, Lookout
from inbox.models import HandlerSpec, Payload, Request
from inbox.plugins import Registry
from inbox.plugins import load as load_handlers
from inbox.providers import build
from inbox.providers.base import Provider
from inbox.pulse import Pulse
from inbox.queue import Queue
from inbox.release import Releaser
from inbox.replay import Replayer
from inbox.store import sqlite
from inbox.store.alarms import AlarmBook
from inbox.store.base import Archive, Inlet
from inbox.store.watch import Roles, Watch
from inbox.timings import Timings
from inbox.validation import Schemas
from inbox.wakes import Wakes

log = structlog.get_logger("inbox.runtime")

Clock = Callable[[], float]
Part = TypeVar("Part")


class Once(Generic[Part]):
    """A property that is made when it is first asked for, and once, however many threads ask at the same time.

    `functools.cached_property` does not see to that: https://docs.python.org/3/library/functools.html. The part is
    kept in the instance's `__dict__`, where Python finds it before it asks here again.
    """

    def __init__(self, make: Callable[[Any], Part]) -> None:
        self._make = make
        self._name = make.__name__
        self.__doc__ = make.__doc__

    def __get__(self, runtime: "Runtime", owner: type) -> Part:
        with runtime.making:
            if self._name not in runtime.__dict__:
                runtime.__dict__[self._name] = self._make(runtime)
            part: Part = runtime.__dict__[self._name]
            return part


class Runtime:
    """An inbox with these settings.

    Parts are made when they are first asked for, so that each process opens only what it needs: the receiver never
    loads handlers, the worker never opens the receiver's side of the store.
    """

    def __init__(self, settings: Settings, *, clock: Clock = time.time, steady: Clock = time.monotonic) -> None:
        self.settings = settings
        self.clock = clock
        self.steady = steady
        self._pulses: list[Pulse] = []
        self.making = threading.RLock()  # one for all parts: making one asks for others

    @classmethod
    def from_environment(cls) -> "Runtime":
        """Return the inbox that INBOX_CONFIG or the working directory names. Raises ConfigError."""
        return cls(load(locate(os.environ)))

    @Once
    def sources(self) -> Mapping[str, Provider]:
        """Return the configured sources by name. Raises ConfigError."""
        return {name: build(source) for name, source in self.settings.sources.items()}

    @Once
    def schemas(self) -> Schemas:
        """Return the compiled schemas. Raises ConfigError."""
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
            observe=self.timings.observe,
        )

    @Once
    def archive(self) -> Archive:
        """Return the owner's side of the store."""
        return sqlite.open_archive(self.settings.database)

    @Once
    def watch(self) -> Watch:
        """Return the side of the store of those who look after the inbox."""
        return sqlite.open_watch(self.settings.database)

    @Once
    def alarm_book(self) -> AlarmBook:
        """Return what the store knows of the alarms."""
        return sqlite.open_alarms(self.settings.database)

    @Once
    def watchman(self) -> Watchman:
        """Return what evaluates the alarms and tells people. Raises ConfigError."""
        return Watchman(
            self.settings.alarms,
            lambda: (self.watch, self.alarm_book),
            self.deadlines,
            self.settings.folder,
            clock=self.clock,
            steady=self.steady,
            reserved_bytes=self.settings.inbox.reserved_bytes,
            max_store_bytes=self.settings.inbox.max_store_bytes,
        )

    @Once
    def timings(self) -> Timings:
        """Return what this process measured."""
        return Timings()

    @Once
    def deadlines(self) -> Mapping[str, float]:
        """Return the seconds in which each source's sender wants an answer. Raises ConfigError."""
        default = self.settings.alarms.deadline
        return {name: source.deadline or default for name, source in self.sources.items()}

    @Once
    def lookout(self) -> Lookout:
        """Return what answers how the inbox is; the receiver gives signs of life from its first answer on."""
        pulse, settings = self.pulse("receiver"), self.settings
        limits = Limits(
            backlog_age=settings.alarms.backlog_age,
            process_gone=settings.alarms.process_gone,
            reserved_bytes=settings.inbox.reserved_bytes,
            max_store_bytes=settings.inbox.max_store_bytes,
        )
        return Lookout(
            self.deadlines,
            self.receiver.probe,
            lambda: self.watch,
            limits,
            timings=self.timings,
            clock=self.clock,
            steady=self.steady,
            alarms=lambda: {(state.alarm, state.subject): state.on for state in self.alarm_book.states()},
            begin=pulse.start,
        )

    def pulse(self, role: Roles) -> Pulse:
        """Return what gives this process's signs of life, once it is started."""
        made = Pulse(
            role,
            lambda: self.watch,
            self.timings,
            clock=self.clock,
            steady=self.steady,
            minutely=partial(self.watchman.minutely, EVERY if role == "worker" else LATER),
        )
        self._pulses.append(made)
        return made

    @Once
    def queue(self) -> Queue:
        """Return the queue; its jobs are this runtime's dispatcher."""
        return Queue(self.settings.path(self.settings.inbox.queue), lambda: self.dispatcher)

    @Once
    def receiver(self) -> Receiver:
        """Return what the endpoint hands requests to."""
        return Receiver(self.sources, self.schemas, self.inlet, self.wakes, self.clock)

    @Once
    def wakes(self) -> Wakes:
        """Return how the receiver wakes the queue."""
        return Wakes(self.queue.events)

    @Once
    def registry(self) -> Registry:
        """Return the handlers, imported. The receiver never asks for this.

        They find the settings of `.env` in os.environ, unless the environment has others.
        """
        for name, value in dotenv(self.settings.folder).items():
            os.environ.setdefault(name, value)
        return load_handlers(self.handlers_folder)

    @Once
    def dispatcher(self) -> Dispatcher:
        """Return the worker's dispatcher; the worker gives signs of life from then on."""
        self.pulse("worker").start()
        return self.make_dispatcher(self.queue)

    def close(self) -> None:
        """Let go of what was opened."""
        for pulse in self._pulses:
            pulse.stop()
        for name in ("inlet", "wakes", "archive", "watch", "alarm_book", "queue", "dispatcher"):
            if name in self.__dict__:
                getattr(self, name).close()

    def load(self) -> None:
        """Import the handlers, get ready to run them, and look for what was left; a worker process does this first."""
        handlers = self.dispatcher.handlers
        log.info(
            "handlers.loaded", handlers=",".join(handlers) or None, failed=",".join(self.registry.failures) or None
        )
        self.queue.sweep()

    def make_dispatcher(self, wake: Wake) -> Dispatcher:
        """Return a dispatcher that wakes through `wake`; the handlers are remembered in the store."""
        worker = self.settings.worker
        work = sqlite.open_work(self.settings.database)
        work.remember(self.registry.specs(), self.clock())
        guard = Guard(
            lambda delivery, token: work.heartbeat(
                delivery, token, self.clock() + worker.lease, self.steady() + worker.lease
            ),
            interval=worker.lease / 3,
            grace=worker.grace,
        )
        return Dispatcher(
            self.registry,
            work,
            wake,
            guard,
            read=self.read,
            clock=self.clock,
            steady=self.steady,
            lease=worker.lease,
            max_crashes=worker.max_crashes,
        )

    @Once
    def replayer(self) -> Replayer:
        """Return what replays old events."""
        return Replayer(self.archive, self.sources, self.schemas, self.known_handlers, self.queue.delivery, self.clock)

    @Once
    def releaser(self) -> Releaser:
        """Return what verifies held requests again."""
        return Releaser(self.receiver, self.archive)

    def read(self, source: str, request: Request) -> Payload:
        """Return the payload of a stored request, also of a source that is no longer configured. Raises Malformed."""
        return payload_of(self.sources.get(source) or build(SourceSettings(source, "unsigned", (), {})), request)

    def known_handlers(self) -> list[HandlerSpec]:
        """Return the handlers that load now, and those that a worker has loaded before."""
        known = {spec.name: spec for spec in self.archive.handlers()}
        known |= {name: handler.spec for name, handler in self.registry.handlers.items()}
        return list(known.values())
