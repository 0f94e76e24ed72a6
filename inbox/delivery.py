"""Events in the store → runs of handlers. `route` makes deliveries, `deliver` runs one, `sweep` finds what is left.

The store decides who runs what (claim, token, lease); this decides what an outcome means. The queue only wakes.
"""

import asyncio
import json
import os
import random
import secrets
import socket
import time
import traceback
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, Protocol

import structlog

from inbox.errors import Discard, Malformed, Retry, StoreUnavailable
from inbox.guard import Guard, HandlerTimeout
from inbox.models import Claimed, Event, HandlerSpec, Handles, Payload, Request, utc
from inbox.plugins import Handler, Registry
from inbox.store.base import Finished, Outcome, Work

log = structlog.get_logger("inbox.delivery")

SWEEP_LIMIT = 5000
SWEEP_AHEAD = 90.0
"""Seconds; what is due later is left to the next sweep, which comes every minute."""

FINISH_PAUSE = 0.5
"""Seconds between two tries to record an outcome."""

MAX_VALUE = 4096
MAX_ERROR = 8000


class Wake(Protocol):
    """How the dispatcher tells the queue that there is work; losing a message only costs time."""

    def event(self, event_id: int) -> None:
        """Have the event routed."""

    def delivery(self, delivery_id: int, after: float = 0.0) -> None:
        """Have the delivery run, `after` seconds from now."""


