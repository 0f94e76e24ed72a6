"""Group commit: concurrent callers share one transaction and one wait for the disk.

One thread writes. What comes while it writes is written together next. Nobody is told of an item before it is
committed. Callers wait (`GroupCommit(item)`), or are called back (`submit`), as on an event loop.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from queue import SimpleQueue
from typing import Any, Generic, TypeAlias, TypeVar
from weakref import WeakSet

import structlog

from inbox.core.errors import StoreUnavailable

log = structlog.get_logger("inbox.store")

Item = TypeVar("Item")
Result = TypeVar("Result")

MOMENT = 0.05
"""Seconds that one caller gets to end a stall before the others are refused."""

GATHER = 0.002
"""Seconds between two batches, if the first had several items: who was just answered comes again, and fewer, larger
batches leave more of the processor to everybody. Who is alone never waits for it."""

Done: TypeAlias = Callable[[Result | None, BaseException | None], None]
"""Called in the writer's thread, with the result of an item that is committed, or the error of one that is not."""


class _Ticket(Generic[Item, Result]):
    """An item on its way."""

    __slots__ = ("deadline", "done", "error", "item", "result", "size")

    def __init__(self, item: Item, size: int, done: Done[Result]) -> None:
        self.item = item
        self.size = size
        self.done = done
        self.deadline = 0.0
        self.result: Result | None = None
        self.error: BaseException | None = None


