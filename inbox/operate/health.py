"""Answers how the inbox is: `/readyz` and `/metrics`, and what the receiver measures on its way to them.

Reads the store through a connection of its own, so that a scrape never waits for, or delays, a request.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from inbox.core.errors import StoreError
from inbox.core.histograms import Recorder
from inbox.operate import metrics
from inbox.store.protocols_monitor import Looked, Watch


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is still good. Seconds and bytes; 0 bytes of store is no limit."""

    backlog_age: float = 300.0
    process_gone: float = 60.0
    min_free_bytes: int = 0
    max_store_bytes: int = 0


class HealthReporter:
    """Of the process that answers.

    deadlines  by source: the seconds in which its sender wants an answer; its keys are the sources that are configured
    probe      raises StoreError unless an event could be written durably
    watch      opens the store when it is first needed, which may be after a fork
    queue      tries the queue, and returns why it cannot be used, "" if it can
    stale      tells why the files on disk would not start, "" if they would
    """

    def __init__(
        self,
        deadlines: Mapping[str, float],
        probe: Callable[[], None],
        watch: Callable[[], Watch],
        limits: Limits,
        *,
        timings: Recorder,
        clock: Callable[[], float],
        steady: Callable[[], float],
        alarms: Callable[[], Mapping[tuple[str, str], bool]] = dict,
        begin: Callable[[], None] = lambda: None,
        queue: Callable[[], str] = str,
        stale: Callable[[], str] = str,
    ) -> None:
        self._deadlines = deadlines
        self._probe = probe
        self._watch = watch
        self._limits = limits
        self._timings = timings
        self._clock = clock
        self._steady = steady
        self._alarms = alarms
        self._begin = begin
        self._queue = queue
        self._stale = stale
        self._one = threading.Lock()

    def start(self) -> None:
        """Begin to give signs of life; the first answer does so, too."""
        self._begin()

    def answered(self, source: str, seconds: float) -> None:
        """Count how long an answer took, under its source if that is configured."""
        self._begin()
        self._timings.observe("answer", source if source in self._deadlines else "", seconds)

    def checks(self) -> dict[str, str]:
        """Return what was looked at: "ok", or what is wrong with it. Writes durably, to learn whether that works."""
        self._begin()
        found = {"store": "ok"}
        if self._stale():
            found["files"] = "the files on disk would not start: `inbox check` says why; what was read before is in use"
        try:
            self._probe()
        except StoreError as error:
            found["store"] = str(error)
        found["queue"] = self._queue() or "ok"
        try:
            return found | verdicts(self._look(), self._limits)
        except StoreError as error:
            return found | dict.fromkeys(("disk", "backlog", "worker", "handlers"), f"not known: {error}")

    def metrics(self) -> bytes:
        """Return the text for a scraper; one scrape at a time. Raises StoreError."""
        with self._one:
            return metrics.exposition(
                metrics.MetricNumbers(
                    counts=self._watch().totals(),
                    looked=self._look(),
                    deadlines=self._deadlines,
                    min_free_bytes=self._limits.min_free_bytes,
                    alarms=self._alarms(),
                )
            )

    def _look(self) -> Looked:
        return self._watch().look(self._clock(), self._steady())


def verdicts(looked: Looked, limits: Limits) -> dict[str, str]:
    """Return what is wrong with disk, backlog, worker and handlers, "ok" where nothing is."""
    return {
        "disk": _disk(looked, limits) or "ok",
        "backlog": _backlog(looked, limits) or "ok",
        "worker": looked.gone("worker", limits.process_gone) or "ok",
        "handlers": _handlers(looked) or "ok",
    }


def _disk(looked: Looked, limits: Limits) -> str:
    if looked.disk_free < limits.min_free_bytes:
        return f"{looked.disk_free} bytes are free on the disk; min_free_bytes = {limits.min_free_bytes}"
    if 0 < limits.max_store_bytes <= looked.store["used"]:
        return f"the store holds {looked.store['used']} bytes; max_store_bytes = {limits.max_store_bytes}"
    return ""


def _handlers(looked: Looked) -> str:
    if not looked.failed:
        return ""
    return f"modules that did not import: {', '.join(sorted(looked.failed))}; `inbox handlers` tells why"


def _backlog(looked: Looked, limits: Limits) -> str:
    if looked.oldest <= limits.backlog_age:
        return ""
    return f"work has been waiting for {looked.oldest:.0f} s; backlog_age = {limits.backlog_age:g}"
