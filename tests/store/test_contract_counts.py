"""Counts are right: committed with what they count, from several processes, and after kill -9."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from inbox.core.errors import StoreUnavailable
from inbox.store.protocols import Outcome
from tests.conftest import PROJECT
from tests.support.stores import SqliteStore, claimed, event, in_processes, invalid, refusal, routed

HOUR = 3600
NOW = 1_767_225_600.0


def test_what_the_receiver_did_is_counted_by_source(store: SqliteStore) -> None:
    """Accepted, duplicate, conflict, quarantined, and refused by code and reason, each under its source."""
    for item in (event("a"), event("a"), event("a", b"{}"), event("b", source="other"), invalid("c")):
        store.inlet.add_event(item)
    store.inlet.add_refusal(refusal())
    store.inlet.add_refusal(replace(refusal(""), code="unknown_source", reason="unknown_source"))
    expected = {
        ("acme", "accepted"): 1,
        ("acme", "duplicate"): 1,
        ("acme", "conflict"): 1,
        ("acme", "quarantined"): 1,
        ("acme", "refused:not_authentic:mismatch"): 1,
        ("other", "accepted"): 1,
        ("", "refused:unknown_source:unknown_source"): 1,
    }
    assert expected == store.watch.totals()


def test_batch_is_counted_in_the_minutes_in_which_it_came(store: SqliteStore) -> None:
    """What a source held is counted when it came, not when it was released."""
    for key, at in (("a", 59.9), ("b", 60.0), ("c", 119.0)):
        store.inlet.add_event(event(key, at=at))
    found = [store.watch.recent(since).get(("acme", "accepted")) for since in (0, 60, 120)]
    assert [3, 2, None] == found


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [
        (Outcome("succeeded", "succeeded"), {"attempt:succeeded", "ended:succeeded"}),
        (Outcome("retrying", "timeout", due_at=1e9), {"attempt:timeout"}),
        (Outcome("dead", "error"), {"attempt:error", "ended:dead"}),
    ],
)
def test_what_a_handler_did_is_counted_with_its_duration(
    store: SqliteStore, outcome: Outcome, counted: set[str]
) -> None:
    """An attempt by its result, a delivery that ended by its status, and the time from claim to outcome."""
    delivery, token = claimed(store, routed(store)[0]).id, "t1"
    assert store.work.finish(delivery, token, outcome, 100.4).held
    worker = {key: n for key, n in store.watch.totals().items() if key[0] == "m.f"}
    taken = {"handler/0.5", "handler/sum"}
    assert {("m.f", name) for name in counted | taken} == worker.keys()
    assert (1, 400_000) == (worker["m.f", "handler/0.5"], worker["m.f", "handler/sum"])


def test_rescue_and_lost_lease_are_counted_once(store: SqliteStore) -> None:
    """The second worker rescued; the first one's late outcome is a lost lease, however often it reports it."""
    delivery, token = claimed(store, routed(store)[0]).id, "t1"
    assert store.work.claim(delivery, token="t9", worker="w", at=500.0, lease=1.0) is not None
    for _ in range(2):
        assert not store.work.finish(delivery, token, Outcome("succeeded", "succeeded"), 501.0).held
    assert store.work.finish(delivery, "t9", Outcome("succeeded", "succeeded"), 500.0).held
    assert not store.work.finish(delivery, "t9", Outcome("succeeded", "succeeded"), 502.0).held
    found = store.watch.totals()
    numbers = [found.get(("m.f", name), 0) for name in ("rescue", "attempt:lost", "attempt:succeeded")]
    assert [1, 1, 1] == numbers


def test_claim_after_an_old_crash_is_no_rescue(store: SqliteStore) -> None:
    """Only taking over counts, not each later attempt of a delivery that crashed once."""
    delivery = claimed(store, routed(store)[0]).id
    store.work.claim(delivery, token="t8", worker="w", at=500.0, lease=1.0)
    store.work.finish(delivery, "t8", Outcome("retrying", "error", due_at=600.0), 500.0)
    store.work.claim(delivery, token="t9", worker="w", at=600.0, lease=1.0)
    assert 1 == store.watch.totals()["m.f", "rescue"]


def _count(folder: Path, number: int, wait: Callable[[], object]) -> None:
    store = SqliteStore(folder)
    wait()
    for index in range(25):
        store.inlet.add_event(event(f"{number}-{index}", at=NOW - 4 * HOUR + 60 * index))
        store.watch.add({("acme", "answer/1"): 1}, NOW)
        if index % 5 == 0:
            store.watch.roll(NOW)
    store.close()


def test_several_processes_count_and_roll_at_once(store: SqliteStore) -> None:
    """Three processes write and roll up the same minutes: nothing is lost, nothing counted twice."""
    store.inlet.add_event(event("first", at=NOW))
    in_processes(3, _count, store.folder)
    totals = store.watch.totals()
    assert (76, 75) == (totals["acme", "accepted"], totals["acme", "answer/1"])


KILLED = """
import os, sys
from pathlib import Path
from tests.support.stores import SqliteStore, claimed, event, refusal, routed
from inbox.core.errors import StoreUnavailable
from inbox.store.protocols import Outcome
store = SqliteStore(Path(sys.argv[1]))
for number in range(10**6):
    key = f"{sys.argv[2]}-{number}"
    delivery = claimed(store, routed(store, key=key)[0], token=key).id
    store.work.finish(delivery, key, Outcome("succeeded", "succeeded"), 100.0)
    store.inlet.add_refusal(refusal())
    print(number, flush=True)
"""


def test_counts_are_right_after_kill_9_of_two_writers(store: SqliteStore) -> None:
    """Two processes are killed in the middle, twice: what is counted is what is stored, to the last one."""
    for round_ in range(2):
        started = [
            subprocess.Popen(
                [sys.executable, "-c", KILLED, str(store.folder), f"{round_}{name}"],
                cwd=PROJECT,
                stdout=subprocess.PIPE,
            )
            for name in "ab"
        ]
        for process in started:
            assert process.stdout is not None
            while int(process.stdout.readline()) < 20:
                pass
        for process in started:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    stored = store.archive.sources()[0]
    ended = sum(delivery["status"] == "succeeded" for n in range(1, stored["events"] + 1)
                for delivery in store.archive.event(n)["deliveries"])  # fmt: skip
    totals = store.watch.totals()
    assert stored["events"] > 80
    assert (stored["events"], stored["refusals"], ended, ended) == (
        totals["acme", "accepted"],
        totals["acme", "refused:not_authentic:mismatch"],
        totals["m.f", "ended:succeeded"],
        sum(totals.get(("m.f", name), 0) for name in ("handler/0.01", "handler/inf")),
    )


def test_each_secret_has_the_minute_of_its_last_match(store: SqliteStore) -> None:
    """Duplicates count, what comes late does not set it back, and refusals do not matter."""
    for key, secret, at in (("a", 0, 600.0), ("a", 1, 725.0), ("b", 1, 650.0), ("c", None, 900.0)):
        store.inlet.add_event(replace(event(key), secret=secret, received_at=at))
    (row,) = store.archive.sources()
    assert {1: 600.0, 2: 720.0} == row["matches"]


def test_a_match_that_was_not_stored_is_not_known(impatient: SqliteStore) -> None:
    """The store was locked: the next match of the same minute is written."""
    impatient.inlet.add_event(event("first"))
    new = replace(event("second"), secret=0, received_at=600.0)
    with impatient.locked(), pytest.raises(StoreUnavailable):
        impatient.inlet.add_event(new)
    impatient.inlet.add_event(new)
    assert {1: 600.0} == impatient.archive.sources()[0]["matches"]
