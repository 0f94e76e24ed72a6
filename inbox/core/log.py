"""Log events: a name and fields, one line each, on standard error. Never a body, a signature or a secret.

As text (logfmt) or JSON; each line names the process that wrote it, which children are told of in the environment.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from inbox.core import streams

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")
LEVEL, FORMAT = "INBOX_LOG_LEVEL", "INBOX_LOG_FORMAT"
"""Environment variables, for children."""

_label: dict[str, str] = {}


def label(process: str) -> None:
    """Have each line of this process, and of its forks, say what it is: receiver, worker or supervisor."""
    _label["process"] = process


def configure(level: str = "info", form: str = "text", *, collect: bool = False) -> None:
    """Send log events, and what libraries log from `warning` on, to standard error.

    With `collect` a thread makes lines of the events and writes them, many at once: a process that logs a thousand a
    second does not wait for each, and none ever waits for the reader of the log, nor does what prints in this process.
    `kill -9` then loses the lines of the last 20 ms.
    """
    render: Processor = as_text if form == "text" else structlog.processors.JSONRenderer(default=str)
    now: list[Processor] = [structlog.processors.add_log_level, _timed, structlog.processors.format_exc_info]
    later: list[Processor] = [_headed, render]
    wrapper: type[Any] = structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()])
    if collect:
        writer = streams.replace(partial(_line, later), _dropped)
        collector = _LineCollector(writer)
        factory: Callable[..., Any] = lambda *names: collector  # noqa: E731 – beside the other one
        wrapper = type("Quick", (_Quick, wrapper), {})
        libraries: logging.Handler = _Libraries(writer)
        logging.captureWarnings(True)
    else:
        factory = structlog.WriteLoggerFactory(streams.Tolerant(sys.stderr))  # type: ignore[arg-type]
        libraries = logging.StreamHandler(sys.stderr)
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
    libraries.setFormatter(formatter)
    _install(libraries)


def flush() -> None:
    """Write what has been collected, before a process ends without more ado."""
    streams.end()


class _Libraries(logging.Handler):
    """Takes what libraries log."""

    def __init__(self, writer: streams.LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(f"{self.format(record)}\n".encode(errors="backslashreplace"))
        except Exception:
            self.handleError(record)


_installed: list[logging.Handler] = []


def _install(handler: logging.Handler) -> None:
    """Have a handler take what libraries log, in the place of the one before."""
    root = logging.getLogger()
    while _installed:
        root.removeHandler(_installed.pop())
    _installed.append(handler)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)


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


def _line(processors: Sequence[Processor], event: EventDict | bytes) -> bytes:
    """Return the line of an event, for which nothing but these processors is left to do; text is a line already."""
    if isinstance(event, bytes):
        return event
    made: Any = event
    try:
        for processor in processors:
            made = processor(None, "", made)
    except Exception as error:  # or no line would be written any more
        made = processors[-1](None, "", {"level": "error", "event": "log.failed", "error": repr(error)})
    return f"{made}\n".encode(errors="backslashreplace")


def _dropped(number: int) -> EventDict:
    """Return the event that tells how many lines are missing."""
    return {"timestamp": time.time(), "level": "error", "event": "log.dropped", "lines": number}


class _Quick:
    """What is mixed into a structlog logger: it does for most events what the processors do, in a third of the time."""

    _context: EventDict
    _logger: "_LineCollector"

    def _proxy_to_logger(self, method_name: str, event: str | None = None, **fields: Any) -> Any:
        if "exc_info" in fields or method_name not in LEVELS:
            return super()._proxy_to_logger(method_name, event, **fields)  # type: ignore[misc]
        return self._logger.info(
            {**self._context, **fields, "timestamp": time.time(), "level": method_name, "event": event}
        )


class _LineCollector:
    """A logger that leaves events to be made lines of; their fields must not change afterwards."""

    def __init__(self, writer: streams.LineWriter) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = writer.write
