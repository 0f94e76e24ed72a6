"""What a store offers those who look for events, besides Archive: bounded work, and what a search could not see.

Every method may raise StoreUnavailable, and SearchUnavailable where text is searched for and this SQLite cannot.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from inbox.store.filters import Filter

Stop = Callable[[], bool]
"""Is asked between small steps whether the search has taken long enough."""


def never() -> bool:
    """Let a search go on until it has found everything."""
    return False


@dataclass(frozen=True, slots=True)
class Found:
    """Events that were found, in the order of the filter.

    searched  None if the page is full or there are no more; else the id up to which was searched before it was stopped
    """

    rows: Sequence[Mapping[str, Any]]
    searched: int | None = None


@dataclass(frozen=True, slots=True)
class Unseen:
    """What a search for text cannot see, of all events: how many are not indexed yet, and of how many no body is.

    upto      the last id that is indexed; 0 if none is
    pending   events that are not indexed yet, counted up to PENDING + 1
    sealed    events whose body is sealed, which is never indexed
    bodiless  events whose body was pruned or erased
    cut       events of whose body only the beginning is indexed
    """

    upto: int = 0
    pending: int = 0
    sealed: int = 0
    bodiless: int = 0
    cut: int = 0


PENDING = 10_000
NAMES = 200
"""So many sources, types and handlers are named in a list to choose from."""


class EventSearch(Protocol):
    """What those need who look for events."""

    def look(self, wanted: Filter, limit: int, stop: Stop = never) -> Found:
        """Return events, as Archive.events does, and where the search was stopped."""
        ...

    def count(self, wanted: Filter, limit: int, stop: Stop = never) -> tuple[int, bool]:
        """Return how many events there are, up to `limit`, and whether there are or may be more."""
        ...

    def unseen(self) -> Unseen:
        """Return what a search for text cannot see."""
        ...

    def facets(self) -> dict[str, list[str]]:
        """Return what to choose from: `sources`, `types`, `statuses` and `handlers`, NAMES of each at most, sorted."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


class Indexing(Protocol):
    """What the indexer needs. Each call does one small thing in one short transaction, or finds nothing to do."""

    def step(self, *, owner: str, at: float, steady: float) -> str | None:
        """Do what is next, and return a word for it; None if there is nothing to do, or another one does it.

        Resumable: what was committed counts, and a step that was cut off is done again. `owner` holds the index for
        some seconds on the steady clock.
        """
        ...

    def clear(self, *, owner: str, at: float, steady: float) -> str | None:
        """Take away some of the index, because nobody wants one; None when nothing is left."""
        ...

    def busy(self, at: float) -> bool:
        """Tell whether something more urgent waits: events to route, or deliveries that are due."""
        ...

    def tidy(self) -> None:
        """Empty the database's log, which has what was overwritten, unless somebody reads it now."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...
