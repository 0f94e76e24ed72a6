"""What a store offers, in three roles that meet only in the data: Inlet (receiver), Work (worker), Archive (owner).

Every method is atomic: it happens completely or not at all. Every method may raise StoreUnavailable (locked, full
or too slow: nothing happened) besides what it names. `tests/store/test_contract*.py` are this protocol as a test;
every backend passes them.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from inbox.core.models import Claimed, HandlerSpec, NewEvent, Refusal, Request, Stored
from inbox.store.filters import DELIVERY_STATUSES as DELIVERY_STATUSES
from inbox.store.filters import EVENT_STATUSES as EVENT_STATUSES
from inbox.store.filters import Filter as Filter
from inbox.store.protocols_routing import PacedWriter, UnroutedEvent, Worker


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    status  of the delivery from now on: succeeded, retrying, parked, dead or discarded
    result  of the attempt: succeeded, retry, error, timeout, interrupted, discarded or unavailable
    due_at  when it is to run again, for "retrying"
    value   JSON text of what the handler returned
    error   a traceback or reason, "" if there is none
    """

    status: str
    result: str
    due_at: float | None = None
    value: str | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """What `finish` did: False if the lease was lost and the outcome thrown away."""

    held: bool
    event_status: str | None = None


ReplayResult = Literal["created", "expedited", "running"]


class Inlet(Protocol):
    """What the receiver needs."""

    def add_event(self, event: NewEvent) -> Stored:
        """Store an event, or find that it is there; returns only when it is on disk.

        Atomic: one INSERT decides between copies. A copy with other content becomes a visible conflict.
        """
        ...

    def add_refusal(self, refusal: Refusal) -> bool:
        """Remember a refusal; the oldest of its source are forgotten beyond the limits of number and bytes.

        Returns whether the request itself is kept (`Refusal.held`): never if that would exceed its source's limits.
        """
        ...

    def submit(
        self, item: NewEvent | Refusal, done: Callable[[Stored | bool | None, BaseException | None], None]
    ) -> object:
        """Begin to do as `add_event` or `add_refusal`, and call `done` with the result, or with the error.

        `done` is called from another thread and must not wait. Nobody is called who got an error from here.
        """
        ...

    def give_up_late(self) -> None:
        """Call those back with StoreUnavailable who have waited too long; to be called again and again."""
        ...

    def probe(self) -> None:
        """Write something durably, to learn whether that is possible."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


class Work(PacedWriter, Protocol):
    """What the worker needs.

    A lease must survive that somebody sets the clock, so it is measured by a clock that nobody sets: `steady` is the
    time on it at the same instant as the Unix time beside it. All workers share that clock; it may begin anew when
    the machine does, when every holder of a lease is gone. Left out, it is the Unix time.
    """

    def remember(self, handlers: Sequence[HandlerSpec], at: float) -> None:
        """Remember the handlers that loaded, and mark as failed those whose module did not.

        What is not named is marked as removed. Deliveries parked for a handler that loaded become pending.
        """
        ...

    def handlers(self) -> list[HandlerSpec]:
        """Return the remembered handlers that are not removed, with the failure of their module if it has one."""
        ...

    def heads(self, limit: int) -> list[UnroutedEvent]:
        """Return events that nobody has routed, oldest first."""
        ...

    def route_all(self, events: Mapping[int, Mapping[str, bool]], at: float) -> dict[int, list[int]]:
        """Route events, by id; see `route`. Returns only those that were not routed yet. Atomic: all or nothing."""
        ...

    def route(self, event_id: int, handlers: Mapping[str, bool], at: float) -> list[int]:
        """Make one delivery per handler name of an event and return the ids of those that can run.

        The value says whether the handler can run now; if not, its delivery is parked. Does nothing unless the
        event's status is "received"; without handlers the event becomes "unhandled".
        """
        ...

    def claim(
        self, delivery_id: int, *, token: str, worker: str, at: float, lease: float, steady: float | None = None
    ) -> Claimed | None:
        """Take a delivery that is due, or whose lease has run out; None if somebody else has it or it is not due.

        Atomic: one UPDATE. Taking over from a lease that ran out counts as a crash.
        """
        ...

    def take(self, worker: Worker, limit: int) -> tuple[list[Claimed], bool]:
        """Claim what is due, up to `limit` deliveries, and tell whether there is more.

        Atomic: one transaction. Only deliveries that were never tried are claimed together; another one is claimed
        alone. If the lease of what was claimed together runs out, nobody knows which of them was being run: that ends
        the attempt as "interrupted" and is no crash.
        """
        ...

    def give_back(self, claimed: Collection[Claimed]) -> None:
        """Let deliveries go that were claimed together and not begun, as if they had not been claimed."""
        ...

    def heartbeat(self, delivery_id: int, token: str, lease_until: float, steady: float | None = None) -> bool:
        """Extend the lease until then; False if the token no longer holds the delivery."""
        ...

    def finish_all(self, ended: Sequence[tuple[Claimed, Outcome]], at: float) -> list[Finished]:
        """Record how attempts ended, in one transaction; see `finish`."""
        ...

    def finish(self, delivery_id: int, token: str, outcome: Outcome, at: float) -> Finished:
        """Record how the attempt ended. Atomic: only the holder of the token changes the delivery."""
        ...

    def holds(self, delivery_id: int, token: str, steady: float) -> bool:
        """Tell whether the token still holds the delivery."""
        ...

    def expire(self, at: float) -> int:
        """Forget requests that were held for as long as they may be at a known time, and return how many."""
        ...

    def unrouted(self, limit: int) -> list[int]:
        """Return ids of events that nobody has routed, oldest first."""
        ...

    def set_back(self, at: float) -> int:
        """Let pauses that began later than now begin now, because the clock was set back; return how many."""
        ...

    def waiting(self, until: float, limit: int, steady: float | None = None) -> list[tuple[int, float]]:
        """Return (delivery id, time when it can be claimed) of what can be claimed before `until`, soonest first."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


