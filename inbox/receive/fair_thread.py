"""A thread for what may take long: checks that no quick test could answer, and diagnoses of forged requests.

There is one, so that it never takes more than half of the interpreter's time from the event loop. The sources take
turns: however much one of them brings, each other has the next turn.
"""

import threading
from collections import deque
from contextlib import suppress
from typing import Any

from inbox.receive.completions import Done
from inbox.receive.receiver import Aside


class Lane:
    """Does one Aside after another; the thread starts when the first one comes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, deque[tuple[Aside, Done]]] = {}
        self._thread: threading.Thread | None = None

    def submit(self, item: Aside, done: Done) -> None:
        """Do this when it is its turn; `done` is called in the thread, with what it returns or raises."""
        with self._changed:
            self._waiting.setdefault(item.source, deque()).append((item, done))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="lane", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _work(self) -> None:
        while True:
            item, done = self._next()
            result: Any = None
            problem: BaseException | None = None
            try:
                result = item.work()
            except BaseException as error:
                problem = error
            with suppress(RuntimeError):  # the event loop has ended meanwhile
                done(result, problem)
            del item, done, result, problem  # or a body would stay in memory until the next one comes

    def _next(self) -> tuple[Aside, Done]:
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            source = next(iter(self._waiting))
            items = self._waiting.pop(source)
            first = items.popleft()
            if items:
                self._waiting[source] = items  # behind the others
            return first
