"""The whole torture: an inbox in a scratch folder, senders, faults, then silence, a proper stop, and the check.

Bounded in time, and nothing of it runs on whatever happens.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from inbox.core.errors import InboxError
from inbox.tools.torture.evidence import at_work, gather
from inbox.tools.torture.faults import Faults
from inbox.tools.torture.invariants import check
from inbox.tools.torture.journal import CLIENT, FAULTS, Fault, Journal
from inbox.tools.torture.processes import RunningInbox
from inbox.tools.torture.report import Report, tell
from inbox.tools.torture.scratch import HANDLERS, Scratch, make
from inbox.tools.torture.traffic import Client

CLIENTS = 8
START = 30.0
"""Seconds until the inbox answers for the first time."""

FINISH = 60.0
"""Seconds that senders have, after the last fault, to get their last requests acknowledged."""

SETTLE = 180.0
"""Seconds that the worker then has to come to rest; a sweep comes every minute."""

STOP = 30.0
TICK = 0.05

STALL = 0.5
"""Seconds by which a tick comes late when the machine has no time for us, and so perhaps none for a heartbeat."""


@dataclass(frozen=True)
class Plan:
    """How long (seconds of faults), in which empty folder, how fast (requests per second), and the seed of it all.

    And whether what is stored is sealed.
    """

    folder: Path
    seconds: float
    seed: int
    rate: float
    sealed: bool = False


@dataclass(frozen=True)
class Progress:
    """How far it is: the phase in a word, the seconds of faults so far, and the figures so far."""

    phase: str
    seconds: float
    requests: int
    acknowledged: int
    kills: int


Watch = Callable[[Progress], None]


def torture(plan: Plan, *, clock: Callable[[], float], watch: Watch = lambda progress: None) -> Report:
    """Do all of it and return the report. Raises InboxError if the inbox does not even start."""
    began, scratch, inbox = time.monotonic(), make(plan.folder, sealed=plan.sealed), RunningInbox(plan.folder)
    try:
        _start(inbox, scratch)
        with _journals(plan.folder) as (client, journal):
            ordeal = _Ordeal(plan, scratch, inbox, client, journal, clock, watch)
            ordeal.hurt()
            ordeal.settle()
        left = [f"{process.role}, process {process.pid}" for process in inbox.stop(STOP)]
    finally:
        inbox.kill()
    evidence = gather(plan.folder, scratch.database, handlers=HANDLERS, left=left)
    log = (plan.folder / "run.log").read_text("utf-8", "replace")
    seconds = time.monotonic() - began
    return tell(evidence, check(evidence), seed=plan.seed, seconds=seconds, starts=inbox.starts, log=log)


def _start(inbox: RunningInbox, scratch: Scratch) -> None:
    inbox.start()
    end = time.monotonic() + START
    while not _answers(scratch):
        if time.monotonic() > end or not inbox.runs:
            raise InboxError(f"the inbox does not start; its log is {scratch.folder / 'run.log'}")
        time.sleep(TICK)
    inbox.check_sight()


def _answers(scratch: Scratch) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", scratch.port)) == 0


@contextmanager
def _journals(folder: Path) -> Iterator[tuple[Journal, Journal]]:
    with closing(Journal(folder / CLIENT)) as client, closing(Journal(folder / FAULTS)) as faults:
        yield client, faults


class _Ordeal:
    """The time between the start and the stop: first trouble, then silence."""

    def __init__(
        self,
        plan: Plan,
        scratch: Scratch,
        inbox: RunningInbox,
        client: Journal,
        journal: Journal,
        clock: Callable[[], float],
        watch: Watch,
    ) -> None:
        self._plan = plan
        self._scratch = scratch
        self._inbox = inbox
        self._journal = journal
        self._clock = clock
        self._watch = watch
        pace, seed = plan.rate / CLIENTS, plan.seed
        self._clients = [Client(n, scratch, client, seed=seed, pace=pace, clock=clock) for n in range(CLIENTS)]
        self._faults = Faults(inbox, scratch, journal, seed=seed, clock=clock)
        self._began = time.monotonic()

    def hurt(self) -> None:
        """Send and hurt for the planned time, then only send until everything is acknowledged."""
        try:
            for client in self._clients:
                client.start()
            while time.monotonic() - self._began < self._plan.seconds:
                self._faults.step()
                self._tick("torture")
            self._faults.finish()
            for client in self._clients:
                client.finish()
            end = time.monotonic() + FINISH
            while any(client.is_alive() for client in self._clients) and time.monotonic() < end:
                self._tick("finish")
        finally:
            self._faults.let_go()
            _end(self._clients)

    def settle(self) -> None:
        """Wait until the store has nothing left to do; if that takes too long, the check says what is left."""
        end = time.monotonic() + SETTLE
        while at_work(self._scratch.database) and time.monotonic() < end:
            self._tick("settle")

    def _tick(self, phase: str) -> None:
        """See to it that the inbox runs, tell how far it is, and wait a moment."""
        self._inbox.start()
        seconds = min(time.monotonic() - self._began, self._plan.seconds)
        requests = sum(client.requests for client in self._clients)
        acknowledged = sum(client.acknowledged for client in self._clients)
        self._watch(Progress(phase, seconds, requests, acknowledged, self._faults.kills))
        before = time.monotonic()
        time.sleep(TICK)
        late = time.monotonic() - before - TICK
        if late > STALL:
            now = self._clock()
            self._journal.add(Fault(now - late, now, "stall", "machine"))


def _end(clients: list[Client]) -> None:
    """End the clients; one that failed was a defect of the torture itself, and is raised."""
    for client in clients:
        client.give_up()
    for client in clients:
        if client.ident is not None:
            client.join()
        if client.failure is not None:
            raise client.failure