class Archive(Protocol):
    """What the owner needs: look, and run again."""

    def events(self, wanted: Filter, limit: int) -> list[dict[str, Any]]:
        """Return events as rows; newest first, or oldest first if `wanted.after` is set.

        Of a search for text those that are indexed; raises SearchUnavailable if this SQLite cannot. See `finding`.
        """
        ...

    def count(self, wanted: Filter) -> int:
        """Return how many events there are."""
        ...

    def event(self, event_id: int) -> dict[str, Any]:
        """Return one event with its headers, deliveries and attempts. Raises NotFound."""
        ...

    def find(self, request_id: str) -> int | None:
        """Return the id of the event that came with this request, None if none did."""
        ...

    def request(self, event_id: int) -> Request:
        """Return the request as it is stored. Raises NotFound."""
        ...

    def sources(self) -> list[dict[str, Any]]:
        """Return one row per source that has events, refusals or held requests: counts, and times of the last.

        `matches` is when each secret matched last, to the minute, by its number, counted from 1.
        """
        ...

    def backlog(self) -> dict[str, int]:
        """Return how many deliveries have not ended, by handler name."""
        ...

    def refusals(self, source: str | None, limit: int, *, request_id: str | None = None) -> list[dict[str, Any]]:
        """Return refusals, newest first; with `request_id` only that of this request."""
        ...

    def handlers(self) -> list[HandlerSpec]:
        """Return the remembered handlers that are not removed."""
        ...

    def held(self, source: str, after: int, limit: int) -> list[tuple[int, float, Request]]:
        """Return (id, time of receipt, request) of held requests with a larger id, oldest first."""
        ...

    def list_held(self, source: str | None) -> list[dict[str, Any]]:
        """Return a row without its body per held request, oldest first; each source has a limited number."""
        ...

    def drop_held(self, held_id: int) -> None:
        """Forget a held request, because it is an event now, or because its owner does not want it."""
        ...

    def replay(
        self, event_id: int, handler: str, *, can_run: bool, replay_id: int, at: float
    ) -> tuple[ReplayResult, int]:
        """Make new work of an event for one handler and return the delivery's id.

        A delivery that waits is made due instead ("expedited"); one that runs is left alone ("running"). An event
        that is not routed yet stays "received", so that its other handlers get it too. Raises NotFound.
        """
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...
