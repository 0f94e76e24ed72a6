"""What a store offers for retention, as a fourth role: what may go, in small steps, and what must not.

The stages of an event: its body goes, then its attempts and deliveries, then everything but its key (it is no longer
listed, a copy is still recognised), and last the key. A kept event loses none of this. Next: `inbox.operate.retention`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from inbox.store.protocols import Filter

Kind = Literal["bodies", "attempts", "events", "event_keys", "refusals"]
KINDS: tuple[Kind, ...] = ("bodies", "attempts", "events", "event_keys", "refusals")
"""In the order in which they go."""


@dataclass(frozen=True, slots=True)
class What:
    """What of a source may go: what is older than `before`, of events with one of these statuses.

    before  Unix seconds of known time, see `inbox.core.elapsed`
    upto    no row with a larger id
    """

    kind: Kind
    source: str
    before: float
    statuses: tuple[str, ...] = ("succeeded", "unhandled")
    upto: int = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Page:
    """What was found among the next rows: ids that may go with their bytes, and how many may not for being kept.

    last   the last id that was looked at, None if there was none
    older  whether any of them is old enough, so that it is worth looking further
    """

    may: tuple[tuple[int, int], ...] = ()
    kept: int = 0
    last: int | None = None
    older: bool = False


@dataclass(frozen=True, slots=True)
class SpaceUsed:
    """The size of the database in bytes, how much of it is free, and whether that can be given back in steps."""

    total: int
    free: int
    in_steps: bool


class Keeping(Protocol):
    """What retention needs. Every method is atomic, and may raise StoreUnavailable."""

    def sources(self) -> list[str]:
        """Return the names of all sources that anything is stored of, also of those that are no longer configured."""
        ...

    def body_bytes(self, source: str) -> int:
        """Return how many bytes the bodies of a source have."""
        ...

    def beyond(self, kind: Literal["attempts", "events", "refusals"], source: str, count: int) -> int:
        """Return the id of the newest row of a source that has `count` newer ones, 0 if there is none."""
        ...

    def beyond_bytes(self, source: str, size: int) -> int:
        """Return the id of the newest refusal of a source that has no room among so many bytes of the newest, or 0.

        The newest of all has.
        """
        ...

    def look(self, what: What, after: int, limit: int) -> Page:
        """Return what may go among the next rows with a larger id; changes nothing and keeps nobody from writing."""
        ...

    def prune(self, what: What, ids: Sequence[int], at: float) -> int:
        """Let those of these rows go that still may, and return how many that were. One short transaction."""
        ...

    def space(self) -> SpaceUsed:
        """Return how large the database is."""
        ...

    def give_back(self, pages: int) -> int:
        """Give so many free pages back to the file system, and return how many are free still."""
        ...

    def keep(self, wanted: Filter, ids: Sequence[int], *, at: float, who: str, why: str, limit: int = 500) -> int:
        """Keep events that are not kept yet, by id or else by filter, and return how many; 0 when there are no more."""
        ...

    def unkeep(self, wanted: Filter, ids: Sequence[int], limit: int = 500) -> int:
        """Let retention have events again, and return how many; 0 when there are no more."""
        ...

    def kept(self, limit: int) -> list[dict[str, Any]]:
        """Return kept events with since when, by whom and why, the latest first."""
        ...

    def hold(self, wanted: Filter, *, at: float, who: str, why: str) -> int:
        """Keep what source, type and times of a filter match, now and later, and return the number of the hold."""
        ...

    def end_hold(self, hold: int, *, at: float, who: str) -> bool:
        """End a hold, and tell whether it was one."""
        ...

    def holds(self) -> list[dict[str, Any]]:
        """Return every hold there was, the latest first."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...
