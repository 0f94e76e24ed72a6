"""Events in the store → runs of handlers. `route` makes deliveries, `work` runs some, `sweep` finds what is left.

The store decides who runs what (claim, token, lease), and knows all that is to be done: a message in the queue only
says that there is something. Next: `inbox.deliver.batch`, `inbox.deliver.runner`.
"""

import math
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from inbox.core.errors import StoreUnavailable
from inbox.core.models import Claimed, HandlerSpec
from inbox.deliver.batch import Batch
from inbox.deliver.handler_loader import Registry
from inbox.deliver.handover import Post
from inbox.deliver.runner import HandlerRunner
from inbox.deliver.watchdog import Watchdog
from inbox.store.protocols import Finished, Outcome, Work
from inbox.store.protocols_routing import Worker

log = structlog.get_logger("inbox.deliver.dispatcher")

ROUTED_AT_ONCE = 64
CLAIMED_AT_ONCE = 64
"""Both keep a transaction short: a few milliseconds, in which nobody else can write."""

SWEEP_LIMIT = 5000
SWEEP_AHEAD = 90.0
"""Seconds; what is due later is left to the next sweep, which comes every minute."""

PUT_OFF = 1.0
"""Seconds until work is tried again after the store was locked or full."""

NAP = 0.05
"""Seconds that an idle worker waits at most before it looks again whether it is time for the next step of an action."""


class Wake(Protocol):
    """How the dispatcher tells the queue that there is work; losing a message only costs time."""

    def wake(self, after: float = 0.0) -> None:
        """Have somebody look for work, `after` seconds from now."""


class BackgroundJobs(Protocol):
    """What is done between batches; `inbox.replay.action_runner.ActionRunner` has it."""

    def some(self) -> float | None:
        """Do a little; return in how many seconds to come again, None if nothing is left to do."""

    def left(self) -> bool:
        """Tell whether anything is left to do, now or later."""


