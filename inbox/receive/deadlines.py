"""How long is waited for something on an event loop: `asyncio.timeout`, with one timer for all that wait.

A timer for each request took a twentieth of the event loop's time, for an end that hardly any request comes to.
"""

import asyncio

TICK = 0.05
"""Seconds between two looks for those whose time is up, which is how late they are told at most."""


class SharedDeadline:
    """Of so many seconds, for each block of a task that stands between `begin` and `end`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends: dict[asyncio.Task[object], float] = {}
        self._over: set[asyncio.Task[object]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        """Where a timer is running, while somebody waits."""

    def begin(self) -> "asyncio.Task[object]":
        """Begin to wait, and return who waits; when the time is up, asyncio.CancelledError is raised in the block."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._ends[task] = loop.time() + self.seconds
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(TICK, self._look, loop)
        return task

    def is_over(self, task: "asyncio.Task[object]") -> bool:
        """Tell whether a CancelledError came from here, and then, as it is caught, take it back."""
        if task not in self._over:
            return False
        self._over.remove(task)
        return task.uncancel() == 0

    def hurry(self, task: "asyncio.Task[object]") -> None:
        """End the wait of a task now, if it still waits; called on its event loop."""
        if self._ends.pop(task, None) is not None:
            self._over.add(task)
            task.cancel()

    def end(self, task: "asyncio.Task[object]") -> None:
        """End the block, however it ended."""
        self._ends.pop(task, None)
        self._over.discard(task)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task in [task for task, end in self._ends.items() if end <= now]:
            del self._ends[task]
            self._over.add(task)
            task.cancel()
        if self._ends:
            loop.call_later(TICK, self._look, loop)
        else:
            self._loop = None
