"""The log line of each request: one, with its id, what became of it, and how long it took. Never a body or a secret.

Of what is refused only so many a second and source, and how many more there were, so that no storm fills the disk.
"""

import threading
import time
from collections.abc import Callable
from multiprocessing.util import Finalize

import structlog

from inbox.core.errors import InboxError, Refused, StoreError
from inbox.core.models import Request
from inbox.receive.receiver import Answer

log = structlog.get_logger("inbox.receive")

A_SECOND = 10
"""Lines of one kind and source; what comes beyond them in the same second is counted."""


class AccessLog:
    """Writes the lines; `clock` is in seconds and never set back, `begun` is on `time.perf_counter`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._log = log.bind()  # looked up once, not for each line
        self._mutex = threading.Lock()
        self._second = 0
        self._written: dict[tuple[str, str], int] = {}
        Finalize(None, self.summarise, exitpriority=2)  # before the log is written for the last time

    def accepted(self, source: str, request: Request, answer: Answer, begun: float) -> None:
        """Tell of an event that is on disk."""
        self._log.info(
            "event." + answer.status,
            request=request.id,
            source=source,
            id=answer.id,
            type=answer.type,
            key=answer.key,
            size=answer.size,
            remote=request.remote,
            status=answer.http_status,
            ms=_since(begun),
        )

    def refused(self, source: str, request: Request, error: InboxError, status: int, begun: float) -> None:
        """Tell of a request that was not stored."""
        fields = {"request": request.id, "source": source, "remote": request.remote, "status": status}
        if isinstance(error, Refused):
            fields |= {**error.told, "code": error.code, "diagnosis": error.outline}
            if self._may("request.refused", str(fields["source"])):
                log.warning("request.refused", **fields, ms=_since(begun))
        elif isinstance(error, StoreError) and self._may("store.unavailable", source):
            log.error("store.unavailable", **fields, error=str(error), ms=_since(begun))

    def failed(self, request: Request, error: Exception, path: str, begun: float) -> None:
        """Tell of what nobody thought of; nothing was acknowledged, and the traceback says where."""
        if self._may("request.failed", ""):
            log.error("request.failed", request=request.id, path=path, status=500, ms=_since(begun), exc_info=error)

    def look(self) -> None:
        """Tell of a second that is over, also if nothing was refused since; to be called again and again."""
        if self._written and int(self._clock()) != self._second:
            with self._mutex:
                if int(self._clock()) != self._second:
                    self._end_second()

    def summarise(self) -> None:
        """Tell how many more there were, also if the second is not over."""
        with self._mutex:
            self._end_second()

    def _may(self, event: str, source: str) -> bool:
        """Count a line, and tell whether it may be written."""
        with self._mutex:
            if int(self._clock()) != self._second:
                self._end_second()
            number = self._written[event, source] = self._written.get((event, source), 0) + 1
            return number <= A_SECOND

    def _end_second(self) -> None:
        written, self._written = self._written, {}
        self._second = int(self._clock())
        for (event, source), number in written.items():
            if number > A_SECOND:
                log.warning(event, source=source, more=number - A_SECOND)


def _since(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1000, 1)
