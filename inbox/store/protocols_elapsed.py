"""A further role of a store, Timekeeping: how much time has passed, kept over restarts.

Every method is atomic, and may raise StoreUnavailable.
"""

from collections.abc import Callable
from typing import Protocol

from inbox.core.elapsed import Clocks, Look


class Timekeeping(Protocol):
    """What those need who delete something for its age."""

    def look(self, clocks: Callable[[], Clocks]) -> Look:
        """Look at the clocks and keep what is known from now on; the clocks are asked while nobody else looks.

        Marks how far the store is, at most once a minute: a row that has a lower number than a mark is older than it,
        whatever date it bears.
        """
        ...

    def confirm(self, clocks: Callable[[], Clocks], *, count: bool) -> Look:
        """Believe the time of day from now on; see `inbox.core.elapsed.confirmed`."""
        ...

    def age(self, delivery: int, created_at: float, now: float) -> float:
        """Return for how many seconds a delivery surely exists at the known time `now`, whatever date it bears."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...
