"""The sixth role of a store, Views: what an owner sees at his desk besides lists of events. It only reads.

Nothing here takes longer because more events are stored. Every method may raise StoreUnavailable.
"""

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from inbox.core.histograms import Counts

Minute: TypeAlias = tuple[int, str, str, int]
"""When a minute or hour began (Unix seconds), subject, name, and how often that was counted in it."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Events of a source that are received or in work: how many, and the oldest of them."""

    number: int
    oldest_id: int
    oldest_at: float


class Views(Protocol):
    """What the desk needs."""

    def minutes(self, since: int) -> list[Minute]:
        """Return what was counted in minutes that began then or later, without sums of durations."""
        ...

    def counted(self, minute: int, hour: int, until: int) -> tuple[list[Minute], list[Minute], Counts]:
        """Return what was counted before `until`: by minute from `minute` on, by hour from `hour` on, and ever.

        All of it as it was at one moment, and without sums of durations and durations of answers and commits.
        """
        ...

    def unfinished(self) -> dict[str, Unfinished]:
        """Return by source what is still to be done, if there is any."""
        ...

    def neighbours(self, event_id: int) -> tuple[int | None, int | None]:
        """Return the ids before and after an event in its source."""
        ...

    def conflicts(self, event_id: int, limit: int) -> list[dict[str, Any]]:
        """Return (id, received_at) of events with the key of this one and other content, oldest first."""
        ...

    def replays(self, event_id: int) -> dict[int, dict[str, Any]]:
        """Return who ran an event again, when and why, by the number of the replay."""
        ...

    def refusals(self, source: str | None, before: int | None, limit: int) -> list[dict[str, Any]]:
        """Return refusals with a smaller id, newest first."""
        ...

    def failed_modules(self) -> dict[str, tuple[str, float]]:
        """Return the traceback of each module that a worker could not import, and since when."""
        ...

    def loaded_at(self) -> dict[str, float]:
        """Return when each handler was last loaded."""
        ...

    def last_failures(self) -> dict[str, dict[str, Any]]:
        """Return of each handler the attempt that last went wrong: event_id, at, number, result, error."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...
