"""Results from another thread to the event loop, as many at once as there are."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

Done: TypeAlias = Callable[[Any, BaseException | None], None]


class CompletionQueue:
    """Where the writer of the store leaves what became of each item; the event loop is told once for many."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._letters: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._called = False

    def expect(self, submit: Callable[[Any, Done], object], item: Any) -> "asyncio.Future[Any]":
        """Submit an item, and return what will have its result, or its error."""
        future = self._loop.create_future()
        submit(item, partial(self._leave, future))
        return future

    def _leave(self, future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
        self._letters.append((future, result, error))
        if not self._called:
            self._called = True
            self._loop.call_soon_threadsafe(self._empty)

    def _empty(self) -> None:
        self._called = False
        while self._letters:
            future, result, error = self._letters.popleft()
            if future.done():  # nobody waits any more: the connection is gone
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
