"""What routing and claiming are about: an event that nobody routed, who claims, and who goes first."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class UnroutedEvent:
    """What routing needs to know of an event."""

    id: int
    source: str
    type: str
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Worker:
    """Who claims, and when: `token` gives a fresh one per delivery, `at` is Unix time, `steady` see `Work`."""

    name: str
    token: Callable[[], str]
    at: float
    steady: float
    lease: float


class PacedWriter(Protocol):
    """What a worker does between two pieces of work."""

    def give_way(self, at: float) -> None:
        """Let those write first who have a sender waiting; returns soon, at once if no events come."""
        ...
