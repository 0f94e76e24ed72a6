"""Keeps a running handler inside its time and its lease.

Three lines of defence: a signal raises HandlerTimeout in the handler; if that does not stop it, a watchdog thread in
C ends the whole process `grace` seconds later (its lease then runs out, and it counts as a crash); and a heartbeat
extends the lease while the handler runs, so that nobody else takes a delivery that is still being worked on.
"""

import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

import structlog

from inbox.core import streams

log = structlog.get_logger("inbox.deliver.watchdog")

TICK = 0.01
"""Seconds between two looks of the guard's thread while something is held."""

MOMENT = 0.5
"""Seconds by which the watchdog may come later, so that runs that follow each other share it."""

MARGIN = 10.0
"""Seconds that it must have to go if it is not called off at the end of a run, but when no other follows."""


class HandlerTimeout(BaseException):
    """The handler ran for longer than its timeout; not an Exception, so that handlers do not catch it by accident."""


HeartbeatCall = Callable[[int, str], bool]


class Watchdog:
    """Watches what a worker process runs: one handler at a time, or one per thread.

    `heartbeat(delivery_id, token)` extends the lease and returns False if it is lost; it is called every `interval`
    seconds from a thread of its own, which looks every `TICK` seconds as long as something is held. Timeouts need the
    main thread; elsewhere (a thread worker) they are not enforced, which is logged once.
    """

    def __init__(self, heartbeat: HeartbeatCall, *, interval: float, grace: float) -> None:
        self._heartbeat = heartbeat
        self._interval = interval
        self._grace = grace
        self._current: Counter[tuple[int, str]] = Counter()
        self._late: dict[Callable[[], None], float] = {}
        self._mutex = threading.Lock()
        self._busy = threading.Event()
        self._pid = 0
        self._armed_until = 0.0
        self._runs = 0
        self._arming = threading.Lock()
        self._warned = False

    @contextmanager
    def watch(self, delivery_id: int, token: str, timeout: float) -> Iterator[None]:
        """Run the block under the timeout (seconds) and keep its lease alive."""
        process = os.getpid()
        self.hold(delivery_id, token)
        try:
            if threading.current_thread() is threading.main_thread():
                with self._deadline(timeout):
                    yield
            else:
                self._warn()
                yield
        finally:
            if os.getpid() != process:
                end_copy(sys.exc_info()[1])
            self.let_go(delivery_id, token)

    def hold(self, delivery_id: int, token: str) -> None:
        """Keep a lease alive from now on, until it was let go as often as it was held."""
        with self._mutex:
            self._current[delivery_id, token] += 1
            self._start()

    def let_go(self, delivery_id: int, token: str) -> None:
        """End what `hold` began."""
        with self._mutex:
            self._current[delivery_id, token] -= 1
            if not self._current[delivery_id, token]:
                del self._current[delivery_id, token]

    def call_after(self, seconds: float, action: Callable[[], None]) -> None:
        """Call the action from the guard's thread, about so many seconds from now, unless it is called off before."""
        with self._mutex:
            self._late[action] = time.monotonic() + seconds
            self._start()

    def call_off(self, action: Callable[[], None]) -> None:
        """See to it that the action is not called any more; it may be running."""
        with self._mutex:
            self._late.pop(action, None)

    @contextmanager
    def _deadline(self, timeout: float) -> Iterator[None]:
        before = signal.signal(signal.SIGALRM, _time_is_up)
        self._arm(timeout + self._grace)
        signal.setitimer(signal.ITIMER_REAL, timeout)
        process = os.getpid()
        try:
            yield
        finally:
            if os.getpid() != process:
                end_copy(sys.exc_info()[1])
            try:
                signal.setitimer(signal.ITIMER_REAL, 0)  # a signal that is on its way may still raise here
            finally:
                self._spare()
                signal.signal(signal.SIGALRM, before)

    def disarm(self) -> None:
        """Call the watchdog off if nothing runs; until then it may be armed still, to be shared by the next run."""
        with self._arming:
            if self._armed_until and not self._runs:
                faulthandler.cancel_dump_traceback_later()
                self._armed_until = 0.0

    def _arm(self, seconds: float) -> None:
        """Have the process ended in so many seconds, or a moment later if that spares arming the watchdog again."""
        with self._arming:
            self._runs += 1
            until, more = time.monotonic() + seconds, MOMENT if seconds > MARGIN else 0.0
            if not until <= self._armed_until <= until + more:
                faulthandler.dump_traceback_later(seconds + more, exit=True, file=streams.dump_file())
                self._armed_until = until + more

    def _spare(self) -> None:
        """Leave the watchdog to the next run if there is time to call it off before it bites; that costs a thread."""
        with self._arming:
            self._runs -= 1
        if self._armed_until < time.monotonic() + MARGIN:
            self.disarm()

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning("timeouts.not_enforced", why="handlers run in a thread; use process workers (`inbox worker`)")

    def _start(self) -> None:
        """Have the thread look: start it, again in a forked child, where threads do not survive, or wake it."""
        if self._pid != os.getpid():
            self._pid, self._busy = os.getpid(), threading.Event()
            threading.Thread(target=self._look, name="heartbeat", daemon=True).start()
        if not self._busy.is_set():
            self._busy.set()

    def _look(self) -> None:
        """Do what is due, every TICK seconds; sleep while nothing is held."""
        pause, busy, tick = threading.Event(), self._busy, min(TICK, self._interval)
        while busy.wait():
            beaten = time.monotonic()
            while not pause.wait(tick) and busy.is_set():
                now = time.monotonic()
                with self._mutex:
                    if not self._current and not self._late:
                        busy.clear()
                    due = [action for action, at in self._late.items() if at <= now]
                    for action in due:
                        del self._late[action]
                    current = list(self._current) if now - beaten >= self._interval else []
                self.disarm()
                for action in due:
                    action()
                beaten = now if current else beaten
                for delivery_id, token in current:
                    self._beat_once(delivery_id, token)

    def _beat_once(self, delivery_id: int, token: str) -> None:
        try:
            held = self._heartbeat(delivery_id, token)
        except Exception as error:
            log.warning("heartbeat.failed", delivery=delivery_id, error=str(error))
            return
        if not held and (delivery_id, token) in self._current:
            log.warning("heartbeat.lease_lost", delivery=delivery_id)


def end_copy(error: BaseException | None) -> NoReturn:
    """End a process that a handler has forked: it must not go on as a second worker.

    As Python does, but nothing that belongs to the worker is closed or flushed.
    """
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        code = 1
        with suppress(Exception):
            os.write(2, "".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace"))
    os._exit(code & 0xFF)


def _time_is_up(signum: int, frame: FrameType | None) -> None:
    raise HandlerTimeout