class GroupCommit(Generic[Item, Result]):
    """Collects items of concurrent callers and hands them to `write` in batches.

    `write` takes the items of a batch and returns their results in the same order; it must be all or nothing. If it
    raises anything but StoreUnavailable, each item is written alone, so that a bad one fails only its own caller.
    A caller gets StoreUnavailable and is never written (a 503 means "not stored")
    - at once, if `limit` others or `max_bytes` of them wait, or if the store is stalled: what is being written takes
      longer than `patience`, or what was written last failed after so long. One caller then tries, and ends the stall
      if it gets through, for which the others wait only a moment;
    - when it has waited for `patience` seconds, or waits when the store stalls.
    Once its batch is being written it waits for the outcome, however long the disk takes.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        limit: int = 512,
        batch: int = 128,
        patience: float = 5.0,
        max_bytes: int = 64 * 1024 * 1024,
        size: Callable[[Item], int] = lambda item: 0,
    ) -> None:
        self._write = write
        self._limit = limit
        self._batch = batch
        self._patience = patience
        self._max_bytes = max_bytes
        self._size = size
        self.begin()
        _watch_forks()
        _commits.add(self)

    def begin(self) -> None:
        """Wait for items, also in a forked child, which has no writer, and locks that nobody will let go of."""
        self._mutex = threading.Lock()
        self._bytes = 0
        self._since = 0.0
        self._busy = False
        self._stalled = False
        self._waiting: deque[_Ticket[Item, Result]] = deque()
        self._work: SimpleQueue[None] = SimpleQueue()
        self._writer: threading.Thread | None = None

    def __call__(self, item: Item, *, spare: bool = False) -> Result:
        """Return the result of writing the item, once it is committed. Raises what `write` raises.

        A `spare` item, which could be done without, takes at most half of the places.
        """
        written = threading.Lock()
        written.acquire()
        ticket = self.submit(item, lambda result, error: written.release(), spare=spare)
        if not written.acquire(timeout=max(0.0, ticket.deadline - time.monotonic())):
            self.give_up_late()
            written.acquire()
        if ticket.error is not None:
            raise ticket.error
        return ticket.result  # type: ignore[return-value]

    def submit(self, item: Item, done: Done[Result], *, spare: bool = False) -> _Ticket[Item, Result]:
        """Have an item written, and `done` called when it is; `give_up_late` ends the wait of one that gets no turn.

        Raises StoreUnavailable if it is not even taken.
        """
        ticket: _Ticket[Item, Result] = _Ticket(item, self._size(item), done)
        with self._mutex:
            now = time.monotonic()
            if self._busy:
                self._admit(ticket, 2 if spare else 1, now)
            else:
                self._have_writer()
            ticket.deadline = now + (min(self._patience, MOMENT) if self._stalled else self._patience)
            self._waiting.append(ticket)
            self._bytes += ticket.size
            if not self._busy:
                self._busy, self._since = True, now
                self._work.put(None)
        return ticket

    def give_up_late(self) -> None:
        """Fail those whose turn has not come in time; what is being written is not among them."""
        with self._mutex:
            now = time.monotonic()
            late = [ticket for ticket in self._waiting if ticket.deadline <= now]
            if late:
                self._waiting = deque(ticket for ticket in self._waiting if ticket.deadline > now)
            for ticket in late:
                self._bytes -= ticket.size
                ticket.error = StoreUnavailable(f"the store did not get to this request in {self._patience:g} s")
        _tell(late)

    def close(self) -> None:
        """End the writer's thread when everything that waits is written."""
        with self._mutex:
            writer, self._writer = self._writer, None
        if writer is not None:
            self._work.put(None)
            writer.join()

    def _admit(self, ticket: _Ticket[Item, Result], share: int, now: float) -> None:
        """Raise StoreUnavailable if there is no place to wait, or if nothing moves."""
        if now - self._since > (MOMENT if self._stalled else self._patience):
            raise self._stall()
        if len(self._waiting) >= self._limit // share:
            raise StoreUnavailable(f"{len(self._waiting)} requests are waiting for the store")
        if self._bytes and self._bytes + ticket.size > self._max_bytes // share:
            raise StoreUnavailable(f"requests with {self._bytes} bytes are waiting for the store")

    def _stall(self) -> StoreUnavailable:
        return StoreUnavailable(f"the store has been busy with one commit for more than {self._patience:g} s")

    def _have_writer(self) -> None:
        if self._writer is None:
            writer = threading.Thread(target=self._run, name="store-writer", daemon=True)
            try:
                writer.start()
            except RuntimeError as error:  # no more threads for now; the next caller tries again
                raise StoreUnavailable(f"the store has no thread to write in: {error}") from error
            self._writer = writer

    def _run(self) -> None:
        while True:
            self._work.get()
            if not self._busy:
                return
            while batch := self._next():
                several = len(batch) > 1
                self._commit(batch)
                self._end(batch)
                if several and not self._stalled:
                    time.sleep(GATHER)
            # `_busy` is over since `_next` found nothing: whoever comes now has it woken again.

    def _next(self) -> list[_Ticket[Item, Result]]:
        """Return those that are to be written now; none ends being busy."""
        with self._mutex:
            batch = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
            self._bytes -= sum(ticket.size for ticket in batch)
            self._busy, self._since = bool(batch), time.monotonic()
        return batch

    def _end(self, batch: list[_Ticket[Item, Result]]) -> None:
        """Tell those whose batch it was; if it failed after all its patience, those that wait as well."""
        with self._mutex:
            failed = isinstance(batch[0].error, StoreUnavailable)
            self._stalled = failed and time.monotonic() - self._since >= self._patience
            if self._stalled:  # to write them would take as long again
                for ticket in self._waiting:
                    ticket.error = self._stall()
                    batch.append(ticket)
                self._waiting.clear()
                self._bytes = 0
            self._since = time.monotonic()
        _tell(batch)

    def _commit(self, batch: list[_Ticket[Item, Result]]) -> None:
        try:
            results = self._write([ticket.item for ticket in batch])
            for ticket, result in zip(batch, results, strict=True):
                ticket.result = result
        except StoreUnavailable as error:
            for ticket in batch:
                ticket.error = StoreUnavailable(str(error))
                ticket.error.__cause__ = error
        except BaseException as error:
            if len(batch) == 1:
                batch[0].error = error
            else:
                for ticket in batch:
                    self._commit([ticket])


def _tell(tickets: Sequence[_Ticket[Item, Result]]) -> None:
    """Call them back; one who cannot be told, as when his event loop is closed, takes nothing from the others."""
    for ticket in tickets:
        try:
            ticket.done(ticket.result, ticket.error)
        except Exception as error:
            log.error("caller.not_told", stored=ticket.error is None, error=repr(error))


_commits: WeakSet[GroupCommit[Any, Any]] = WeakSet()


@cache
def _watch_forks() -> None:
    """Begin anew in a forked child before any of its threads can ask; with a check at each call two of them race."""
    os.register_at_fork(after_in_child=_begin_all)


def _begin_all() -> None:
    for commit in _commits:
        commit.begin()
