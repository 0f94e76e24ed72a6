"""The fourth role of a store, Watch: what those need who look after the inbox. Counts and signs of life.

Every method is atomic, and may raise StoreUnavailable. Nothing here is fsynced by itself, but it is never half there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from inbox.core.elapsed import Passed
from inbox.core.histograms import Counts

Roles = Literal["receiver", "worker"]


@dataclass(frozen=True, slots=True)
class Alive:
    """A process's signs of life: how many seconds ago the last one was, and the Unix time since when without a gap."""

    age: float
    since: float


@dataclass(frozen=True, slots=True)
class Looked:
    """What can be seen at a moment.

    backlog    unrouted events; deliveries that are due, that wait for later, that run, that are parked, that are paused
    oldest     for how many seconds the oldest of those that could be worked on waits
    store      bytes: used, free (in the file, for reuse), log
    disk_free  bytes on the file system
    handlers   names that a worker knows
    failed     modules of handlers that did not import when a worker last loaded them
    processes  by role; a role that never gave a sign is not there
    oldest_paused  for how many seconds the oldest delivery waits that somebody paused; nobody is to be alarmed by it
    passed     what is known of the time that has passed, None before the first look at the clocks
    """

    backlog: Mapping[str, int]
    oldest: float
    store: Mapping[str, int]
    disk_free: int
    handlers: frozenset[str]
    processes: Mapping[str, Alive]
    oldest_paused: float = 0.0
    failed: frozenset[str] = frozenset()
    passed: Passed | None = None

    def gone(self, role: str, limit: float) -> str:
        """Return why a process is believed to be gone, "" if it gave a sign of life within so many seconds."""
        alive = self.processes.get(role)
        if alive is None:
            return f"no {role} has ever run here"
        if alive.age == float("inf"):
            return f"no {role} has run since this machine started"
        return f"no {role} has given a sign of life for {alive.age:.0f} s" if alive.age > limit else ""


class Watch(Protocol):
    """What those need who look after the inbox."""

    def add(self, counts: Counts, at: float) -> None:
        """Add counts to the minute of this Unix time."""
        ...

    def beat(self, role: Roles, at: float, steady: float) -> None:
        """Give a sign of life, by the clock of the leases (see `Work`); after a gap it begins anew."""
        ...

    def roll(self, at: float) -> bool:
        """Roll old minutes up to hours, and forget old hours; return whether there were any."""
        ...

    def totals(self) -> Counts:
        """Return what was ever counted; never less than before."""
        ...

    def recent(self, since: float) -> Counts:
        """Return what was counted in minutes that began at this Unix time or later: at most the last three hours."""
        ...

    def hours(self, names: Sequence[str], since: float) -> dict[str, dict[int, int]]:
        """Return subject → hour (Unix seconds) → how often any of these names was counted, from `since` on."""
        ...

    def last(self, names: Sequence[str], since: float) -> dict[str, int]:
        """Return subject → the minute (Unix seconds) in which any of these names was last counted, from `since` on."""
        ...

    def look(self, at: float, steady: float) -> Looked:
        """Return what can be seen now."""
        ...

    def inspect(self, seconds: float) -> Iterator[tuple[str, float, bool]]:
        """Look for damage; yield each table, the seconds that took, and whether its limit of `seconds` was enough.

        Raises StoreUnusable if there is damage; from then on this process stores nothing.
        """
        ...

    def turn(self, steady: float, every: float) -> bool:
        """Tell whether it is the caller's turn to evaluate the alarms: `every` seconds after the last turn, once."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...
