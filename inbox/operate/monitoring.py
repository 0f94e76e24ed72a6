"""The wiring of those who look after an inbox: counts, signs of life, `/readyz`, `/metrics`, alarms."""

import time
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from inbox.core import clocks as machine
from inbox.core.config.settings import Settings
from inbox.core.elapsed import Clocks
from inbox.core.errors import StoreError, StoreUnusable
from inbox.core.histograms import Recorder
from inbox.core.lazy import Once, Parts
from inbox.core.run_status import notice, place
from inbox.operate.alarms.evaluator import EVERY, LATER, AlarmEvaluator
from inbox.operate.health import HealthReporter, Limits
from inbox.operate.heartbeat import Heartbeat
from inbox.operate.statistics import Statistics
from inbox.store import sqlite
from inbox.store.protocols_alarms import AlarmBook
from inbox.store.protocols_elapsed import Timekeeping
from inbox.store.protocols_monitor import Roles, Watch
from inbox.store.protocols_views import Views
from inbox.store.sealing.sealer import UNSEALED
from inbox.store.timekeeper import Timekeeper
from inbox.verify.providers.base import Provider

log = structlog.get_logger("inbox.operate.monitoring")

INSPECTION = 10.0
"""Seconds for which one table is searched for damage at most: SQLite's log grows meanwhile."""


class Monitoring(Parts):
    """Watches over an inbox with these settings and sources.

    `probe` raises StoreError if nothing can be stored; `queue` returns why the queue cannot be used, "" if it can.
    """

    def __init__(
        self,
        settings: Settings,
        sources: Callable[[], Mapping[str, Provider]],
        probe: Callable[[], None],
        *,
        clock: Callable[[], float],
        steady: Callable[[], float],
        clocks: Callable[[], Clocks] | None,
        sealer: Callable[[], sqlite.Sealer] = lambda: UNSEALED,
        queue: Callable[[], str] = str,
        replace: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__()
        self.replace = replace
        self.settings = settings
        self.clock = clock
        self.steady = steady
        self._clocks = clocks
        self._sources = sources
        self._sealer = sealer
        self._probe = probe
        self._queue = queue
        self._pulses: list[Heartbeat] = []

    @Once
    def watch(self) -> Watch:
        """Return the side of the store of those who look after the inbox."""
        return sqlite.open_watch(self.settings.database)

    @Once
    def timekeeping(self) -> Timekeeping:
        """Return the side of the store that keeps how much time has passed."""
        return sqlite.open_timekeeping(self.settings.database)

    @Once
    def timekeeper(self) -> Timekeeper:
        """Return what knows how much time has passed, by the clocks of this machine unless others were given."""
        own = self._clocks
        if own is None:
            return Timekeeper(lambda: self.timekeeping, lambda: machine.look(self.clock()), machine.since_start)
        return Timekeeper(lambda: self.timekeeping, own, lambda: own().steady)

    @Once
    def alarm_book(self) -> AlarmBook:
        """Return what the store knows of the alarms."""
        return sqlite.open_alarms(self.settings.database)

    @Once
    def views(self) -> Views:
        """Return what the desk sees of the store besides events."""
        return sqlite.open_views(self.settings.database, sealer=self._sealer())

    @Once
    def ledger(self) -> Statistics:
        """Return what reads the counts for people."""
        return Statistics(self.views)

    @Once
    def watchman(self) -> AlarmEvaluator:
        """Return what evaluates the alarms and tells people. Raises ConfigError."""
        return AlarmEvaluator(
            self.settings.alarms,
            lambda: (self.watch, self.alarm_book),
            self.deadlines,
            self.settings.folder,
            clock=self.clock,
            steady=self.steady,
            min_free_bytes=self.settings.inbox.min_free_bytes,
            max_store_bytes=self.settings.inbox.max_store_bytes,
        )

    @Once
    def timings(self) -> Recorder:
        """Return what this process measured."""
        return Recorder()

    @Once
    def deadlines(self) -> Mapping[str, float]:
        """Return the seconds in which each source's sender wants an answer. Raises ConfigError."""
        default = self.settings.alarms.deadline
        return {name: source.deadline or default for name, source in self._sources().items()}

    @Once
    def lookout(self) -> HealthReporter:
        """Return what answers how the inbox is; the receiver gives signs of life from its first answer on."""
        pulse, settings = self.pulse("receiver"), self.settings
        limits = Limits(
            backlog_age=settings.alarms.backlog_age,
            process_gone=settings.alarms.process_gone,
            min_free_bytes=settings.inbox.min_free_bytes,
            max_store_bytes=settings.inbox.max_store_bytes,
        )
        return HealthReporter(
            self.deadlines,
            self._probe,
            lambda: self.watch,
            limits,
            timings=self.timings,
            clock=self.clock,
            steady=self.steady,
            alarms=lambda: {(state.alarm, state.subject): state.on for state in self.alarm_book.states()},
            begin=pulse.start,
            queue=self._queue,
            stale=self._stale_files,
        )

    def _stale_files(self) -> str:
        """Return what the supervisor knows to be wrong with the files on disk."""
        told = notice(place(self.settings.database))
        return told.stale if told is not None else ""

    def pulse(self, role: Roles) -> Heartbeat:
        """Return what gives this process's signs of life, once it is started."""
        made = Heartbeat(
            role,
            lambda: self.watch,
            self.timings,
            clock=self.clock,
            steady=self.steady,
            look=lambda: self.timekeeper.look().known,
            minutely=partial(self.watchman.minutely, EVERY if role == "worker" else LATER),
            replace=self.replace,
            once=self.inspect if role == "receiver" else None,
        )
        self._pulses.append(made)
        return made

    def inspect(self) -> None:
        """Look for damage in the database, table by table, with as much rest as work; a receiver does so once."""
        unchecked = []
        try:
            for table, seconds, checked in self.watch.inspect(INSPECTION):
                unchecked += [] if checked else [table]
                time.sleep(seconds)
        except StoreUnusable as error:
            log.error("store.damaged", error=str(error), then="503 until a copy is restored")
        except StoreError as error:
            log.warning("store.not_inspected", error=str(error))
        else:
            if unchecked:
                log.warning("store.inspected", unchecked=",".join(unchecked), why=f"{INSPECTION:g} s were not enough")

    def close(self) -> None:
        """End the signs of life, and let go of the store."""
        for pulse in self._pulses:
            pulse.stop()
        self.close_parts("watch", "timekeeping", "alarm_book", "views")
