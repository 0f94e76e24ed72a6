"""/metrics: names and units as Prometheus wants them, right numbers, and labels that strangers cannot make."""

import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from inbox.core.histograms import Counts, names
from inbox.operate.metrics import MetricNumbers, exposition
from inbox.store.protocols_monitor import Alive, Looked
from tests.support.needs import program

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]

LOOKED = Looked(
    backlog={"unrouted": 1, "due": 2, "later": 3, "running": 4, "parked": 5},
    oldest=12.5,
    store={"used": 8192, "free": 4096, "log": 0},
    disk_free=10**9,
    handlers=frozenset({"roomz.track"}),
    processes={"worker": Alive(1.5, 100.0)},
)
COUNTS: Counts = {
    ("roomz", "accepted"): 7,
    ("roomz", "quarantined"): 2,
    ("gone", "accepted"): 3,
    ("roomz", "refused:not_authentic:mismatch"): 4,
    ("roomz", "refused:body_too_large:body_too_large"): 1,
    ("", "refused:unknown_source:unknown_source"): 9,
    **{("roomz", name): number for name, number in names("answer", 0.02).items()},
    **{("", name): number for name, number in names("commit", 0.003).items()},
    **{("", name): number for name, number in names("batch", 3).items()},
    **{("roomz.track", name): number for name, number in names("handler", 0.2).items()},
    ("roomz.track", "attempt:succeeded"): 5,
    ("roomz.track", "attempt:lost"): 2,
    ("roomz.track", "rescue"): 1,
    ("roomz.track", "ended:dead"): 1,
    ("removed.handler", "attempt:error"): 6,
}


def exposed(counts: Counts = COUNTS) -> bytes:
    """Return the text of an inbox with one source and one handler."""
    return exposition(MetricNumbers(counts, LOOKED, {"roomz": 30.0}, 64 * 2**20, {("silence", "roomz"): True}))


def parsed(text: bytes) -> Samples:
    """Return the samples by name and labels, as Prometheus' own parser reads them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


@pytest.mark.parametrize(
    ("name", "labels", "number"),
    [
        ("inbox_events_total", {"source": "roomz", "outcome": "accepted"}, 7),
        ("inbox_events_total", {"source": "roomz", "outcome": "conflict"}, 0),
        ("inbox_events_total", {"source": "other", "outcome": "accepted"}, 3),
        ("inbox_refusals_total", {"source": "roomz", "code": "not_authentic", "reason": "mismatch"}, 4),
        ("inbox_refusals_total", {"source": "other", "code": "unknown_source", "reason": "unknown_source"}, 9),
        ("inbox_answer_duration_seconds_bucket", {"source": "roomz", "le": "0.01"}, 0),
        ("inbox_answer_duration_seconds_bucket", {"source": "roomz", "le": "0.025"}, 1),
        ("inbox_answer_duration_seconds_bucket", {"source": "roomz", "le": "+Inf"}, 1),
        ("inbox_answer_duration_seconds_sum", {"source": "roomz"}, 0.02),
        ("inbox_commit_duration_seconds_sum", {}, 0.003),
        ("inbox_commit_batch_size_sum", {}, 3),
        ("inbox_commit_batch_size_bucket", {"le": "4.0"}, 1),
        ("inbox_handler_duration_seconds_count", {"handler": "roomz.track"}, 1),
        ("inbox_attempts_total", {"handler": "roomz.track", "result": "succeeded"}, 5),
        ("inbox_attempts_total", {"handler": "other", "result": "error"}, 6),
        ("inbox_deliveries_ended_total", {"handler": "roomz.track", "status": "dead"}, 1),
        ("inbox_rescues_total", {"handler": "roomz.track"}, 1),
        ("inbox_lost_leases_total", {"handler": "roomz.track"}, 2),
        ("inbox_backlog_items", {"state": "parked"}, 5),
        ("inbox_backlog_oldest_age_seconds", {}, 12.5),
        ("inbox_store_bytes", {"part": "used"}, 8192),
        ("inbox_disk_free_bytes", {}, 1e9),
        ("inbox_process_sign_age_seconds", {"process": "worker"}, 1.5),
        ("inbox_answer_deadline_seconds", {"source": "roomz"}, 30),
        ("inbox_alarm_active", {"alarm": "silence", "subject": "roomz"}, 1),
    ],
)
def test_number_is_exposed(name: str, labels: dict[str, str], number: float) -> None:
    """Each quantity under its name, unit and labels."""
    assert number == value(parsed(exposed()), name, **labels)


def test_promtool_has_nothing_to_say() -> None:
    """Names, units, types and help texts are as Prometheus' own checker wants them."""
    done = subprocess.run(
        [program("promtool", "prometheus"), "check", "metrics"], input=exposed(), capture_output=True, timeout=60
    )
    assert (0, b"") == (done.returncode, done.stdout + done.stderr)


def test_strangers_make_no_labels() -> None:
    """Counts under ten thousand names that nobody configured make not one sample more than one such name does."""
    one = {**COUNTS, ("x", "accepted"): 1, ("x", "refused:odd:odd"): 1, ("h", "attempt:error"): 1}
    flood = dict(COUNTS)
    for number in range(10_000):
        flood[f"x{number}", "accepted"] = flood[f"h{number}", "attempt:error"] = 1
        flood["", "refused:odd:odd"] = flood.get(("", "refused:odd:odd"), 0) + 1
    assert parsed(exposed(one)).keys() == parsed(exposed(flood)).keys()
    assert 10_003 == value(parsed(exposed(flood)), "inbox_events_total", source="other", outcome="accepted")


def test_everything_is_there_before_anything_happened() -> None:
    """A rate needs the zero before the first event."""
    samples = parsed(exposed({}))
    assert 0 == value(samples, "inbox_events_total", source="roomz", outcome="accepted")
    assert 0 == value(samples, "inbox_deliveries_ended_total", handler="roomz.track", status="dead")
    assert 0 == value(samples, "inbox_answer_duration_seconds_count", source="roomz")
