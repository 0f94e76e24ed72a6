"""The clock: signatures are only believed for a while, leases run out, and events are kept for so many days."""

from collections.abc import Iterator
from dataclasses import dataclass

from inbox.core import clocks
from inbox.core.elapsed import Passed
from inbox.core.models import iso
from inbox.tools.doctor.finding import Finding, ok, problem, warning

EARLIEST = 1_767_225_600.0
"""2026-01-01: before this there was no such program."""

LATEST = 4_102_444_800.0
"""2100-01-01."""

STEP = 0.5
AHEAD = 5.0
NTP = "let chrony, ntpd or systemd-timesyncd set the clock"


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment on two clocks, in seconds: the one that can be set, and the one that cannot."""

    wall: float
    monotonic: float


def look(began: Instant, ended: Instant, newest: float | None, passed: Passed | None = None) -> Iterator[Finding]:
    """Yield findings; `newest` is the latest time that the store knows, `passed` what it knows of the time."""
    text = f"it is {iso(ended.wall)} (UTC)" if 0 <= ended.wall < LATEST else f"it is {ended.wall:.0f} s after 1970"
    if not EARLIEST <= ended.wall < LATEST:
        yield problem("clock", f"{text}, which cannot be", NTP)
    else:
        yield ok("clock", text)
    stepped = (ended.wall - began.wall) - (ended.monotonic - began.monotonic)
    if abs(stepped) > STEP:
        yield warning("clock", f"it was set by {stepped:+.1f} s while this ran", f"{NTP} slowly, once it is right")
    if newest is not None and newest > ended.wall + AHEAD:
        yield problem(
            "clock",
            f"the store has something from {iso(newest)}, which is still to come: the clock was set back, or was wrong",
            f"{NTP}; leases and retries from then wait until that time",
        )
    if passed is not None and passed.doubtful:
        yield warning(
            "clock",
            f"it jumped by {passed.gap:+.0f} s and is in doubt: nothing is deleted for its age until that is over",
            f"{NTP}, or say that it is right: `inbox clock`",
        )
    yield synchronised()


def synchronised() -> Finding:
    """Return what the kernel says of the clock."""
    state = clocks.kernel().state
    if state < 0:
        return ok("clock synchronised", "whether anybody sets the clock cannot be told on this system")
    if state == clocks.UNSYNCHRONISED:
        return warning("clock synchronised", "the kernel knows of nobody who sets the clock", NTP)
    return ok("clock synchronised", "the kernel says that the clock is synchronised")
