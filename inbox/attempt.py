"""One run of a handler → its outcome. Decides what an outcome means; records nothing. Next: `inbox.batch`."""

import asyncio
import json
import random
import traceback
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from inbox.errors import Discard, Malformed, Retry
from inbox.guard import Guard, HandlerTimeout
from inbox.models import Claimed, Event, Handles, Payload, Request, utc
from inbox.plugins import Handler, Registry
from inbox.store.base import Outcome

MAX_VALUE = 4096
MAX_ERROR = 8000


class Runner:
    """Runs handlers of a registry.

    read   turns (source name, request) into the payload; raises Malformed
    holds  tells whether (delivery id, token) still holds the delivery
    age    tells for how many seconds a delivery surely exists, which may be less than the time of day makes of it
    """

    def __init__(
        self,
        registry: Registry,
        guard: Guard,
        *,
        read: Callable[[str, Request], Payload],
        holds: Callable[[int, str], bool],
        age: Callable[[Claimed], float],
        clock: Callable[[], float],
        max_crashes: int = 3,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._registry = registry
        self._guard = guard
        self._read = read
        self._holds = holds
        self._age = age
        self._clock = clock
        self._max_crashes = max_crashes
        self._jitter = jitter

    def attempt(self, claimed: Claimed) -> Outcome:
        """Run the handler of a delivery, unless it is gone or has killed too many workers."""
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
            still_mine=lambda: self._holds(claimed.id, claimed.token),
        )

    def _retry(self, claimed: Claimed, mark: Handles, result: str, error: str, after: float | None = None) -> Outcome:
        """Return "retrying" with the time of the next run, or "dead" if attempts or age are used up."""
        now = self._clock()
        tried = claimed.attempt - claimed.crashes
        if after is None:
            after = self._jitter(0.0, min(mark.max_backoff, mark.backoff * 2.0 ** min(tried - 1, 60)))
        due_at = now + max(0.0, after)
        if tried >= mark.attempts or self._age(claimed) + max(0.0, after) > mark.max_age:
            return Outcome("dead", result, error=error[-MAX_ERROR:])
        return Outcome("retrying", result, due_at=due_at, error=error[-MAX_ERROR:])


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
