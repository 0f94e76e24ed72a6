"""Log events: a name and fields, one line each, on standard error. Never a body, a signature or a secret."""

import logging
import sys
import threading
from contextlib import suppress
from multiprocessing.util import Finalize
from typing import TextIO

import structlog

LEVELS = ("debug", "info", "warning", "error")

PAUSE = 0.02
"""Seconds that lines are collected before they are written together."""


def configure(level: str = "info", *, collect: bool = False) -> None:
    """Send log events, and what libraries log from `warning` on, to standard error.

    With `collect` a thread writes the lines, many at once: a process that logs a thousand a second does not wait for
    each. `kill -9` then loses the lines of the last 20 ms.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(Collected(sys.stderr) if collect else sys.stderr),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="level=%(levelname)s logger=%(name)s %(message)s"
    )


class Collected:
    """A file that lines are written to later, together and in their order; at the end of the process at the latest."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lines: list[str] = []
        self._come = threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None
        Finalize(None, self.write_now, exitpriority=1)  # atexit would not do it in a child of multiprocessing

    def write(self, line: str) -> None:
        """Take a line."""
        self._lines.append(line)
        if not self._come.is_set():
            self._come.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Do nothing: that is the point."""

    def write_now(self) -> None:
        """Write what has been collected."""
        with self._writing:
            lines = self._lines[:]
            del self._lines[: len(lines)]  # others append to the same list meanwhile
            self._file.write("".join(lines))
            self._file.flush()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._come.wait()
            pause.wait(PAUSE)
            self._come.clear()
            with suppress(OSError):  # a full disk, a closed pipe: these lines are lost, those after it may not be
                self.write_now()
