"""One run of a handler → its outcome. Decides what an end means; records nothing. Next: `inbox.deliver.batch`.

Handlers are called by `inbox.deliver.handler_call`; what comes from there is plain text and numbers.
"""

import random
from collections.abc import Callable
from functools import partial

from inbox.core.errors import Malformed
from inbox.core.handles import Handles
from inbox.core.models import Claimed, Event, Payload, Request, utc
from inbox.core.tracebacks import described
from inbox.deliver.handler_call import INTERRUPTED, TIMEOUT, End, ended
from inbox.deliver.handler_loader import Registry
from inbox.deliver.watchdog import HandlerTimeout, Watchdog
from inbox.store.protocols import Outcome


class HandlerRunner:
    """Runs handlers of a registry.

    read   turns (source name, request) into the payload; raises Malformed
    holds  tells whether (delivery id, token) still holds the delivery
    age    tells for how many seconds a delivery surely exists, which may be less than the time of day makes of it
    """

    def __init__(
        self,
        registry: Registry,
        guard: Watchdog,
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
                end = ended(handler.function, partial(self._event, claimed))
        except KeyboardInterrupt:  # these two: in the moment before the handler is called, or after
            end = INTERRUPTED
        except HandlerTimeout:
            end = TIMEOUT
        except BaseException as error:
            end = End("error", described(error))
        return self._outcome(claimed, mark, end)

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

    def _outcome(self, claimed: Claimed, mark: Handles, end: End) -> Outcome:
        """Return what becomes of the delivery: "retrying" has the time of the next run.

        It is "dead" if attempts or age are used up.
        """
        if end.result == "succeeded":
            return Outcome("succeeded", "succeeded", value=end.text)
        if end.result == "discarded":
            return Outcome("discarded", "discarded", error=end.text)
        text = f"stopped after {mark.timeout:g} s" if end.result == "timeout" else end.text
        now, after = self._clock(), end.after
        tried = claimed.attempt - claimed.crashes
        if after is None:
            after = self._jitter(0.0, min(mark.max_backoff, mark.backoff * 2.0 ** min(tried - 1, 60)))
        due_at = now + max(0.0, after)
        if tried >= mark.attempts or self._age(claimed) + max(0.0, after) > mark.max_age:
            return Outcome("dead", end.result, error=text)
        return Outcome("retrying", end.result, due_at=due_at, error=text)
