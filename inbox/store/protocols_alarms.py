"""The fifth role of a store, AlarmBook: what is known of each alarm, its starts and ends, and who was told of them.

A state, its change and the notices of that change are written together, so that a restart neither repeats nor forgets
a message. Every method is atomic, and may raise StoreUnavailable.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Change:
    """An alarm's start or end, as text for people. `id` is 0 until it is recorded."""

    alarm: str
    subject: str
    what: Literal["start", "end", "test"]
    text: str
    at: float
    id: int = 0


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known of an alarm: whether it is on and since when; how many readings in a row spoke against that."""

    alarm: str
    subject: str
    on: bool
    since: float
    streak: int
    text: str


@dataclass(frozen=True, slots=True)
class AlarmNotice:
    """A change on its way: by which way, and the how-manieth try this is."""

    id: int
    way: str
    attempt: int
    change: Change


class AlarmBook(Protocol):
    """What the alarms need."""

    def states(self) -> list[Watched]:
        """Return the alarms as they are known, those that are on first."""
        ...

    def record(
        self, states: Sequence[Watched], gone: Sequence[Watched], changes: Sequence[Change], ways: Sequence[str]
    ) -> None:
        """Keep new states, forget those that are gone, and have each change told by each way. All or nothing."""
        ...

    def take_notices(self, at: float, limit: int) -> list[AlarmNotice]:
        """Take notices that are due, oldest first; nobody else gets them for five minutes."""
        ...

    def told(self, notice: int, at: float, *, error: str = "", again_at: float | None = None) -> None:
        """Record that a notice was sent, or, with an error, that it is tried again then, or (None) never."""
        ...

    def changes(self, limit: int) -> list[dict[str, Any]]:
        """Return starts and ends, newest first, each with what became of it by each way (`told`)."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...
