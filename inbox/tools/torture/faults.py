"""What is done to the inbox: kill -9, stops for longer than a lease, damage by a handler, files deleted under it.

The queue is deleted, or a folder takes its place for some seconds.
What comes when, and whom it hits, follows from the seed. Only processes of this torture are ever hit.
"""

import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from inbox.process.supervisor import STEADY
from inbox.tools.torture.journal import Fault, Journal
from inbox.tools.torture.processes import Process, RunningInbox, has_open, send
from inbox.tools.torture.scratch import LEASE, Scratch

PAUSE = 1.3
"""Seconds between two faults, on average."""

CALM = STEADY + 2.0
"""Seconds for which a receiver or a worker is mostly spared once it was hit: its supervisor would restart it later and
later, and an inbox that is down is not tortured."""

_KILLS = {
    "worker child": 30,
    "worker": 10,
    "worker, worker child": 8,
    "receiver child": 10,
    "receiver": 8,
    "receiver, receiver child": 6,
    "some": 8,
    "supervisor": 6,
    "all": 5,
}
_OTHERS = {"stop": 12, "delete": 9, "block": 6, "damage": 10, "unlink": 6}
DAMAGES = ("descriptors", "limit", "folder", "stderr", "copy")
"""What a handler does to its process when it finds the file `damage`; `inbox.tools.torture.handler` does it."""

SAVED = 15.0
"""Seconds that the inbox has to save a log of its database that was deleted, before the next fault."""

REPLACED = 20.0
"""Seconds in which every process that had that log open is replaced; what it runs then is cut off."""


