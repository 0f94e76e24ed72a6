"""The fifth role of a store, Acting: what an owner has done to many events at once, and what is paused.

An action is a row before anything is done; it is done in steps, each of which is one transaction that also moves the
action's place. Whoever wants to go a step says from which place: nobody does what somebody else has done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from inbox.store.protocols import ReplayResult

ActionKind = Literal["replay", "cancel", "ignore"]
PauseKind = Literal["handler", "source"]
ACTION_KINDS: tuple[ActionKind, ...] = ("replay", "cancel", "ignore")
ACTION_STATES = ("waiting", "running", "done", "stopped", "failed")
PAUSE_KINDS: tuple[PauseKind, ...] = ("handler", "source")

LONGEST = 120.0
"""Seconds; nobody holds an action for longer, so what is held for longer is from before the machine started anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAction:
    """What somebody wants done.

    selection  JSON text: the fields of a Filter, or `ids`
    cursor, upto   events with a larger id than `cursor`, up to `upto`: what comes later is not meant; of ids, 0
    total      how many events that is
    rate       events per second at most, None if it does not matter
    """

    kind: ActionKind
    who: str
    why: str
    selection: str
    cursor: int
    upto: int
    total: int
    handler: str | None = None
    force: bool = False
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """The status of an event after it was checked again, and what is wrong with it (JSON text)."""

    event_id: int
    status: str
    type: str | None
    violations: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionStep:
    """A step of an action, from the place `begun` to the place `ended`; the `last` ends the action.

    number     events that it is about
    events     those whose deliveries are cancelled, or that are ignored
    runs       (event id, handler, can it run) of those that are replayed
    results    what is to be counted besides what the store does
    """

    action: int
    begun: int
    ended: int
    last: bool
    number: int
    events: Sequence[int] = ()
    checked: Sequence[Checked] = ()
    runs: Sequence[tuple[int, str, bool]] = ()
    results: Mapping[str, int] = field(default_factory=dict)


class Acting(Protocol):
    """What is done to many events, and what is paused. `steady` and what is held until then: see `Work`."""

    def newest(self) -> int:
        """Return the id of the newest event, 0 if there is none."""
        ...

    def begin(self, new: NewAction, *, at: float, held_until: float = 0.0) -> int:
        """Record an action, durably, and return its id; nobody else begins it as long as it is held."""
        ...

    def action(self, action_id: int) -> dict[str, Any]:
        """Return an action. Raises NotFound."""
        ...

    def actions(self, limit: int, *, before: int | None = None, kind: ActionKind | None = None) -> list[dict[str, Any]]:
        """Return actions, newest first, below the id `before`."""
        ...

    def next(self, steady: float) -> dict[str, Any] | None:
        """Return the action whose turn it is, None if all have ended: the one that has waited longest for it.

        `wait` is for how many seconds somebody still holds it: 0 unless all of them are held.
        """
        ...

    def step(self, step: ActionStep, *, at: float, held_until: float) -> list[ReplayResult | None] | None:
        """Do what the step says and move the action; None, and nothing is done, if it is not at that place any more.

        Returns what became of the runs, as `Archive.replay` says it, None for an event that is gone. Atomic: one
        transaction. What was checked again is left alone if somebody has settled it meanwhile.
        """
        ...

    def hold(self, action_id: int, until: float) -> bool:
        """Hold an action until then; False if it has ended."""
        ...

    def stop(self, action_id: int, *, at: float, who: str) -> bool:
        """End an action where it is; False if it had ended. Raises NotFound."""
        ...

    def fail(self, action_id: int, *, at: float, error: str) -> None:
        """End an action that cannot be done."""
        ...

    def pause(self, kind: PauseKind, name: str, *, at: float, who: str, why: str) -> bool:
        """Let the deliveries to a handler, or of a source's events, wait; False if they do already."""
        ...

    def resume(self, kind: PauseKind, name: str, *, at: float, who: str) -> bool:
        """End a pause; False if there is none. `free` then lets its deliveries go."""
        ...

    def pauses(self) -> list[dict[str, Any]]:
        """Return the pauses that have not ended, or whose deliveries are not all free yet: a row each.

        `waiting` is how many deliveries were set aside, `oldest` since when (Unix time) the oldest is due.
        """
        ...

    def free(self, limit: int) -> bool:
        """Let deliveries of one ended pause go, those first that are due first; return whether there may be more."""
        ...

    def left(self) -> bool:
        """Tell whether there is an action that has not ended, or a delivery to be freed."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...