class Dispatcher:
    """Runs the deliveries of one worker process.

    lease     seconds for which a claim holds without a heartbeat
    steady    seconds on the clock of the leases, which nobody sets (see `Work`)
    passed    Unix seconds as far as time has surely passed, None while that is in doubt
    post      the process, if it may end by itself when it is damaged or fails; without one its errors are raised
    """

    def __init__(
        self,
        registry: Registry,
        work: Work,
        wake: Wake,
        guard: Watchdog,
        runner: HandlerRunner,
        *,
        clock: Callable[[], float],
        steady: Callable[[], float],
        lease: float = 30.0,
        pause: Callable[[float], None] = time.sleep,
        errands: BackgroundJobs | None = None,
        passed: Callable[[], float | None] | None = None,
        post: Post | None = None,
    ) -> None:
        self._passed = clock if passed is None else passed
        self._errands = errands
        self._post = post
        self._registry = registry
        self._work = work
        self._queue = wake
        self._guard = guard
        self._runner = runner
        self._clock = clock
        self._steady = steady
        self._lease = lease
        self._pause = pause
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._at_once = 1

    @property
    def handlers(self) -> list[str]:
        """Return the names of the handlers that this process can run."""
        return list(self._registry.handlers)

    def work(self) -> None:
        """Route what nobody routed, run some of what is due, go a step of an action; if there is more, leave a message.

        The message is left before the handlers run, so that another process can take it meanwhile.
        """
        try:
            self._some_work()
        except Exception as error:
            if self._post is None:
                raise
            self._post.give_up(error)

    def _some_work(self) -> None:
        try:
            self._work.give_way(self._clock())
            more = self.route()
            claimed, waiting = self._work.take(self._claimant(), self._at_once)
        except StoreUnavailable as error:
            self._put_off(error)
            return
        if self._post is not None:
            self._post.works()
        if more or waiting:
            self._wake()
        if claimed:
            self._run(claimed)
        self._run_errands(idle=not claimed)

    def route(self) -> bool:
        """Make one delivery per event and handler that matches, also for handlers whose module failed to import today.

        Takes the oldest events that nobody routed, and returns whether there may be more. Raises StoreError.
        """
        events = self._work.heads(ROUTED_AT_ONCE)
        if not events:
            return False
        mine = {name: handler.spec for name, handler in self._registry.handlers.items()}
        known = [*mine.values(), *(spec for spec in self._work.handlers() if spec != mine.get(spec.name))]
        names = {event.id: matching(known, event.source, event.type) for event in events}
        runnable = {number: {name: name in self._registry.handlers for name in names[number]} for number in names}
        requests = {event.id: event.request_id for event in events}
        for number in self._work.route_all(runnable, self._clock()):
            handlers = ",".join(names[number]) or None
            log.info("event.routed", id=number, request=requests[number] or None, handlers=handlers)
        return len(events) == ROUTED_AT_ONCE

    def sweep(self) -> int:
        """Wake the queue for everything that waits in the store, and return how much that was.

        Pauses are in Unix time, to survive a restart of the machine: set forward, the clock ends them early; set back,
        it would prolong them, so they begin again.
        """
        unrouted = len(self._work.unrouted(SWEEP_LIMIT))
        now = self._clock()
        self._set_back(now)
        waiting = self._work.waiting(now + SWEEP_AHEAD, SWEEP_LIMIT, self._steady() + SWEEP_AHEAD)
        for after in sorted(({0.0} if unrouted else set()) | {max(0.0, math.ceil(at - now)) for _, at in waiting}):
            self._queue.wake(after)
        if unrouted or waiting:
            log.info("sweep.found", unrouted=unrouted, waiting=len(waiting))
        if self._errands is not None and self._errands.left():
            self._queue.wake()
        self._expire()
        return unrouted + len(waiting)

    def close(self) -> None:
        """Let go of the store."""
        self._work.close()

    def _claimant(self) -> Worker:
        at = self._clock()
        return Worker(self._worker, lambda: new_token(at), at, self._steady(), self._lease)

    def _run(self, claimed: Sequence[Claimed]) -> None:
        """Run deliveries; next time take twice as many if these were quick, half as many if not."""
        batch = Batch(
            claimed,
            self._work,
            self._guard,
            clock=self._clock,
            recorded=self._recorded,
            given_back=self._wake,
            patience=math.inf if self._post is None else self._lease,
            pause=self._pause,
        )
        if self._post is not None:
            self._post.integrity.prepare()
        try:
            with batch:
                for each in batch:
                    outcome = self._runner.attempt(each)
                    batch.done(each, outcome)
                    if outcome.result == "interrupted" or (self._post and self._post.has_run(each)):
                        break
        except Exception as error:
            self._give_up(batch, error)
        self._at_once = max(1, self._at_once // 2) if batch.was_cut_short else min(CLAIMED_AT_ONCE, self._at_once * 2)

    def _give_up(self, batch: Batch, error: Exception) -> None:
        if self._post is None:
            raise error
        self._post.give_up(error, batch.left(all_of_it=self._post.renewal.runs > 0))

    def _put_off(self, error: StoreUnavailable) -> None:
        log.warning("work.put_off", error=str(error), seconds=PUT_OFF)
        if self._post is not None:
            self._post.fails(error)
        self._wake(PUT_OFF)

    def _run_errands(self, *, idle: bool) -> None:
        """Do a little of what is not handlers' work; the queue's schedule is too coarse for waits below a second."""
        try:
            again = self._errands.some() if self._errands is not None else None
        except StoreUnavailable as error:
            log.warning("errands.put_off", error=str(error), seconds=PUT_OFF)
            again = PUT_OFF
        if again is None:
            return
        if 0.0 < again < 1.0:
            if idle:
                self._pause(min(again, NAP))
            again = 0.0
        self._wake(again)

    def _recorded(self, claimed: Claimed, outcome: Outcome, finished: Finished) -> None:
        report(claimed, outcome, finished)
        if finished.held and outcome.due_at is not None:
            self._wake(max(0.0, outcome.due_at - self._clock()))

    def _wake(self, after: float = 0.0) -> None:
        try:
            self._queue.wake(after)
        except Exception as error:
            log.warning("queue.wake_failed", error=repr(error), then="the sweep finds what waits")

    def _set_back(self, now: float) -> None:
        try:
            pauses = self._work.set_back(now)
        except StoreUnavailable as error:
            log.warning("clock.not_corrected", error=str(error), then="the next sweep tries again")
            return
        if pauses:
            log.warning("clock.set_back", deliveries=pauses, then="their pauses begin again")

    def _expire(self) -> None:
        """Forget what was held long enough, unless the clock is in doubt; a store that is full or locked is no harm."""
        try:
            passed = self._passed()
            forgotten = 0 if passed is None else self._work.expire(passed)
        except StoreUnavailable as error:
            log.warning("held.not_expired", error=str(error), then="the next sweep tries again")
            return
        if forgotten:
            log.warning("held.expired", requests=forgotten)


def new_token(at: float) -> str:
    """Return 32 hex digits, 18 of them random; tokens of one time lie side by side in the store's index."""
    return f"{int(at * 1e6) & (1 << 56) - 1:014x}{secrets.token_hex(9)}"


def report(claimed: Claimed, outcome: Outcome, finished: Finished) -> None:
    """Log how a delivery ended."""
    fields = {
        "id": claimed.event_id,
        "request": claimed.request.id or None,
        "delivery": claimed.id,
        "handler": claimed.handler,
        "attempt": claimed.attempt,
        "result": outcome.result,
    }
    if not finished.held:
        log.warning("delivery.lease_lost", **fields, then="the outcome is thrown away")
    elif outcome.status in ("succeeded", "discarded"):
        log.info(f"delivery.{outcome.status}", **fields, event_status=finished.event_status)
    else:
        reason = outcome.error.strip().splitlines()[-1:] or [""]
        log.warning(f"delivery.{outcome.status}", **fields, error=reason[0], due_at=outcome.due_at)


def matching(handlers: list[HandlerSpec], source: str, event_type: str) -> list[str]:
    """Return the names of the handlers for this source and type, each once, sorted."""
    return sorted({spec.name for spec in handlers if spec.match(source, event_type)})
