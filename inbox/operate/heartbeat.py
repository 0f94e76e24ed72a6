"""What a receiver or worker does beside its work: signs of life, measured durations into the store, rolling up counts.

In threads of its own, so that neither a request nor a handler waits for it, nor it for a handler that hangs.
"""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import util

import structlog

from inbox.core.errors import StoreChanged, StoreError
from inbox.core.histograms import Recorder
from inbox.store.protocols_monitor import Roles, Watch

log = structlog.get_logger("inbox.operate.heartbeat")

INTERVAL = 5.0
"""Seconds between two signs of life."""

LONGEST = 60.0
"""Seconds between two wishes for another process, at most: the new one does not start while the files are wrong."""

ROLL_EVERY = 12
"""Beats between two looks for old minutes."""


class Heartbeat:
    """Of one process. `watch` opens the store when the first beat is due; `minutely` is run in another thread.

    `look` looks at the clocks with each beat, and returns the known time, by which old counts are forgotten. `once` is
    run in a third thread, which ends then. `replace` is called when the files of the database are no longer those that
    this process opened.

    Under any server: `start` is cheap, begins once per process, and again in a forked one, where threads do not live.
    """

    def __init__(
        self,
        role: Roles,
        watch: Callable[[], Watch],
        timings: Recorder,
        *,
        clock: Callable[[], float],
        steady: Callable[[], float],
        look: Callable[[], float] | None = None,
        minutely: Callable[[], object] | None = None,
        interval: float = INTERVAL,
        replace: Callable[[], object] = lambda: None,
        once: Callable[[], object] | None = None,
    ) -> None:
        self._once = once
        self._replace = replace
        self._wait, self._replace_at = interval, 0.0
        self._role = role
        self._watch = watch
        self._timings = timings
        self._clock = clock
        self._steady = steady
        self._look = clock if look is None else look
        self._minutely = minutely
        self._interval = interval
        self._pid = 0
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._mutex = threading.Lock()
        self._failing = False
        self._beats = 0

    def start(self) -> None:
        """Begin, unless this process has begun; what was measured is stored when the process ends."""
        if self._pid == os.getpid():
            return
        with self._mutex:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            self._threads.clear()
        util.Finalize(None, self.flush, exitpriority=10)
        self._run("pulse", self.beat)
        if self._minutely is not None:
            self._run("alarms", self._minutely)
        if self._once is not None:
            threading.Thread(target=self._once, name="once", daemon=True).start()

    def stop(self) -> None:
        """End the threads and store what was measured."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        with suppress(StoreError):
            self.flush()

    def beat(self) -> None:
        """Give a sign of life and store what was measured; a store that is locked or full is tried again next time."""
        try:
            self.flush()
            known = self._look()
            self._watch().beat(self._role, self._clock(), self._steady())
            if self._beats % ROLL_EVERY == 0:
                self._watch().roll(known)
            self._beats += 1
        except StoreError as error:
            if isinstance(error, StoreChanged):
                self._have_it_replaced()
            if not self._failing:
                log.warning("pulse.not_stored", role=self._role, error=str(error), then="trying again")
            self._failing = True
            return
        self._failing = False

    def _have_it_replaced(self) -> None:
        """Ask for another process in the place of this one, which can no longer store anything; less and less often."""
        if (now := self._steady()) >= self._replace_at:
            self._wait = min(2 * self._wait, LONGEST)
            self._replace_at = now + self._wait
            log.warning("process.asks_to_be_replaced", role=self._role)
            self._replace()

    def flush(self) -> None:
        """Store what was measured. Raises StoreError, and then has it still."""
        if self._pid != os.getpid():
            return
        counts = self._timings.take()
        if not counts:
            return
        try:
            self._watch().add(counts, self._clock())
        except BaseException:
            self._timings.put_back(counts)
            raise

    def _run(self, name: str, action: Callable[[], object]) -> None:
        def loop() -> None:
            while not self._stopping.is_set():
                try:
                    action()
                except Exception as error:
                    log.error(f"{name}.failed", role=self._role, exc_info=error)
                self._stopping.wait(self._interval)

        thread = threading.Thread(target=loop, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
