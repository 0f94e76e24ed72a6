"""What several bars need: a running inbox that is fed so many events, and waiting for its worker."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.plan import Plan
from tests.benchmarks.stored import stored_events, unfinished
from tests.benchmarks.wrk import Cell, Load, load

PACED = Cell(connections=32)
PAUSE = 100
"""Milliseconds that each of 32 connections waits after an answer: about 300 requests per second."""

STEP = 1.0


def feed(plan: Plan, port: int, database: Path, wanted: int, after: Callable[[int], None] = lambda stored: None) -> int:
    """Send events until so many are stored, and return wrk's position; `after` is called with the number every step."""
    position = 0
    while (stored := stored_events(database)) < wanted:
        result = load(plan.letters, port, Cell(), STEP, position=position)
        if result.faults:
            raise RuntimeError(f"while {wanted} events were sent: {result.faults}")
        position = result.position
        after(stored)
    return position


def paced(plan: Plan, port: int, seconds: float, position: int) -> Load:
    """Send about 300 requests per second and return what was measured."""
    result = load(plan.letters, port, PACED, seconds, position=position, pause=PAUSE)
    if result.faults:
        raise RuntimeError(f"paced load: {result.faults}")
    return result


def until_done(database: Path, seconds: float, step: Callable[[], None] = lambda: None) -> None:
    """Wait until no event is received or in work. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while left := unfinished(database):
        if time.monotonic() > end:
            raise TimeoutError(f"{left} events are still not done after {seconds:g} s")
        step()
        time.sleep(0.25)
