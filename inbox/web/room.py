"""How many requests the receiver works on, and what their bodies may weigh.

Whoever finds no room is told so at once, so that a storm cannot fill the memory nor outlast itself.
"""

from threading import Lock

from inbox.config import ServerSettings
from inbox.errors import StoreUnavailable


class Room:
    """Has place for `max_waiting` requests, whose bodies have `max_waiting_bytes` at most; one alone may have more.

    Where threads read, a request is there from before its body is read until it is answered. On the event loop a body
    that is still coming weighs what has come of it and takes no place: those who say much and send little, or slowly,
    keep nobody out.
    """

    def __init__(self, server: ServerSettings) -> None:
        self._server = server
        self._mutex = Lock()
        self._requests = 0
        self._bytes = 0

    def take(self, requests: int, size: int, own: int) -> None:
        """Let one request, or none, in, and so many bytes beside the `own` ones that the same request has there.

        Raises StoreUnavailable if there is no room.
        """
        with self._mutex:
            if requests and self._requests >= self._server.max_waiting:
                raise StoreUnavailable(f"{self._requests} requests are being worked on")
            if size and self._bytes > own and self._bytes + size > self._server.max_waiting_bytes:
                raise StoreUnavailable(f"requests with {self._bytes} bytes are being worked on")
            self._requests += requests
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
        self._room.take(1, expected, self._size)
        self._inside, self._size = 1, self._size + expected

    def grow(self, size: int) -> None:
        """Weigh so much more, before entering. Raises StoreUnavailable if there is no room."""
        self._room.take(0, size, self._size)
        self._size += size

    def has(self, size: int) -> None:
        """Give back what was expected and did not come."""
        self._room.give_back(0, self._size - size)
        self._size = size

    def end(self) -> None:
        """Leave, whether it entered or not."""
        self._room.give_back(self._inside, self._size)
        self._inside = self._size = 0
