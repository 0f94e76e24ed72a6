"""Deliveries that were claimed together: run one after the other, recorded together, never held for long.

Claiming and recording cost a transaction each; several deliveries share it as long as their handlers are short.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

import structlog

from inbox.core.errors import StoreError, StoreUnavailable
from inbox.core.models import Claimed
from inbox.core.process_integrity import damage
from inbox.deliver.handover import Left
from inbox.deliver.watchdog import Watchdog
from inbox.store.protocols import Finished, Outcome, Work

log = structlog.get_logger("inbox.deliver.batch")

SECONDS = 0.03
"""How long a batch lasts: then what is done is recorded, and what was not begun is given back for others to take."""

PAUSE = 0.5
"""Seconds between two tries to record outcomes."""

Recorded = Callable[[Claimed, Outcome, Finished], None]


class Batch:
    """Iterate over it, say `done` for each, and close it (leave the `with` block).

    `recorded` is called for each outcome that was recorded, `given_back` when others can take what was not begun.
    Outcomes that cannot be recorded for `patience` seconds, or an error in the block, end the batch without its having
    recorded anything: then `left` says what is to be done with it.
    """

    def __init__(
        self,
        claimed: Sequence[Claimed],
        work: Work,
        guard: Watchdog,
        *,
        clock: Callable[[], float],
        recorded: Recorded,
        given_back: Callable[[], None],
        patience: float = math.inf,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._waiting = deque(claimed)
        self._held = {each.token: each for each in claimed}
        self._ended: list[tuple[Claimed, Outcome]] = []
        self._work = work
        self._guard = guard
        self._clock = clock
        self._recorded = recorded
        self._given_back = given_back
        self._patience = patience
        self._pause = pause
        self._mutex = threading.RLock()
        self.was_cut_short = False

    def __enter__(self) -> "Batch":
        for claimed in self._waiting:
            self._guard.hold(claimed.id, claimed.token)
        self._guard.call_after(SECONDS, self._cut_short)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._guard.call_off(self._cut_short)
        if isinstance(error, Exception):
            return
        self._record(patient=True)
        try:
            self._give_back()
        except StoreError as failure:
            log.warning("batch.not_given_back", error=str(failure), then="others take it when the lease has run out")
        for claimed in list(self._held.values()):
            self._let_go(claimed)

    def left(self, *, all_of_it: bool) -> Left:
        """Stop holding what is held, and return it.

        What had begun and has not ended belongs to it only with `all_of_it`; else its lease runs out, as in a crash.
        """
        with self._mutex:
            ended = {claimed.token for claimed, _ in self._ended}
            waiting = list(self._held.values() if all_of_it else self._waiting)
            for claimed in list(self._held.values()):
                self._let_go(claimed)
            return Left(self._ended, [claimed for claimed in waiting if claimed.token not in ended])

    def __iter__(self) -> Iterator[Claimed]:
        while True:
            with self._mutex:
                if not self._waiting:
                    return
                claimed = self._waiting.popleft()
            yield claimed

    def done(self, claimed: Claimed, outcome: Outcome) -> None:
        """Have an outcome recorded, at the latest when the batch ends."""
        with self._mutex:
            self._ended.append((claimed, outcome))

    def _cut_short(self) -> None:
        """Run in a thread while a handler takes its time."""
        self.was_cut_short = True
        try:
            with self._mutex:
                self._record(patient=False)
                self._give_back()
        except Exception as error:
            log.warning("batch.not_cut_short", error=str(error), then="when the handler is done")

    def _record(self, *, patient: bool) -> None:
        """Record what ended; a store that is full or locked is asked again, if there is time.

        Raises StoreError, StoreUnavailable after `patience` seconds: then it may be this process that fails.
        """
        end = time.monotonic() + self._patience
        with self._mutex:
            while self._ended:
                try:
                    finished = self._work.finish_all(self._ended, self._clock())
                except StoreUnavailable as error:
                    ids = [claimed.id for claimed, _ in self._ended]
                    log.warning("delivery.not_recorded", deliveries=ids, error=str(error), then="trying again")
                    if not patient:
                        return
                    if time.monotonic() >= end or damage():
                        raise
                    self._guard.disarm()
                    self._pause(PAUSE)
                    continue
                ended, self._ended = self._ended, []
                for (claimed, outcome), result in zip(ended, finished, strict=True):
                    self._let_go(claimed)
                    self._recorded(claimed, outcome, result)

    def _give_back(self) -> None:
        """Let others have what was not begun. Raises StoreError."""
        with self._mutex:
            if not self._waiting:
                return
            self._work.give_back(self._waiting)
            while self._waiting:
                self._let_go(self._waiting.popleft())
        self._given_back()

    def _let_go(self, claimed: Claimed) -> None:
        del self._held[claimed.token]
        self._guard.let_go(claimed.id, claimed.token)
