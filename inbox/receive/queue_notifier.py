"""Wake-ups from the receiver to the queue, one message for many events, by a thread of its own.

Nobody waits for the queue, whose file others may have locked. What is lost with the process the sweep finds.
"""

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

import structlog

log = structlog.get_logger("inbox.receive.queue_notifier")

APART = 0.025
"""Seconds between two messages: what comes in the meantime has one together; the first goes out at once."""


class QueueNotifier:
    """Called for each event that is to be routed; calls `send` once for all that came meanwhile."""

    def __init__(self, send: Callable[[], None]) -> None:
        self._send = send
        self._mutex = threading.Lock()
        self._come: SimpleQueue[None] = SimpleQueue()
        self._told = self._ended = False
        self._thread: threading.Thread | None = None

    def __call__(self, event_id: int) -> None:
        """Have an event routed soon; the message need not name it. Never waits and never fails."""
        with self._mutex:
            if not self._told and self._have_thread():
                self._told = True
                self._come.put(None)

    def close(self) -> None:
        """Send what is left, and end."""
        with self._mutex:
            thread, self._thread = self._thread, None
            self._ended = True
        if thread is not None:
            self._come.put(None)
            thread.join()

    def _have_thread(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="wakes", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the next wake-up tries again
                log.warning("queue.wake_failed", error=repr(error), then="the sweep finds the events")
                return False
            self._thread = thread
        return True

    def _run(self) -> None:
        while True:
            self._come.get()
            with self._mutex:
                told, self._told = self._told, False
            if told:
                self._try()
                time.sleep(APART)
            with self._mutex:
                if self._ended and not self._told:
                    return

    def _try(self) -> None:
        try:
            self._send()
        except Exception as error:
            log.warning("queue.wake_failed", error=repr(error), then="the sweep finds the events")
