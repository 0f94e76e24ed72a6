"""What routing and claiming are about: an event that nobody routed, and who claims."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Head:
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
