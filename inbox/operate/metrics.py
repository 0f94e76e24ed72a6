"""Counts in the store → `/metrics` in Prometheus form. The one owner of prometheus_client.

Labels are the names in the configuration, and words of this program: what strangers send is "other" or not there.
Nothing is kept here; each scrape reads the store, so that all processes are in it, and restarts change nothing.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric

from inbox import __version__
from inbox.core.histograms import Counts, histogram
from inbox.store.protocols_monitor import Looked

OTHER = "other"
Values = dict[tuple[str, ...], float]
OUTCOMES = ("accepted", "duplicate", "conflict", "quarantined")
RESULTS = ("succeeded", "retry", "error", "timeout", "interrupted", "discarded", "unavailable", "poison")
ENDS = ("succeeded", "dead", "discarded")
REASONS = frozenset({"missing", "malformed", "mismatch", "stale", "forbidden"})
"""Why a request was not authentic; for other refusals the code says it all."""


@dataclass(frozen=True, slots=True)
class MetricNumbers:
    """What is shown: counts for ever, what can be seen now, deadlines (seconds) by source, which alarms are on."""

    counts: Counts
    looked: Looked
    deadlines: Mapping[str, float]
    min_free_bytes: int
    alarms: Mapping[tuple[str, str], bool]


def exposition(numbers: MetricNumbers) -> bytes:
    """Return the text that a scraper gets."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(numbers))
    return generate_latest(registry)


class _Collector:
    def __init__(self, numbers: MetricNumbers) -> None:
        self._numbers = numbers
        self._sources = _grouped(numbers.counts, numbers.deadlines, ("attempt:", "ended:", "rescue", "handler/"))
        self._handlers = _grouped(numbers.counts, numbers.looked.handlers, ())

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield from self._durations()
        yield from self._handling()
        yield from self._gauges()

    def _requests(self) -> Iterator[Metric]:
        events = CounterMetricFamily(
            "inbox_events", "Requests that were authentic, by what became of them.", labels=("source", "outcome")
        )
        refusals = CounterMetricFamily(
            "inbox_refusals", "Requests that were refused, by why.", labels=("source", "code", "reason")
        )
        for source, counts in self._sources.items():
            for outcome in OUTCOMES:
                events.add_metric((source, outcome), counts.get(outcome, 0))
            for (code, reason), number in _refused(counts).items():
                refusals.add_metric((source, code, reason), number)
        yield from (events, refusals)

    def _durations(self) -> Iterator[Metric]:
        answers = HistogramMetricFamily(
            "inbox_answer_duration_seconds", "Time from a request's headers to its answer.", labels=("source",)
        )
        for source, counts in self._sources.items():
            _add(answers, (source,), "answer", counts)
        own = self._numbers.counts
        process = {name: number for (subject, name), number in own.items() if not subject}
        commits = HistogramMetricFamily("inbox_commit_duration_seconds", "Time of a group commit, waiting included.")
        _add(commits, (), "commit", process)
        batches = HistogramMetricFamily("inbox_commit_batch_size", "Requests that were committed together.")
        _add(batches, (), "batch", process)
        yield from (answers, commits, batches)

    def _handling(self) -> Iterator[Metric]:
        attempts = CounterMetricFamily("inbox_attempts", "Runs of handlers by result.", labels=("handler", "result"))
        ended = CounterMetricFamily(
            "inbox_deliveries_ended", "Deliveries that ended, by status.", labels=("handler", "status")
        )
        rescues = CounterMetricFamily(
            "inbox_rescues", "Deliveries taken over from a worker that was gone.", labels=("handler",)
        )
        lost = CounterMetricFamily(
            "inbox_lost_leases", "Outcomes thrown away because the lease was lost.", labels=("handler",)
        )
        durations = HistogramMetricFamily(
            "inbox_handler_duration_seconds", "Time from claim to outcome of a handler's run.", labels=("handler",)
        )
        for handler, counts in self._handlers.items():
            for result in RESULTS:
                attempts.add_metric((handler, result), counts.get(f"attempt:{result}", 0))
            for status in ENDS:
                ended.add_metric((handler, status), counts.get(f"ended:{status}", 0))
            rescues.add_metric((handler,), counts.get("rescue", 0))
            lost.add_metric((handler,), counts.get("attempt:lost", 0))
            _add(durations, (handler,), "handler", counts)
        yield from (attempts, ended, rescues, lost, durations)

    def _gauges(self) -> Iterator[Metric]:
        looked, numbers = self._numbers.looked, self._numbers
        processes: Values = {(role,): alive.age for role, alive in looked.processes.items()}
        on: Values = {key: float(value) for key, value in numbers.alarms.items()}
        yield _gauge("inbox_backlog_items", "What is still to be done, by state.", ("state",), _keyed(looked.backlog))
        yield _gauge("inbox_backlog_oldest_age_seconds", "Age of what waits longest.", (), {(): looked.oldest})
        yield _gauge("inbox_paused_oldest_age_seconds", "The same, of what is paused.", (), {(): looked.oldest_paused})
        yield _gauge("inbox_store_bytes", "Bytes of the database and its log.", ("part",), _keyed(looked.store))
        yield _gauge("inbox_disk_free_bytes", "Bytes free on the disk of the store.", (), {(): looked.disk_free})
        yield _gauge("inbox_disk_min_free_bytes", "Below so many 503.", (), {(): numbers.min_free_bytes})
        yield _gauge("inbox_process_sign_age_seconds", "Age of the last sign of life.", ("process",), processes)
        yield _gauge("inbox_answer_deadline_seconds", "A sender's time limit.", ("source",), _keyed(numbers.deadlines))
        yield _gauge("inbox_alarm_active", "1 if the alarm is on.", ("alarm", "subject"), on)
        yield _gauge("inbox_build_info", "The version that answers.", ("version",), {(__version__,): 1})


def _grouped(counts: Counts, known: Collection[str], without: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """Return counts by label, each known name being there; names that nobody knows are one."""
    found: dict[str, defaultdict[str, int]] = {name: defaultdict(int) for name in (*sorted(known), OTHER)}
    for (subject, name), number in counts.items():
        if not without or not name.startswith(without):
            found[subject if subject in known else OTHER][name] += number
    return {label: dict(group) for label, group in found.items()}


def _refused(counts: Mapping[str, int]) -> dict[tuple[str, str], int]:
    found: defaultdict[tuple[str, str], int] = defaultdict(int)
    for name, number in counts.items():
        kind, _, rest = name.partition(":")
        code, _, reason = rest.partition(":")
        if kind == "refused":
            found[code, reason if reason in REASONS or reason == code else OTHER] += number
    return dict(found)


def _add(family: HistogramMetricFamily, labels: tuple[str, ...], what: str, counts: Mapping[str, int]) -> None:
    found = histogram(what, counts)
    family.add_metric(labels, [(_le(bound), number) for bound, number in found.buckets], found.total)


def _le(bound: float) -> str:
    return "+Inf" if bound == float("inf") else repr(bound)


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Values) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _keyed(values: Mapping[str, float]) -> Values:
    return {(name,): value for name, value in values.items()}
