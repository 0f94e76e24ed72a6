"""huey: the wake-up. A message says only "there is work", now or at a time; what it is stands in the store.

So one message is enough, however much there is to do. The queue's file is not fsynced and may be deleted at any time:
`sweep`, at start and every minute, rebuilds it from the store, and workers look there without it, too. Next:
`inbox.deliver.queue_storage`.
"""

from collections.abc import Callable
from datetime import UTC, timedelta
from pathlib import Path
from typing import Protocol

from huey import SqliteHuey, crontab
from huey.utils import normalize_time

from inbox.deliver.queue_storage import Storage


class Jobs(Protocol):
    """What the queue's messages ask for; `inbox.deliver.dispatcher.Dispatcher` has it."""

    def work(self) -> None:
        """Route and run some of what waits."""

    def sweep(self) -> int:
        """Wake the queue for everything that waits."""


class Queue:
    """The queue in the file at `path`; `jobs` is asked for when the first message is worked on, not before."""

    def __init__(self, path: Path, jobs: Callable[[], Jobs]) -> None:
        self.huey = SqliteHuey(
            "inbox", storage_class=Storage, filename=str(path), fsync=False, results=False, create_tables=False
        )
        self._work = self.huey.task(name="work")(lambda: jobs().work())
        self._sweep = self.huey.task(name="sweep")(lambda: jobs().sweep())
        self.huey.storage.look = self.huey.serialize_task(self._work.s(id="work"))
        self.every_minute("sweep_every_minute", lambda: jobs().sweep())

    def wake(self, after: float = 0.0) -> None:
        """Have somebody look for work, `after` seconds from now; huey looks at its schedule once a second."""
        if after > 0:
            # full seconds, so that one message serves all that wait for the same one
            at = normalize_time(delay=after).replace(microsecond=0, tzinfo=UTC) + timedelta(seconds=1)
            self.huey.add_schedule(self._work.s(id="work", eta=at))
        else:
            self.huey.enqueue(self._work.s(id="work"))

    def sweep(self) -> None:
        """Have the store swept."""
        self.huey.enqueue(self._sweep.s(id="sweep"))

    def every_minute(self, name: str, action: Callable[[], object]) -> None:
        """Have one of the workers do something every minute; what it does must not take long."""
        task = self.huey.periodic_task(crontab(minute="*"), name=name)(action)
        self.huey.storage.minutely.append(self.huey.serialize_task(task.s(id=name)))

    def problem(self) -> str:
        """Try the queue, and return why it cannot be used, "" if it can."""
        self.huey.storage.try_it()
        return str(self.huey.storage.failure)

    def size(self) -> int:
        """Return how many messages wait."""
        return int(self.huey.storage.queue_size())

    def settle(self) -> None:
        """Open and close the file after all processes have ended, so that no log stays."""
        self.problem()
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self.huey.storage.close()
        self.huey.storage.bell.close()
