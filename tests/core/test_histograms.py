"""Histograms as counts: buckets, sums, and what is in memory until it is stored."""

import threading
from collections import Counter

import pytest

from inbox.core.histograms import BUCKETS, Recorder, histogram, names


@pytest.mark.parametrize(
    ("value", "bucket"),
    [(0.0, "answer/0.005"), (0.005, "answer/0.005"), (0.0051, "answer/0.01"), (30.0, "answer/30"), (31, "answer/inf")],
)
def test_value_falls_into_the_first_bucket_that_holds_it(value: float, bucket: str) -> None:
    """A bound belongs to its bucket, as Prometheus defines `le`; what is beyond all of them is in the last."""
    assert {bucket: 1, "answer/sum": round(value * 1e6)} == names("answer", value)


def test_histogram_is_cumulative() -> None:
    """Each bucket counts what is below it, too; the last one counts everything."""
    timings = Recorder()
    for value in (1, 1, 3, 200):
        timings.observe("batch", "", value)
    found = histogram("batch", {name: n for (_, name), n in timings.take().items()})
    assert ((1, 2), (2, 2), (4, 3), (128, 3), (float("inf"), 4)) == (
        *found.buckets[:3],
        found.buckets[-2],
        found.buckets[-1],
    )
    assert (205.0, 4, 1, 0) == (found.total, found.number, found.above(128), found.above(float("inf")))


def test_nothing_measured_is_an_empty_histogram() -> None:
    """All buckets are there, so that a scraper sees them from the start."""
    assert [0] * (len(BUCKETS["commit"]) + 1) == [number for _, number in histogram("commit", {}).buckets]


def test_what_was_taken_is_taken_once_and_can_be_put_back() -> None:
    """If it could not be stored, it is added to what came meanwhile."""
    timings = Recorder()
    timings.observe("commit", "", 0.5)
    taken = timings.take()
    assert ({("", "commit/0.5"): 1, ("", "commit/sum"): 500_000}, {}) == (taken, timings.take())
    timings.observe("commit", "", 0.5)
    timings.put_back(taken)
    assert 2 == timings.take()["", "commit/0.5"]


def test_threads_lose_nothing() -> None:
    """Eight threads measure while another takes."""
    timings, found = Recorder(), Counter[tuple[str, str]]()
    threads = [
        threading.Thread(target=lambda: [timings.observe("answer", "a", 0.001) for _ in range(500)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        found.update(timings.take())
    found.update(timings.take())
    assert 4000 == found["a", "answer/0.005"]
