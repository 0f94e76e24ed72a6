"""The worker process: huey's consumer with process workers, which end with their parent."""

import ctypes
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import structlog
from huey.consumer import Consumer, ProcessEnvironment, Scheduler, Worker, WorkerRecycle

from inbox.core import streams
from inbox.core.errors import StoreError
from inbox.core.log import flush
from inbox.core.process_integrity import open_files
from inbox.deliver.handover import ENDED, Handover, Left, Post
from inbox.deliver.queue import Queue

log = structlog.get_logger("inbox.process.worker")

Load = Callable[[Handover, Collection[int]], Post | None]
"""Makes a process ready to work; gets its handover and the descriptors that were open before."""

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
STEADY = 10.0
"""Seconds: a worker process that died is replaced after a pause, which doubles unless it lived for so long."""

LINGER = 2.0
"""Seconds that threads which handlers left have when the process ends."""

STDERR = 2
PR_SET_PDEATHSIG = 1
"""https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html"""

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

    def __init__(self, load: Load, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._load = load
        self._post: Post | None = None
        self.handover = Handover()
        self.pause = FIRST_PAUSE
        self.started = time.monotonic()
        self.due: float | None = None

    def initialize(self) -> None:
        """Load the handlers; a process that cannot ends, and is replaced later and later."""
        inherited = open_files()
        keep_to_itself({file for file in inherited if file > STDERR and file not in streams.own()})
        super().initialize()
        try:
            self._post = self._load(self.handover, inherited)
        except BaseException as error:
            log.error("worker.not_started", exc_info=error, then="it is tried again")
            flush()
            os._exit(1)

    def loop(self, now: Any = None) -> None:
        """Do what one message asks for; end when the process has run enough, or is no longer as it should be."""
        try:
            super().loop(now)
        except Exception as error:
            log.error("worker.failed", exc_info=error, then="it is replaced")
            flush()
            os._exit(1)
        if self._post is not None and (why := self._post.renewal.due()):
            log.info("worker.renewed", why=why, runs=self._post.renewal.runs)
            raise WorkerRecycle

    def sleep(self) -> None:
        """Wait for the bell or for the stop flag, and no longer than huey would."""
        self.huey.storage.wait(min(self.delay, self.max_delay), [self.stop_flag._r])
        self.delay *= self.backoff

    def shutdown(self) -> None:
        """End what handlers left running: processes at once, and threads that would keep this process from ending."""
        for child in multiprocessing.active_children():
            child.kill()
        flush()
        last = threading.Timer(LINGER, os._exit, [0])
        last.daemon = True
        last.start()


class _Scheduler(_EndsWithParent, Scheduler):  # type: ignore[misc]
    pass


class _Environment(ProcessEnvironment):  # type: ignore[misc]
    """huey's, with processes that may have children of their own, as handlers with `multiprocessing` need."""

    def create_process(self, runnable: Callable[[], None], name: str) -> Any:
        process = self.mp.Process(target=runnable, name=name)
        process.daemon = False
        return process


class _Consumer(Consumer):  # type: ignore[misc]
    """huey's consumer; a worker that ended by itself is settled and replaced at once, one that died a little later."""

    scheduler_class = _Scheduler
    scheduler: Any

    def __init__(self, queue: Queue, load: Load, settle: Callable[[Left], None], **options: Any) -> None:
        self._load = load
        self._settle = settle
        self._left: list[Left] = []
        super().__init__(queue.huey, **options)

    def get_environment(self, worker_type: str) -> _Environment:
        """See huey."""
        return _Environment(self._graceful_sig, self._interrupt_sig)

    def worker_class(self, **options: Any) -> _Worker:
        """Return what is run in a worker process."""
        return _Worker(self._load, **options)

    def run(self) -> None:
        """Run until a signal comes; what workers left in the end is settled, too."""
        super().run()
        for worker, _ in self.worker_threads:
            self._take(worker)
        self._settle_left()

    def check_worker_health(self) -> bool:
        """Replace workers that have ended, and settle what they left."""
        now = time.monotonic()
        for index, (worker, process) in enumerate(self.worker_threads):
            if not self.environment.is_alive(process):
                if worker.due is None:
                    self._has_ended(worker, process, now)
                if now >= worker.due:
                    self._replace(index, worker)
        self._settle_left()
        if not self.environment.is_alive(self.scheduler):
            log.error("scheduler.died", code=self.scheduler.exitcode, restart_in=0)
            self.scheduler = self._create_process(self._create_scheduler(), "Scheduler")
            self.scheduler.start()
        return True

    def _has_ended(self, worker: _Worker, process: Any, now: float) -> None:
        """Say when a worker is to be replaced: at once if it ended by itself."""
        self._take(worker)
        if process.exitcode in (0, ENDED):
            worker.due, worker.pause = now, FIRST_PAUSE
            return
        worker.pause = FIRST_PAUSE if now - worker.started > STEADY else min(2 * worker.pause, LONGEST_PAUSE)
        worker.due = now + worker.pause
        log.error("worker.died", worker_pid=process.pid, code=process.exitcode, restart_in=worker.pause)

    def _replace(self, index: int, before: _Worker) -> None:
        worker = self._create_worker()
        worker.pause = before.pause
        process = self._create_process(worker, f"Worker-{index + 1}")
        self.worker_threads[index] = (worker, process)
        self.huey.storage.close()  # a connection must not be there in two processes
        process.start()

    def _take(self, worker: _Worker) -> None:
        if (left := worker.handover.take()) is not None:
            ran = ",".join(sorted({claimed.handler for claimed, _ in left.ended})) or None
            log.error("worker.gave_up", error=left.why, ran=ran, then="it is replaced, and what it held is settled")
            self._left.append(left)

    def _settle_left(self) -> None:
        """Record what workers left; as long as the store cannot be used it is kept."""
        while self._left:
            try:
                self._settle(self._left[0])
            except StoreError as error:
                log.warning("worker.not_settled", error=str(error), then="trying again")
                return
            self._left.pop(0)

    def _join_workers(self) -> bool:
        """Wait for the workers themselves: a copy that a handler forked may hold what `join` waits for."""
        end = time.monotonic() + self.shutdown_timeout
        while (alive := self._any_alive()) and time.monotonic() < end:
            time.sleep(0.02)
        return not alive

    def _any_alive(self) -> bool:
        processes = [process for _, process in self.worker_threads] + [self.scheduler]
        return any(map(self.environment.is_alive, processes))


def keep_to_itself(files: Collection[int]) -> None:
    """See to it that what this process forks, such as for `multiprocessing`, neither holds these files nor outlives it.

    A handler's process would hold the lock that says that the inbox runs. Where the system can (Linux), it ends with
    this one if the main thread forked it.
    """
    identities = {file: os.fstat(file)[1:3] for file in files}
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    from_main = [False]

    def before() -> None:
        from_main[0] = threading.current_thread() is threading.main_thread()

    def after() -> None:
        if prctl is not None and from_main[0]:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for file, identity in identities.items():
            with suppress(OSError):
                if os.fstat(file)[1:3] == identity:
                    os.close(file)

    os.register_at_fork(before=before, after_in_child=after)


def consume(
    queue: Queue, load: Load, settle: Callable[[Left], None], *, processes: int, shutdown_timeout: float
) -> None:
    """Work on the queue until SIGTERM or SIGINT; handlers then have `shutdown_timeout` seconds to finish.

    Each process calls `load` first, so that handler code is never imported before the fork and nothing it opens is
    shared. One that died is replaced within a second or, if it dies again and again, within ten; what one left that
    ended by itself goes to `settle`. An idle one waits for the queue's bell, and looks by itself every half second.
    """
    streams.take_dumps(lambda text: log.error("worker.ended_by_watchdog", traceback=text))
    consumer = _Consumer(
        queue,
        load,
        settle,
        workers=processes,
        worker_type="process",
        initial_delay=0.01,
        backoff=2.0,
        max_delay=0.5,
        check_worker_health=True,
        health_check_interval=0.2,
        shutdown_timeout=shutdown_timeout,
        graceful_signal="TERM",
    )
    consumer.run()
