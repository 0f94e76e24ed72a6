"""Keeps a running handler inside its time and its lease.

Three lines of defence: a signal raises HandlerTimeout in the handler; if that does not stop it, a watchdog thread in
C ends the whole process `grace` seconds later (its lease then runs out, and it counts as a crash); and a heartbeat
extends the lease while the handler runs, so that nobody else takes a delivery that is still being worked on.
"""

import faulthandler
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

log = structlog.get_logger("inbox.guard")


class HandlerTimeout(BaseException):
    """The handler ran for longer than its timeout; not an Exception, so that handlers do not catch it by accident."""


Heartbeat = Callable[[int, str], bool]


class Guard:
    """Watches what a worker process runs: one handler at a time, or one per thread.

    `heartbeat(delivery_id, token)` extends the lease and returns False if it is lost; it is called every `interval`
    seconds from a thread of its own. Timeouts need the main thread; elsewhere (a thread worker) they are not
    enforced, which is logged once.
    """

    def __init__(self, heartbeat: Heartbeat, *, interval: float, grace: float) -> None:
        self._heartbeat = heartbeat
        self._interval = interval
        self._grace = grace
        self._current: set[tuple[int, str]] = set()
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None
        self._warned = False

    @contextmanager
    def watch(self, delivery_id: int, token: str, timeout: float) -> Iterator[None]:
        """Run the block under the timeout (seconds) and keep its lease alive."""
        self._start()
        with self._mutex:
            self._current.add((delivery_id, token))
        try:
            if threading.current_thread() is threading.main_thread():
                with self._deadline(timeout):
                    yield
            else:
                self._warn()
                yield
        finally:
            with self._mutex:
                self._current.discard((delivery_id, token))

    @contextmanager
    def _deadline(self, timeout: float) -> Iterator[None]:
        before = signal.signal(signal.SIGALRM, _time_is_up)
        faulthandler.dump_traceback_later(timeout + self._grace, exit=True, file=sys.__stderr__ or 2)
        signal.setitimer(signal.ITIMER_REAL, timeout)
        try:
            yield
        finally:
            try:
                signal.setitimer(signal.ITIMER_REAL, 0)  # a signal that is on its way may still raise here
            finally:
                faulthandler.cancel_dump_traceback_later()
                signal.signal(signal.SIGALRM, before)

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            log.warning("timeouts.not_enforced", why="handlers run in a thread; use process workers (`inbox worker`)")

    def _start(self) -> None:
        """Start the heartbeat thread, again in a forked child, where threads do not survive."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self._thread.start()

    def _beat(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._interval):
            with self._mutex:
                current = list(self._current)
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


def _time_is_up(signum: int, frame: FrameType | None) -> None:
    raise HandlerTimeout
