"""How long things took, and how large batches were → histograms with fixed buckets, as counts that can be added up.

Kept in memory per process until `inbox.operate.heartbeat` adds them to the store every few seconds and at the end: kill
-9 loses the last seconds of these, and only of these.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

MILLION = 1_000_000
MOST = float("inf")

BUCKETS: Mapping[str, tuple[float, ...]] = {
    "answer": (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30),
    "commit": (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    "batch": (1, 2, 4, 8, 16, 32, 64, 128),
    "handler": (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 3600),
    "handled": (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400),
}
"""What is measured, and the upper bounds of its buckets: seconds, but items for "batch"."""

Observe = Callable[[str, str, float], None]
"""See `Recorder.observe`."""

Counts = dict[tuple[str, str], int]
"""How often, by subject (a source or handler, "" for the process) and name."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Of how many values each bound was not exceeded (the last bound is infinite), and what they add up to."""

    buckets: tuple[tuple[float, int], ...]
    total: float

    @property
    def number(self) -> int:
        """Return how many values there are."""
        return self.buckets[-1][1]

    def above(self, bound: float) -> int:
        """Return how many values are certainly above a bound: they are in buckets that begin there or later."""
        return self.number - next(number for upper, number in self.buckets if upper >= bound)

    def quantile(self, share: float) -> float | None:
        """Return the value that this share does not exceed, on a line through its bucket; None without values.

        What is above the last finite bound counts as that bound.
        """
        rank, lower, below = share * self.number, 0.0, 0
        for upper, number in self.buckets:
            if number > below and number >= rank:
                return lower if upper == MOST else lower + (upper - lower) * (rank - below) / (number - below)
            lower, below = upper, number
        return None


_NAMES = {what: [f"{what}/{bound:g}" for bound in (*bounds, MOST)] for what, bounds in BUCKETS.items()}
_SUMS = {what: f"{what}/sum" for what in BUCKETS}


def names(what: str, value: float) -> dict[str, int]:
    """Return what a value adds to which counts: one to its bucket, and itself, in millionths, to the sum."""
    return {_NAMES[what][bisect_left(BUCKETS[what], value)]: 1, _SUMS[what]: max(0, round(value * MILLION))}


def histogram(what: str, counts: Mapping[str, int]) -> Histogram:
    """Return the histogram that counts by name hold."""
    below, buckets = 0, []
    for bound in (*BUCKETS[what], float("inf")):
        below += counts.get(f"{what}/{bound:g}", 0)
        buckets.append((float(bound), below))
    return Histogram(tuple(buckets), counts.get(f"{what}/sum", 0) / MILLION)


class Recorder:
    """What was measured since `take` was last called; for any number of threads."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._measured: dict[tuple[str, str], list[int]] = {}
        self._back: Counts = {}

    def observe(self, what: str, subject: str, value: float) -> None:
        """Count a value; `subject` must be bounded by configuration, never be what a stranger sent."""
        bounds = BUCKETS[what]
        with self._mutex:
            numbers = self._measured.get((what, subject))
            if numbers is None:
                numbers = self._measured[what, subject] = [0] * (len(bounds) + 2)
            numbers[bisect_left(bounds, value)] += 1
            numbers[-1] += max(0, round(value * MILLION))

    def take(self) -> Counts:
        """Return everything and begin anew."""
        with self._mutex:
            measured, self._measured = self._measured, {}
            back, self._back = self._back, {}
        taken = Counter(back)
        for (what, subject), numbers in measured.items():
            named = zip((*_NAMES[what], _SUMS[what]), numbers, strict=True)
            taken.update({(subject, name): number for name, number in named if number})
        return dict(taken)

    def put_back(self, counts: Counts) -> None:
        """Have counts again that could not be stored."""
        with self._mutex:
            self._back = dict(Counter(self._back) + Counter(counts))


def unobserved(what: str, subject: str, value: float) -> None:
    """Measure nothing: an Observe for whoever does not care."""
