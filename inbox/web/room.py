"""How many requests the receiver works on, and what their bodies may weigh.

Whoever finds no room is told so at once, so that a storm cannot fill the memory nor outlast itself.
"""

from threading import Lock

from inbox.config import ServerSettings
from inbox.errors import StoreUnavailable


class Room:
    """Has place for `max_waiting` requests, whose bodies have `max_waiting_bytes` at most; one alone may have more.

    A request is there from before its body is read until it is answered; many threads may come and go.
    """

    def __init__(self, server: ServerSettings) -> None:
        self._server = server
        self._mutex = Lock()
        self._requests = 0
        self._bytes = 0

    def take(self, size: int) -> None:
        """Let a request in, whose body has so many bytes at most. Raises StoreUnavailable if there is no room."""
        with self._mutex:
            if self._requests >= self._server.max_waiting:
                raise StoreUnavailable(f"{self._requests} requests are being worked on")
            if self._bytes and self._bytes + size > self._server.max_waiting_bytes:
                raise StoreUnavailable(f"requests with {self._bytes} bytes are being worked on")
            self._requests += 1
            self._bytes += size

    def give_back(self, requests: int, size: int) -> None:
        """Make room again."""
        with self._mutex:
            self._requests -= requests
            self._bytes -= size


class Stay:
    """One request's place in the room."""

    __slots__ = ("_inside", "_room", "_size")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._inside = 0
        self._size = 0

    def begin(self, expected: int) -> None:
        """Enter. Raises StoreUnavailable if there is no room."""
        self._room.take(expected)
        self._inside, self._size = 1, expected

    def has(self, size: int) -> None:
        """Give back what was expected and did not come."""
        self._room.give_back(0, self._size - size)
        self._size = size

    def end(self) -> None:
        """Leave, whether it entered or not."""
        self._room.give_back(self._inside, self._size)
        self._inside = self._size = 0
