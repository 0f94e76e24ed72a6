"""Log events: a name and fields, one line each, on standard error. Never a body, a signature or a secret.

As text (logfmt) or JSON; each line names the process that wrote it, which children are told of in the environment.
"""

import fcntl
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from multiprocessing.util import Finalize
from typing import Any, TextIO
from weakref import WeakSet

import structlog
from structlog.typing import EventDict, Processor

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")
LEVEL, FORMAT = "INBOX_LOG_LEVEL", "INBOX_LOG_FORMAT"
"""Environment variables, for children."""

FLUSH = 2.0
"""Seconds that a process which ends or forks waits at most for lines that are being written."""

PAUSE = 0.02
"""Seconds that lines are collected before they are written together."""

_label: dict[str, str] = {}
_own: list[TextIO] = []
_collecting: "WeakSet[Collected]" = WeakSet()


def label(process: str) -> None:
    """Have each line of this process, and of its forks, say what it is: receiver, worker or supervisor."""
    _label["process"] = process


def configure(level: str = "info", form: str = "text", *, collect: bool = False, file: TextIO | None = None) -> None:
    """Send log events, and what libraries log from `warning` on, to standard error.

    With `collect` a thread makes lines of the events and writes them, many at once: a process that logs a thousand a
    second does not wait for each. `kill -9` then loses the lines of the last 20 ms. `file` is used in place of standard
    error, which a handler may close.
    """
    file = file or sys.stderr
    render: Processor = as_text if form == "text" else structlog.processors.JSONRenderer(default=str)
    now: list[Processor] = [structlog.processors.add_log_level, _timed, structlog.processors.format_exc_info]
    later: list[Processor] = [_headed, render]
    factory: Callable[..., Any] = structlog.WriteLoggerFactory(file)
    wrapper: type[Any] = structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()])
    if collect:
        collector = _Collector(Collected(file, partial(_line, later)))
        factory, wrapper = lambda *names: collector, type("Quick", (_Quick, wrapper), {})
    structlog.configure(
        processors=[*now, _whole] if collect else [*now, *later],
        wrapper_class=wrapper,
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *now, _headed],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
    )
    libraries = logging.StreamHandler(file)
    libraries.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[libraries])


def own_file() -> TextIO | None:
    """Return another file for standard error, out of the way of code that closes descriptors; None if there is none."""
    for lowest in (200, 20):
        with suppress(OSError, ValueError):
            number = fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, lowest)
            _own.append(os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace"))
            return _own[-1]
    return None


def descriptor() -> int | None:
    """Return the descriptor of the file that `own_file` made in this process or in the one that forked it, if any."""
    return _own[-1].fileno() if _own else None


def flush() -> None:
    """Write what has been collected, before a process ends without more ado."""
    for collected in list(_collecting):
        with suppress(OSError, ValueError):
            collected.write_now(FLUSH)


_ORDER = ("timestamp", "level", "process", "pid", "event")
_logfmt = structlog.processors.LogfmtRenderer(key_order=_ORDER, drop_missing=True, bool_as_flag=False)
_PLAIN = frozenset({str, int, float, type(None)})


def as_text(logger: object, method: str, event: EventDict) -> str:
    """Return what structlog's LogfmtRenderer does; a line that needs no quotes, as most, in a tenth of the time."""
    items = {key: event[key] for key in _ORDER if event.get(key) is not None}
    items.update(event)
    line = " ".join([f"{key}={'' if value is None else value}" for key, value in items.items()])
    if (
        line.count(" ") == len(items) - 1
        and line.count("=") == len(items)
        and '"' not in line
        and "\n" not in line
        and _PLAIN.issuperset(map(type, items.values()))
    ):
        return line
    return _logfmt(logger, method, event)


def _timed(logger: object, method: str, event: EventDict) -> EventDict:
    event["timestamp"] = time.time()
    return event


def _headed(logger: object, method: str, event: EventDict) -> EventDict:
    """Put in front what each line has: the time as people read it, the level, which process it is, the event."""
    at = datetime.fromtimestamp(event.pop("timestamp"), UTC).isoformat(timespec="microseconds")[:26] + "Z"
    process = {**_label, "pid": os.getpid()} if _label else {}
    return {"timestamp": at, "level": event.pop("level"), **process, "event": event.pop("event", ""), **event}


def _whole(logger: object, method: str, event: EventDict) -> tuple[tuple[EventDict], dict[str, Any]]:
    """Return the arguments for the logger: the event as it is, of which somebody else makes a line."""
    return (event,), {}


def _line(processors: Sequence[Processor], event: EventDict) -> str:
    """Return the line of an event, for which nothing but these processors is left to do."""
    made: Any = event
    try:
        for processor in processors:
            made = processor(None, "", made)
    except Exception as error:  # or no line would be written any more
        made = processors[-1](None, "", {"level": "error", "event": "log.failed", "error": repr(error)})
    return f"{made}\n"


class _Quick:
    """What is mixed into a structlog logger: it does for most events what the processors do, in a third of the time."""

    _context: EventDict
    _logger: "_Collector"

    def _proxy_to_logger(self, method_name: str, event: str | None = None, **fields: Any) -> Any:
        if "exc_info" in fields or method_name not in LEVELS:
            return super()._proxy_to_logger(method_name, event, **fields)  # type: ignore[misc]
        return self._logger.info(
            {**self._context, **fields, "timestamp": time.time(), "level": method_name, "event": event}
        )


class _Collector:
    """A logger that leaves events to be made lines of; their fields must not change afterwards."""

    def __init__(self, collected: "Collected") -> None:
        self.debug = self.info = self.warning = self.error = self.critical = collected.write


class Collected:
    """A file that lines are written to later, together and in their order; at the end of the process at the latest.

    `line` makes a line of what was taken, in the thread that writes.
    """

    def __init__(self, file: TextIO, line: Callable[[Any], str] = str) -> None:
        self._file = file
        self._line = line
        _collecting.add(self)
        self._begin()
        # A child that is forked while the thread writes would inherit the file's own lock, held for ever. What was
        # collected before, its parent writes.
        os.register_at_fork(before=self._hold, after_in_parent=self._let_go, after_in_child=self._begin)
        self._last = Finalize(
            None, self.write_now, exitpriority=1
        )  # atexit would not do it in a child of multiprocessing

    def _begin(self) -> None:
        self._lines: list[Any] = []
        self._come = threading.Event()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    def write(self, item: Any) -> None:
        """Take a line, or what one is to be made of."""
        self._lines.append(item)
        if not self._come.is_set():
            self._come.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Do nothing: that is the point."""

    def write_now(self, patience: float = -1) -> None:
        """Write what has been collected, unless what is being written takes longer than `patience` seconds."""
        if not self._writing.acquire(timeout=patience):
            return
        try:
            lines = self._lines[:]
            del self._lines[: len(lines)]  # others append to the same list meanwhile
            self._file.write("".join(map(self._line, lines)))
            self._file.flush()
        finally:
            self._writing.release()

    def _hold(self) -> None:
        self._held = self._writing.acquire(timeout=FLUSH)

    def _let_go(self) -> None:
        if self._held:
            self._writing.release()

    def close(self) -> None:
        """Write what has been collected, and take no more; the file is the caller's again."""
        self.write_now()
        self._last.cancel()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._come.wait()
            pause.wait(PAUSE)
            self._come.clear()
            with suppress(OSError, ValueError):  # a full disk, a closed pipe: lost, but those after it may not be
                self.write_now()
