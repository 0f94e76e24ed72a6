"""The waiting room of the receiver: how many requests are worked on, how many wait for that, and what they may weigh.

Whoever finds no room is told so at once, so that a storm cannot fill the memory nor outlast itself.
"""

from collections.abc import Callable
from contextlib import ExitStack
from threading import BoundedSemaphore, Lock

from inbox.config import ServerSettings
from inbox.errors import StoreUnavailable


class Room:
    """Lets `threads` requests be worked on at once and `max_waiting` wait for their turn, for `patience` at most.

    The bodies of all of them, and of those that are still arriving, have at most `max_waiting_bytes`; one alone may
    have more.
    """

    def __init__(self, server: ServerSettings) -> None:
        self._server = server
        self._places = BoundedSemaphore(server.threads)
        self._mutex = Lock()
        self._waiting = 0
        self._bytes = 0

    def enter(self, stay: ExitStack, expected: int, fetch: Callable[[], bytes]) -> bytes:
        """Return what `fetch` returns, at most `expected` bytes, when it is the request's turn, which ends with `stay`.

        Raises StoreUnavailable if there is no room, or no turn in time.
        """
        self._take(expected)
        try:
            body = fetch()
        except BaseException:
            self._give_back(expected)
            raise
        self._give_back(expected - len(body))
        stay.callback(self._give_back, len(body))
        self._await_turn()
        stay.callback(self._places.release)
        return body

    def _take(self, size: int) -> None:
        with self._mutex:
            if self._bytes and self._bytes + size > self._server.max_waiting_bytes:
                raise StoreUnavailable(f"requests with {self._bytes} bytes are being worked on")
            self._bytes += size

    def _give_back(self, size: int) -> None:
        with self._mutex:
            self._bytes -= size

    def _await_turn(self) -> None:
        if self._places.acquire(blocking=False):
            return
        with self._mutex:
            if self._waiting >= self._server.max_waiting:
                raise StoreUnavailable(f"{self._waiting} requests are waiting for their turn")
            self._waiting += 1
        try:
            if not self._places.acquire(timeout=self._server.patience):
                raise StoreUnavailable(f"this request did not get its turn in {self._server.patience:g} s")
        finally:
            with self._mutex:
                self._waiting -= 1