class Dispatcher:
    """Runs the deliveries of one worker process.

    read      turns (source name, request) into the payload; raises Malformed
    lease     seconds for which a claim holds without a heartbeat
    steady    seconds on the clock of the leases, which nobody sets (see `Work`)
    """

    def __init__(
        self,
        registry: Registry,
        work: Work,
        wake: Wake,
        guard: Guard,
        *,
        read: Callable[[str, Request], Payload],
        clock: Callable[[], float],
        steady: Callable[[], float],
        lease: float = 30.0,
        max_crashes: int = 3,
        jitter: Callable[[float, float], float] = random.uniform,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._registry = registry
        self._work = work
        self._wake = wake
        self._guard = guard
        self._read = read
        self._clock = clock
        self._steady = steady
        self._lease = lease
        self._max_crashes = max_crashes
        self._jitter = jitter
        self._pause = pause
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    @property
    def handlers(self) -> list[str]:
        """Return the names of the handlers that this process can run."""
        return list(self._registry.handlers)

    def route(self, event_id: int) -> None:
        """Make one delivery per handler that matches, also for handlers whose module failed to import today."""
        head = self._work.event_head(event_id)
        if head is None or head[2] != "received":
            return
        source, event_type, _ = head
        known = [*self._work.handlers(), *(handler.spec for handler in self._registry.handlers.values())]
        names = matching(known, source, event_type)
        runnable = {name: name in self._registry.handlers for name in names}
        for delivery_id in self._work.route(event_id, runnable, self._clock()):
            self._wake.delivery(delivery_id)
        log.info("event.routed", id=event_id, handlers=",".join(names) or None)

    def deliver(self, delivery_id: int) -> None:
        """Claim a delivery, run its handler, record the outcome; does nothing if somebody else has it."""
        token = secrets.token_hex(16)
        at, steady = self._clock(), self._steady()
        claimed = self._work.claim(
            delivery_id, token=token, worker=self._worker, at=at, lease=self._lease, steady=steady
        )
        if claimed is None:
            return
        outcome = self._attempt(claimed)
        finished = self._finish(claimed, outcome)
        self._report(claimed, outcome, finished.held, finished.event_status)
        if finished.held and outcome.due_at is not None:
            self._wake.delivery(claimed.id, max(0.0, outcome.due_at - self._clock()))

    def sweep(self) -> int:
        """Wake the queue for everything that waits in the store, and return how much that was.

        Pauses are in Unix time, to survive a restart of the machine: set forward, the clock ends them early; set back,
        it would prolong them, so they begin again.
        """
        unrouted = self._work.unrouted(SWEEP_LIMIT)
        for event_id in unrouted:
            self._wake.event(event_id)
        now = self._clock()
        self._set_back(now)
        waiting = self._work.waiting(now + SWEEP_AHEAD, SWEEP_LIMIT, self._steady() + SWEEP_AHEAD)
        for delivery_id, at in waiting:
            self._wake.delivery(delivery_id, max(0.0, at - now))
        if unrouted or waiting:
            log.info("sweep.found", unrouted=len(unrouted), waiting=len(waiting))
        self._expire(now)
        return len(unrouted) + len(waiting)

    def close(self) -> None:
        """Let go of the store."""
        self._work.close()

    def _set_back(self, now: float) -> None:
        try:
            pauses = self._work.set_back(now)
        except StoreUnavailable as error:
            log.warning("clock.not_corrected", error=str(error), then="the next sweep tries again")
            return
        if pauses:
            log.warning("clock.set_back", deliveries=pauses, then="their pauses begin again")

    def _expire(self, now: float) -> None:
        """Forget what was held long enough; a store that is full or locked keeps nobody from working."""
        try:
            forgotten = self._work.expire(now)
        except StoreUnavailable as error:
            log.warning("held.not_expired", error=str(error), then="the next sweep tries again")
            return
        if forgotten:
            log.warning("held.expired", requests=forgotten)

    def _attempt(self, claimed: Claimed) -> Outcome:
        handler = self._registry.handlers.get(claimed.handler)
        if claimed.crashes >= self._max_crashes:
            return Outcome("dead", "poison", error=f"the worker died {claimed.crashes} times while it ran this handler")
        if handler is None:
            return Outcome(
                "parked", "unavailable", error="no handler of this name is loaded: removed or not importable"
            )
        mark = handler.mark(claimed.source, claimed.type)
        try:
            with self._guard.watch(claimed.id, claimed.token, mark.timeout):
                value = run(handler, self._event(claimed))
            return Outcome("succeeded", "succeeded", value=as_json(value))
        except KeyboardInterrupt:
            return self._retry(claimed, mark, "interrupted", "the worker was told to stop at once", 0.0)
        except HandlerTimeout:
            return self._retry(claimed, mark, "timeout", f"stopped after {mark.timeout:g} s")
        except Discard as error:
            return Outcome("discarded", "discarded", error=str(error))
        except Retry as error:
            return self._retry(claimed, mark, "retry", str(error), error.after)
        except BaseException as error:  # also SystemExit: a handler that tries to leave must not take the worker along
            return self._retry(claimed, mark, "error", described(error))

    def _finish(self, claimed: Claimed, outcome: Outcome) -> Finished:
        """Record the outcome; a store that is full or locked is asked again until about the end of the lease.

        The work is done: giving up early would run it again, and count as a crash. Raises StoreError.
        """
        for _ in range(int(self._lease / FINISH_PAUSE)):
            try:
                return self._work.finish(claimed.id, claimed.token, outcome, self._clock())
            except StoreUnavailable as error:
                log.warning("delivery.not_recorded", delivery=claimed.id, error=str(error), then="trying again")
                self._pause(FINISH_PAUSE)
        return self._work.finish(claimed.id, claimed.token, outcome, self._clock())

    def _event(self, claimed: Claimed) -> Event:
        try:
            payload = self._read(claimed.source, claimed.request)
        except Malformed:
            payload = None
        return Event(
            id=claimed.event_id,
            source=claimed.source,
            type=claimed.type,
            key=claimed.key,
            payload=payload,
            request=claimed.request,
            received_at=utc(claimed.received_at),
            handler=claimed.handler,
            attempt=claimed.attempt,
            is_replay=claimed.is_replay,
            still_mine=lambda: self._work.holds(claimed.id, claimed.token, self._steady()),
        )

    def _retry(self, claimed: Claimed, mark: Handles, result: str, error: str, after: float | None = None) -> Outcome:
        """Return "retrying" with the time of the next run, or "dead" if attempts or age are used up."""
        now = self._clock()
        tried = claimed.attempt - claimed.crashes
        if after is None:
            after = self._jitter(0.0, min(mark.max_backoff, mark.backoff * 2.0 ** min(tried - 1, 60)))
        due_at = now + max(0.0, after)
        if tried >= mark.attempts or due_at > claimed.created_at + mark.max_age:
            return Outcome("dead", result, error=error[-MAX_ERROR:])
        return Outcome("retrying", result, due_at=due_at, error=error[-MAX_ERROR:])

    def _report(self, claimed: Claimed, outcome: Outcome, held: bool, event_status: str | None) -> None:
        fields = {
            "id": claimed.event_id,
            "delivery": claimed.id,
            "handler": claimed.handler,
            "attempt": claimed.attempt,
            "result": outcome.result,
        }
        if not held:
            log.warning("delivery.lease_lost", **fields, then="the outcome is thrown away")
        elif outcome.status in ("succeeded", "discarded"):
            log.info(f"delivery.{outcome.status}", **fields, event_status=event_status)
        else:
            reason = outcome.error.strip().splitlines()[-1:] or [""]
            log.warning(f"delivery.{outcome.status}", **fields, error=reason[0], due_at=outcome.due_at)


def matching(handlers: list[HandlerSpec], source: str, event_type: str) -> list[str]:
    """Return the names of the handlers for this source and type, each once, sorted."""
    return sorted({spec.name for spec in handlers if spec.match(source, event_type)})


def run(handler: Handler, event: Event) -> Any:
    """Call the handler, awaiting it if it is `async def`, and return what it returns."""
    if iscoroutinefunction(handler.function):
        return asyncio.run(handler.function(event))
    return handler.function(event)


def as_json(value: Any) -> str:
    """Return what a handler returned as JSON text; what is no JSON, or too large, is named instead of kept."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return json.dumps({"not_kept": f"{type(value).__name__} is not JSON"})
    if len(text) > MAX_VALUE:
        return json.dumps({"not_kept": f"{len(text)} characters of JSON; {MAX_VALUE} are kept"})
    return text


def described(error: BaseException) -> str:
    """Return the traceback from the handler on, without our own frames."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))
