"""One process's knowledge of how much time has passed: looks at the clocks now and then, and counts on in between.

What is deleted for its age asks `certain`, which says nothing while the time of day is in doubt. What only asks how old
something is asks `now`. Neither reads the time of day in between, so a jump cannot hurt before it is noticed.
"""

from collections.abc import Callable
from contextlib import suppress

import structlog

from inbox.core.elapsed import Clocks, Look, Passed
from inbox.core.errors import StoreError
from inbox.store.protocols_elapsed import Timekeeping

log = structlog.get_logger("inbox.clock")

THEN = {
    "jumped": "nothing is deleted for its age until the clock is right, or goes in step for an hour; `inbox clock`",
    "returned": "what is old enough is deleted again",
    "counted": "the time in which nothing ran counts, as the clock was kept right before and after it",
    "settled": "the new time is taken over, and the jump makes nothing older",
}


class Timekeeper:
    """Of one process.

    store   opens the store when it is first needed, which may be after a fork
    clocks  are read at a look; `steady` is the one of them that is read in between
    """

    def __init__(
        self, store: Callable[[], Timekeeping], clocks: Callable[[], Clocks], steady: Callable[[], float]
    ) -> None:
        self._store = store
        self._clocks = clocks
        self._steady = steady
        self._passed: Passed | None = None

    def begun(self) -> "Timekeeper":
        """Return this, after a first look; a store that is locked or full is looked at later."""
        with suppress(StoreError):
            self.look()
        return self

    def look(self) -> Passed:
        """Look at the clocks, keep what is known, and return it. Raises StoreUnavailable."""
        return self._told(self._store().look(self._clocks))

    def confirm(self, *, count: bool) -> Passed:
        """Believe the time of day from now on, because the owner says so. Raises StoreUnavailable."""
        return self._told(self._store().confirm(self._clocks, count=count))

    def now(self) -> float:
        """Return Unix seconds, as far as time has surely passed. Raises StoreUnavailable if a look is due and fails."""
        now = self._passed.now(self._steady()) if self._passed is not None else None
        return self.look().known if now is None else now

    def day(self, wall: float) -> float:
        """Return the time with which two moments are compared that lie close together, now that it is `wall`.

        While nothing was off, the steady clock proves also that no more time has passed; after that nothing does, and
        the time of day has to do. Never later than `wall`. Raises StoreUnavailable, too.
        """
        now = self.now()
        return wall if self._passed is None or self._passed.absent else min(now, wall)

    def certain(self) -> float | None:
        """Return the same, or None while the time of day is in doubt. Raises StoreUnavailable, too."""
        now = self.now()
        return None if self._passed is None or self._passed.doubtful else now

    def age(self, delivery: int, created_at: float) -> float:
        """Return for how many seconds a delivery surely exists. Raises StoreUnavailable."""
        return self._store().age(delivery, created_at, self.now())

    def _told(self, found: Look) -> Passed:
        self._passed = found.passed
        if found.change:
            tell = log.warning if found.change == "jumped" else log.info
            seconds = found.passed.jump if found.shift is None else found.shift.seconds
            tell(f"clock.{found.change}", seconds=round(seconds, 1), then=THEN[found.change])
        return found.passed
