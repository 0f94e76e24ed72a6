"""Wake-ups from the receiver to the queue, many in one message, by a thread of its own.

Nobody waits for the queue, whose file others may have locked. What is lost with the process the sweep finds.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence

import structlog

log = structlog.get_logger("inbox.wakes")


class Wakes:
    """Called with the id of each event that is to be routed; hands those that came meanwhile to `send`, together."""

    def __init__(self, send: Callable[[Sequence[int]], None]) -> None:
        self._send = send
        self._ids: deque[int] = deque()
        self._mutex = threading.Lock()
        self._come = threading.Semaphore(0)
        self._told = self._ended = False
        self._thread: threading.Thread | None = None

    def __call__(self, event_id: int) -> None:
        """Have an event routed soon. Never waits and never fails."""
        with self._mutex:
            self._ids.append(event_id)
            if not self._told and self._have_thread():
                self._told = True
                self._come.release()

    def close(self) -> None:
        """Send what is left, and end."""
        with self._mutex:
            thread, self._thread = self._thread, None
            self._ended = True
        if thread is not None:
            self._come.release()
            thread.join()

    def _have_thread(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="wakes", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the next wake-up tries again
                log.warning(
                    "queue.wake_failed", ids=len(self._ids), error=repr(error), then="the sweep finds the events"
                )
                return False
            self._thread = thread
        return True

    def _run(self) -> None:
        while True:
            self._come.acquire()
            with self._mutex:
                ids, self._ids, self._told = self._ids, deque(), False
            if ids:
                self._try(list(ids))
            if self._ended and not self._ids:
                return

    def _try(self, ids: list[int]) -> None:
        try:
            self._send(ids)
        except Exception as error:
            log.warning("queue.wake_failed", ids=len(ids), error=repr(error), then="the sweep finds the events")
