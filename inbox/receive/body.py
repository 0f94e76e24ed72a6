"""The body of one request, as an ASGI server delivers it: whole, or an error that says what is missing."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from inbox.core.errors import BodyTooLarge, Incomplete, StoreUnavailable, TooSlow
from inbox.receive.admission import TAKEN_BACK, Reservation
from inbox.receive.deadlines import SharedDeadline

FORGOTTEN = 4 * 2**20
"""Bytes; a body announced to be longer is not read to its end for the sake of an answer."""

FORGETTING = 2.0
"""Seconds after which the answer goes out, whatever is still to come."""


class Body:
    """What is still on the wire; `patience` is how long all of it may take."""

    def __init__(self, receive: Callable[[], Awaitable[dict[str, Any]]], patience: SharedDeadline) -> None:
        self._receive = receive
        self._patience = patience
        self._length: int | None = 0
        self._more = True

    def announced(self, headers: Mapping[str, str]) -> None:
        """Learn from the headers how long the body is: None if it comes in chunks."""
        self._length = int(headers.get("content-length") or "0") if "transfer-encoding" not in headers else None

    async def read(self, limit: int, stay: Reservation) -> bytes:
        """Return the whole body, which `stay` counts. Raises BodyTooLarge, Incomplete, TooSlow, StoreUnavailable."""
        if self._length is not None and self._length > limit:
            raise BodyTooLarge(limit)
        body = bytearray()  # not a list: parts of one byte would weigh fifty times as much
        task = self._patience.begin()
        try:
            while self._more:
                part = self._part(await self._receive())
                if len(body) + len(part) > limit:
                    raise BodyTooLarge(limit)
                if self._more and stay.interrupt is None:
                    stay.interrupt = partial(self._patience.hurry, task)
                stay.grow(len(part), more=self._more)
                body += part
        except asyncio.CancelledError:
            if not self._patience.is_over(task):
                raise
            self._more = False
            if stay.taken_back:
                raise StoreUnavailable(TAKEN_BACK) from None
            seconds = self._patience.seconds
            raise TooSlow(f"{len(body)} bytes came in {seconds:g} s; body_timeout is that long") from None
        finally:
            self._patience.end(task)
        if len(body) < (self._length or 0):
            raise Incomplete(f"Content-Length says {self._length} bytes, {len(body)} came before the connection ended")
        return bytes(body)

    async def forget(self) -> None:
        """Read what is left, so that the sender can write to the end, and then read the answer; not for long."""
        left = FORGOTTEN if self._length is None else self._length
        try:
            async with asyncio.timeout(FORGETTING):
                while self._more and 0 < left <= FORGOTTEN:
                    left -= len(self._part(await self._receive()))
        except (TimeoutError, Incomplete):
            return

    def _part(self, message: dict[str, Any]) -> bytes:
        self._more = message["type"] == "http.request" and message.get("more_body", False)
        if message["type"] != "http.request":
            raise Incomplete("the connection ended before the body did")
        part: bytes = message.get("body", b"")
        return part
