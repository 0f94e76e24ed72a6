"""Group commit: concurrent callers share one transaction and one wait for the disk.

The first caller writes for itself; those that come while it writes are written together by the next one of them.
Each returns only when its own item is committed. Nothing runs in the background.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from inbox.errors import StoreUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")

MOMENT = 0.05
"""Seconds that one caller gets to end a stall before the others are refused."""


class _Ticket(Generic[Item, Result]):
    """One caller's item; `wake` is released when it is written, or when its caller is to write."""

    __slots__ = ("error", "item", "leads", "result", "size", "wake")

    def __init__(self, item: Item, size: int) -> None:
        self.item = item
        self.size = size
        self.wake = threading.Lock()
        self.wake.acquire()
        self.leads = False
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
        self._mutex = threading.Lock()
        self._max_bytes = max_bytes
        self._size = size
        self._bytes = 0
        self._since = 0.0
        self._busy = False
        self._stalled = False
        self._waiting: deque[_Ticket[Item, Result]] = deque()

    def __call__(self, item: Item, *, spare: bool = False) -> Result:
        """Return the result of writing the item, once it is committed. Raises what `write` raises.

        A `spare` item, which could be done without, takes at most half of the places.
        """
        ticket: _Ticket[Item, Result] = _Ticket(item, self._size(item))
        with self._mutex:
            patience = min(self._patience, MOMENT) if self._stalled else self._patience
            if self._busy:
                self._admit(ticket, 2 if spare else 1)
            else:
                self._busy = ticket.leads = True
                self._since = time.monotonic()
        if not ticket.leads and not ticket.wake.acquire(timeout=patience) and not self._withdraw(ticket, patience):
            ticket.wake.acquire()
        if ticket.leads:
            self._lead(ticket)
        if ticket.error is not None:
            raise ticket.error
        return ticket.result  # type: ignore[return-value]

    def _admit(self, ticket: _Ticket[Item, Result], share: int) -> None:
        """Let a ticket wait. Raises StoreUnavailable if there is no place, or if nothing moves."""
        if time.monotonic() - self._since > (MOMENT if self._stalled else self._patience):
            raise self._stall()
        if len(self._waiting) >= self._limit // share:
            raise StoreUnavailable(f"{len(self._waiting)} requests are waiting for the store")
        if self._bytes and self._bytes + ticket.size > self._max_bytes // share:
            raise StoreUnavailable(f"requests with {self._bytes} bytes are waiting for the store")
        self._waiting.append(ticket)
        self._bytes += ticket.size

    def _withdraw(self, ticket: _Ticket[Item, Result], patience: float) -> bool:
        """Take a ticket back that nobody is writing yet and raise; False if it is too late for that."""
        with self._mutex:
            try:
                self._waiting.remove(ticket)
            except ValueError:
                return False
            self._bytes -= ticket.size
        raise StoreUnavailable(f"the store did not get to this request in {patience:g} s")

    def _stall(self) -> StoreUnavailable:
        return StoreUnavailable(f"the store has been busy with one commit for more than {self._patience:g} s")

    def _lead(self, own: _Ticket[Item, Result]) -> None:
        """Write the own ticket and those that wait, then hand over to the next that came meanwhile."""
        with self._mutex:
            batch = [own]
            while self._waiting and len(batch) < self._batch:
                batch.append(self._next())
        try:
            self._commit(batch)
        finally:
            with self._mutex:
                now = time.monotonic()
                self._stalled = isinstance(own.error, StoreUnavailable) and now - self._since >= self._patience
                given_up = self._give_up() if self._stalled else []
                following = self._next() if self._waiting else None
                self._busy = following is not None
                self._since = now
            if following is not None:
                following.leads = True
                following.wake.release()
            for ticket in [*batch[1:], *given_up]:
                ticket.wake.release()

    def _give_up(self) -> list[_Ticket[Item, Result]]:
        """Return all that wait, as failed: to write them would take as long again."""
        tickets = [self._next() for _ in range(len(self._waiting))]
        for ticket in tickets:
            ticket.error = self._stall()
        return tickets

    def _next(self) -> _Ticket[Item, Result]:
        ticket = self._waiting.popleft()
        self._bytes -= ticket.size
        return ticket

    def _commit(self, batch: list[_Ticket[Item, Result]]) -> None:
        try:
            results = self._write([ticket.item for ticket in batch])
        except StoreUnavailable as error:
            for ticket in batch:
                ticket.error = StoreUnavailable(str(error))
                ticket.error.__cause__ = error
            return
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
            else:
                for ticket in batch:
                    self._commit([ticket])
            return
        except BaseException:
            for ticket in batch:
                ticket.error = StoreUnavailable("the receiver is stopping")
            raise
        for ticket, result in zip(batch, results, strict=True):
            ticket.result = result
