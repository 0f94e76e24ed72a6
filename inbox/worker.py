"""The worker process: huey's consumer with process workers, which end with their parent."""

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from huey.consumer import Consumer, Scheduler, Worker

from inbox import streams
from inbox.queue import Queue

log = structlog.get_logger("inbox.worker")

PARENT_CHECK = 0.5
"""Seconds between two looks whether the parent process is still there."""


def on_orphaned(parent: int, action: Callable[[], object], *, interval: float = PARENT_CHECK) -> None:
    """Call `action` from a thread when the process `parent` is no longer our parent, which means that it died."""

    def watch() -> None:
        pause = threading.Event()
        while os.getppid() == parent:
            pause.wait(interval)
        action()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def end_orphaned(parent: int, seconds: float, *, interval: float = PARENT_CHECK) -> None:
    """End this process when the process `parent` is no longer our parent; by force if it does not end in `seconds`.

    It is asked again and again: a SIGTERM that comes while a server starts is lost, and it would keep the port.
    """

    def end() -> None:
        last = time.monotonic() + seconds
        while time.monotonic() < last:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(interval)
        os.kill(os.getpid(), signal.SIGKILL)

    on_orphaned(parent, end, interval=interval)


class _EndsWithParent:
    """Made in the parent, run in the child: sets the stop flag when the parent is gone."""

    stop_flag: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._parent = os.getpid()

    def initialize(self) -> None:
        on_orphaned(self._parent, self.stop_flag.set)
        super().initialize()  # type: ignore[misc]


class _Worker(_EndsWithParent, Worker):  # type: ignore[misc]
    huey: Any
    delay: float

    def sleep(self) -> None:
        """Wait for the bell or for the stop flag, and no longer than huey would."""
        self.huey.storage.bell.wait(min(self.delay, self.max_delay), [self.stop_flag._r])
        self.delay *= self.backoff


class _Scheduler(_EndsWithParent, Scheduler):  # type: ignore[misc]
    pass


class _Consumer(Consumer):  # type: ignore[misc]
    worker_class = _Worker
    scheduler_class = _Scheduler


def consume(queue: Queue, load: Callable[[], None], *, processes: int, shutdown_timeout: float) -> None:
    """Work on the queue until SIGTERM or SIGINT; handlers then have `shutdown_timeout` seconds to finish.

    Each process calls `load` first, so that handler code is never imported before the fork and nothing it opens is
    shared. A process that died is replaced within a second. An idle one waits for the queue's bell, and looks by itself
    every half second.
    """
    streams.take_dumps(lambda text: log.error("worker.ended_by_watchdog", traceback=text))
    queue.huey.on_startup(name="load")(load)
    consumer = _Consumer(
        queue.huey,
        workers=processes,
        worker_type="process",
        initial_delay=0.01,
        backoff=2.0,
        max_delay=0.5,
        check_worker_health=True,
        health_check_interval=1,
        shutdown_timeout=shutdown_timeout,
        graceful_signal="TERM",
    )
    consumer.run()
