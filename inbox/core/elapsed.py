"""What the clocks of the machine say → how much time has surely passed; pure. What is deleted for its age trusts this.

The time of day can be wrong: a dead battery, a wrong time server, a person. The steady clock counts the seconds since
the machine started, and setting the time does not move it. Both are looked at every few seconds, and time counts as
passed when both say so. A jump counts nothing: in doubt things stay longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

STEP = 300.0
"""Seconds by which the time of day may be set without doubt; senders' signatures bear as much."""

NEAR = 3600.0
"""Seconds without a look after which even the steady clock alone proves nothing: the inbox, or the machine, was off."""

SETTLE = 3600.0
"""Seconds for which a new time of day must go in step with the steady clock until it is taken over."""

SLEW = 0.01
"""By which share of the time that passed the known time comes closer to the time of day."""

Change = Literal["", "jumped", "returned", "counted", "settled"]


class Clocks(NamedTuple):
    """The clocks at one moment.

    wall          Unix seconds by the time of day
    steady        seconds since the machine started, on a clock that setting the time does not move
    boot          differs after each start of the machine, "" if the system does not tell
    synchronised  whether the kernel says that a time server keeps the time of day right
    """

    wall: float
    steady: float
    boot: str = ""
    synchronised: bool = False


@dataclass(frozen=True, slots=True)
class Passed:
    """What is known after a look.

    known         Unix seconds, as far as time has surely passed
    clocks        the last look; its `synchronised` is of the last look without doubt
    gap           seconds by which the time of day is ahead of `known` without proof; 0.0 without doubt
    absent        whether the gap arose while nothing looked
    settled       seconds for which the clocks have gone in step since the gap arose
    jumped_at     the known time of the last jump, None if that is long ago
    jump          seconds of the last jump, from which the gap must not move away while it settles
    """

    known: float
    clocks: Clocks
    gap: float = 0.0
    absent: bool = False
    settled: float = 0.0
    jumped_at: float | None = None
    jump: float = 0.0

    @property
    def doubtful(self) -> bool:
        """Tell whether the time of day is not believed now."""
        return self.gap != 0.0

    def now(self, steady: float) -> float | None:
        """Return the known time at a later moment of the same boot; None if the look is too long ago to tell."""
        seconds = steady - self.clocks.steady
        return self.known + seconds if 0.0 <= seconds <= NEAR else None


@dataclass(frozen=True, slots=True)
class Shift:
    """By how many seconds earlier marks move, all or only those made in doubt: time that did not pass ages nothing."""

    seconds: float
    only_doubtful: bool = False


class Look(NamedTuple):
    """What a look found: what is known from now on, what changed, and how marks move for it."""

    passed: Passed
    change: Change = ""
    shift: Shift | None = None


def first(clocks: Clocks, newest: Sequence[float]) -> Passed:
    """Return what is known before the first look; `newest` are the latest times in the store, [] if it is empty."""
    return Passed(max(newest, default=clocks.wall), clocks._replace(synchronised=False), absent=True)


def between(then: Clocks, now: Clocks) -> float | None:
    """Return the seconds that the steady clock proves, None if the machine was started or nothing looked meanwhile."""
    seconds = now.steady - then.steady
    return seconds if then.boot == now.boot and 0.0 <= seconds <= NEAR else None


def look(before: Passed, clocks: Clocks) -> Look:
    """Return what a look at the clocks makes of what was known."""
    seconds = between(before.clocks, clocks)
    known = before.known + (seconds or 0.0)
    absent = seconds is None or before.absent
    gap = clocks.wall - known
    if _believed(before, clocks, gap, absent=absent):
        return _believing(before, clocks, known, gap, absent=absent)
    clocks = clocks._replace(synchronised=before.clocks.synchronised)
    if not before.doubtful or seconds is None or abs(gap - before.jump) > STEP:
        since = before.jumped_at if before.doubtful else known
        return Look(Passed(known, clocks, gap, absent, 0.0, since, gap), "jumped")
    settled = before.settled + seconds
    if settled < SETTLE:
        return Look(replace(before, known=known, clocks=clocks, gap=gap, settled=settled))
    return Look(Passed(clocks.wall, clocks), "settled", Shift(gap))


def confirmed(before: Passed, clocks: Clocks, *, count: bool) -> Look:
    """Return what is known once the owner says that the time of day is right.

    count  whether the time by which it is ahead has really passed, as while the machine was off
    """
    gap = clocks.wall - before.known - (between(before.clocks, clocks) or 0.0)
    if count and gap > 0.0:
        return Look(Passed(clocks.wall, clocks), "counted", Shift(gap, only_doubtful=True))
    return Look(Passed(clocks.wall, clocks), "settled", Shift(gap))


def _believed(before: Passed, clocks: Clocks, gap: float, *, absent: bool) -> bool:
    """Tell whether the time of day is believed: near the known time, or kept right before and after an absence."""
    if not absent:
        return abs(gap) <= STEP
    proven = before.clocks.synchronised and clocks.synchronised
    return -STEP <= gap <= NEAR or (gap > 0.0 and proven)


def _believing(before: Passed, clocks: Clocks, known: float, gap: float, *, absent: bool) -> Look:
    """Return what is known when the time of day is believed."""
    most = SLEW * (known - before.known)
    now = clocks.wall if absent else known + max(-most, min(gap, most))
    lately = before.jumped_at is not None and now - before.jumped_at < SETTLE
    passed = Passed(now, clocks, jumped_at=before.jumped_at if lately else None, jump=before.jump if lately else 0.0)
    if absent and gap > NEAR:
        return Look(passed, "counted", Shift(gap, only_doubtful=True))
    return Look(passed, "returned" if before.doubtful else "")
