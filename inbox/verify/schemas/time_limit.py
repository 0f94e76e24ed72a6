"""How much one check of a payload may cost: time for the validator of record, counted work for the quick test.

`NotInTime` ends a check that needs more. Next: `inbox.verify.schemas.validator` makes a violation of it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

QUICK_WORK = 2**30
"""What all patterns of one quick test may cost: bytes of the compiled pattern × characters; at worst 35 ms."""

CALLS = 16
"""Of `in_time`, after which the clock is looked at."""

Clock = Callable[[], float]


class NotInTime(Exception):
    """The check would take, or took, longer than it may."""


class _Limits(threading.local):
    """What the check in this thread may still cost."""

    until = inf
    calls = 0
    clock: Clock = staticmethod(time.thread_time)
    work = 0
    given_up = False


_LIMITS = _Limits()


@contextmanager
def within(seconds: float, clock: Clock) -> Iterator[None]:
    """Let `in_time` raise NotInTime in this thread from then on. The clock counts what the thread has worked."""
    _LIMITS.clock, _LIMITS.until = clock, clock() + seconds
    try:
        yield
    finally:
        _LIMITS.until = inf


def in_time() -> None:
    """Raise NotInTime if the time of this thread's check is over. The clock costs time, so few calls look at it."""
    limits = _LIMITS
    limits.calls += 1
    if limits.calls > CALLS:
        limits.calls = 0
        if limits.clock() > limits.until:
            raise NotInTime("its time is over")


def begin_quick() -> None:
    """Allow this thread's quick test QUICK_WORK."""
    _LIMITS.work, _LIMITS.given_up = QUICK_WORK, False


def spend(work: int) -> bool:
    """Take the work from what the quick test may cost; tell whether there was enough, else it is given up."""
    limits = _LIMITS
    limits.work -= work
    if limits.work < 0:
        limits.given_up = True
    return not limits.given_up


def given_up() -> bool:
    """Tell whether this thread's quick test came to its end without an answer."""
    return _LIMITS.given_up