class Faults:
    """Hurts the inbox whenever `step` is called and the time has come."""

    def __init__(
        self, inbox: RunningInbox, scratch: Scratch, journal: Journal, *, seed: int, clock: Callable[[], float]
    ) -> None:
        self._inbox = inbox
        self._scratch = scratch
        self._journal = journal
        self._clock = clock
        self._chance = random.Random(f"{seed}/faults")  # noqa: S311 – to be repeatable
        self._due = time.monotonic() + self._chance.uniform(0.5, 1.5)
        self._stopped: dict[int, tuple[float, float, str]] = {}
        self._hit: dict[str, float] = {}
        self._blocked: tuple[float, float] | None = None
        self.kills = 0

    def step(self) -> None:
        """Let go on what was stopped for long enough, and do the next thing if it is due."""
        now = time.monotonic()
        for pid in [pid for pid, (until, _, _) in self._stopped.items() if until <= now]:
            self._go_on(pid)
        if self._blocked is not None and self._blocked[0] <= now:
            self._unblock()
        if now < self._due:
            return
        self._due = now + self._chance.uniform(0.1, 2 * PAUSE - 0.1)
        what = self._chance.choices([*_KILLS, *_OTHERS], [*_KILLS.values(), *_OTHERS.values()])[0]
        others = {"delete": self._delete, "block": self._block, "damage": self._damage, "unlink": self._unlink}
        if what in others:
            others[what]()
        elif what == "stop":
            self._stop()
        else:
            self._kill(self._spare(self._targets(what), now))

    def finish(self) -> None:
        """Strike a last blow: no queue, no supervisor, half of the rest killed; the other half has to end by itself."""
        self.let_go()
        self._delete()
        family = self._inbox.family()
        self._kill([process for process in family if process.role == "supervisor" or self._chance.random() < 0.5])

    def let_go(self) -> None:
        """Let every stopped process go on, and let the queue be usable again."""
        self._unblock()
        for pid in list(self._stopped):
            self._go_on(pid)

    def _targets(self, what: str) -> list[Process]:
        family = self._inbox.family()
        if what == "all":
            return family
        if what == "some":
            return [process for process in family if self._chance.random() < 0.4]
        roles = what.split(", ")
        found = [process for process in family if process.role in roles]
        return found if len(roles) > 1 else self._one_of(found)

    def _spare(self, processes: Sequence[Process], now: float) -> list[Process]:
        """Return whom of these to kill; if all are to be spared, a child of the worker."""
        merciful, kept = self._chance.random() < 0.8, []
        for process in processes:
            group = process.role.removesuffix(" child")
            if process.role == "worker child" or not merciful or now - self._hit.get(group, -CALM) >= CALM:
                kept.append(process)
        self._hit.update(
            (process.role.removesuffix(" child"), now) for process in kept if process.role != "worker child"
        )
        return kept or self._targets("worker child")

    def _one_of(self, processes: Sequence[Process]) -> list[Process]:
        number = self._chance.random()
        return [processes[int(number * len(processes))]] if processes else []

    def _kill(self, processes: Sequence[Process]) -> None:
        for process in processes:
            at = self._clock()
            if send(process.pid, signal.SIGKILL):
                self._journal.add(Fault(at, at, "kill", process.role, process.pid))
                self.kills += 1

    def _stop(self) -> None:
        roles = ["worker child"] if self._chance.random() < 0.5 else ["receiver", "receiver child", "worker"]
        family = [process for process in self._inbox.family() if process.role in roles]
        seconds = LEASE + self._chance.uniform(0.5, 1.5)
        for process in self._one_of(family):
            if process.pid not in self._stopped and send(process.pid, signal.SIGSTOP):
                self._stopped[process.pid] = (time.monotonic() + seconds, self._clock(), process.role)

    def _go_on(self, pid: int) -> None:
        """Let a process go on if it is still there; what it held meanwhile may have been rescued either way."""
        _, at, role = self._stopped.pop(pid)
        if pid in {process.pid for process in self._inbox.family()}:
            send(pid, signal.SIGCONT)
        self._journal.add(Fault(at, self._clock(), "stop", role, pid))

    def _unlink(self) -> None:
        """Delete the log of the database, its index, or both, and wait until a process has saved what was in it.

        Only while a receiver has it open and nothing is stopped: what no process has open is lost, as it has to be.
        """
        log = self._scratch.folder / "inbox.db-wal"
        receivers = [process for process in self._inbox.family() if process.role == "receiver child"]
        if self._stopped or not any(has_open(process.pid, log) for process in receivers):
            return
        at, end = self._clock(), time.monotonic() + SAVED
        files = self._chance.choice(((log,), (log.with_name("inbox.db-shm"),), (log, log.with_name("inbox.db-shm"))))
        for path in files:
            path.unlink(missing_ok=True)
        while not all(path.exists() for path in files) and time.monotonic() < end:
            time.sleep(0.01)
        self._journal.add(Fault(at, self._clock() + REPLACED, "unlink", "database"))

    def _delete(self) -> None:
        """Delete the queue, in any order of its files."""
        self._unblock()
        at = self._clock()
        for suffix in self._chance.sample(("", "-wal", "-shm"), 3):
            (self._scratch.folder / f"queue.db{suffix}").unlink(missing_ok=True)
        self._journal.add(Fault(at, at, "delete", "queue"))

    def _block(self) -> None:
        """Put a folder that is not empty in the place of the queue, for some seconds."""
        self._delete()
        with suppress(FileExistsError):  # the inbox was quicker, and has made a new one
            (self._scratch.folder / "queue.db").mkdir()
            (self._scratch.folder / "queue.db" / "in-the-way").touch()
            self._blocked = time.monotonic() + self._chance.uniform(2.0, 6.0), self._clock()

    def _unblock(self) -> None:
        if self._blocked is not None:
            (self._scratch.folder / "queue.db" / "in-the-way").unlink()
            (self._scratch.folder / "queue.db").rmdir()
            self._journal.add(Fault(self._blocked[1], self._clock(), "block", "queue"))
            self._blocked = None

    def _damage(self) -> None:
        """Have the handler that runs next damage its process, when its work is done."""
        kind, at = self._chance.choice(DAMAGES), self._clock()
        new = self._scratch.folder / "damage.new"
        new.write_text(kind, "utf-8")
        new.replace(self._scratch.folder / "damage")
        self._journal.add(Fault(at, at, "damage", kind))
