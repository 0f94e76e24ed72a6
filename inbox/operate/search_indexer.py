"""Keeps the index of words beside the work of a worker process: new events first, and what is gone taken out.

In steps of a few milliseconds with pauses, longer ones while something more urgent waits, so that nobody notices.
Decides when; `inbox.store.protocols_search.Indexing` knows what is next.
"""

import os
import secrets
import socket
import threading
from collections.abc import Callable

import structlog

from inbox.core.errors import InboxError, SearchUnavailable
from inbox.store.protocols_search import Indexing

log = structlog.get_logger("inbox.operate.search_indexer")

PAUSE = 2.0
"""How many times as long as a step took it pauses."""

BUSY = 20.0
"""The same while events or deliveries wait: the index falls behind, and catches up."""

LONGEST = 0.5
"""Seconds of such a pause at most."""

IDLE = 1.0
"""Seconds until it looks again when there was nothing to do."""

PUT_OFF = 30.0
"""Seconds until it tries again after the store was locked or full, or cannot be searched."""


class Indexer:
    """Indexes a store, or empties its index where it is not wanted (`enabled`)."""

    def __init__(
        self,
        store: Indexing,
        enabled: bool,
        *,
        clock: Callable[[], float],
        steady: Callable[[], float],
    ) -> None:
        self._store = store
        self._enabled = enabled
        self._clock = clock
        self._steady = steady
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._said = ""

    def start(self) -> None:
        """Begin to index beside everything else in this process, until `close`."""
        self._thread = threading.Thread(target=self._run, name="index", daemon=True)
        self._thread.start()

    def catch_up(self) -> int:
        """Do all that there is to do now, without pauses; return how many steps that took."""
        number = 0
        while self.step():
            number += 1
        return number

    def step(self) -> str | None:
        """Do what is next, and return a word for it; None if there is nothing to do."""
        do = self._store.step if self._enabled else self._store.clear
        done = do(owner=self._owner, at=self._clock(), steady=self._steady())
        if done in ("dropped", "rewritten"):
            log.info(f"index.{done}")
        if done == "dropped":
            self._store.tidy()
        return done

    def close(self) -> None:
        """End after the step that is being done, and let go of the store."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(5.0)
        self._store.close()

    def _run(self) -> None:
        while not self._ended.wait(self._paced()):
            pass

    def _paced(self) -> float:
        """Do a step, and return for how many seconds to pause."""
        begun = self._steady()
        try:
            if self.step() is None:
                return IDLE
            self._said = ""
            factor = BUSY if self._store.busy(self._clock()) else PAUSE
        except SearchUnavailable as error:
            self._say("index.not_possible", str(error))
            return PUT_OFF
        except InboxError as error:
            self._say("index.put_off", str(error))
            return PUT_OFF
        return min(LONGEST, factor * (self._steady() - begun))

    def _say(self, event: str, error: str) -> None:
        """Log what is in the way, once until it is gone."""
        if error != self._said:
            log.warning(event, error=error, then="everything else works; it is tried again")
        self._said = error
