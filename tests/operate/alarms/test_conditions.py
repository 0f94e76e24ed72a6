"""What is bad, good, or neither: each condition with numbers on both sides of its thresholds."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from inbox.core.config.alarm_settings import AlarmSettings
from inbox.core.elapsed import Clocks, Passed
from inbox.core.histograms import Recorder
from inbox.operate.alarms.conditions import Numbers, readings
from inbox.operate.alarms.message import TITLES
from inbox.operate.alarms.silence import Heard
from inbox.store.protocols_monitor import Alive, Looked

GIB = 2**30
LOOKED = Looked(
    backlog={},
    oldest=0.0,
    store={"used": 1000},
    disk_free=10 * GIB,
    handlers=frozenset({"h.f"}),
    processes={"worker": Alive(1.0, 0.0), "receiver": Alive(1.0, 0.0)},
)
QUIET = Numbers(
    at=1e9,
    recent={},
    hour={},
    looked=LOOKED,
    heard={"acme": Heard({}, None, 0.0)},
    deadlines={"acme": 10.0},
    min_free_bytes=GIB,
    max_store_bytes=0,
)


def said(alarm: str, numbers: Numbers) -> bool | None:
    """Return what one condition says, of the only subject that it has here."""
    (found,) = [
        reading.bad
        for reading in readings(numbers, AlarmSettings())
        if reading.alarm == alarm and reading.subject in ("", "acme", "h.f", "worker")
    ]
    return found


def recent(**counts: int) -> Numbers:
    return replace(QUIET, recent={("acme", name.replace("__", ":")): n for name, n in counts.items()})


def looked(**changes: Any) -> Numbers:
    return replace(QUIET, looked=replace(LOOKED, **changes))


def answers(*seconds: float) -> Numbers:
    timings = Recorder()
    for value in seconds:
        timings.observe("answer", "acme", value)
    return replace(QUIET, recent=timings.take())


@pytest.mark.parametrize(
    ("alarm", "numbers", "expected"),
    [
        ("refusals", QUIET, False),
        ("refusals", recent(accepted=100, refused__not_authentic__mismatch=9), False),
        ("refusals", recent(accepted=10, refused__not_authentic__mismatch=10), True),
        ("refusals", recent(refused__malformed__malformed=4, refused__not_authentic__stale=6), True),
        ("refusals", recent(refused__not_authentic__mismatch=9), None),  # too few to start, too many to end
        ("refusals", recent(refused__not_authentic__mismatch=4), False),
        ("refusals", recent(accepted=30, refused__not_authentic__mismatch=12), None),
        ("refusals", recent(accepted=60, refused__not_authentic__mismatch=12), False),
        ("quarantine", recent(accepted=100, quarantined=4), False),
        ("quarantine", recent(accepted=20, quarantined=5), True),
        ("quarantine", recent(accepted=36, quarantined=5), None),
        ("quarantine", recent(accepted=60, quarantined=5), False),
        ("answers", answers(*[0.1] * 50), False),
        ("answers", answers(*[0.1] * 50, 6.0, 6.0), None),
        ("answers", answers(*[0.1] * 50, 6.0, 7.0, 60.0), True),
        ("answers", answers(*[4.9] * 50), False),
        ("answers", answers(*[0.1] * 400, 6.0, 7.0, 60.0), None),  # less than one in a hundred
        ("dead", QUIET, False),
        ("dead", replace(QUIET, hour={("h.f", "ended:dead"): 1}), True),
        ("backlog", looked(oldest=150.0), False),
        ("backlog", looked(oldest=200.0), None),
        ("backlog", looked(oldest=301.0), True),
        ("disk", looked(disk_free=GIB + 250 * 2**20), True),
        ("disk", looked(disk_free=GIB + 300 * 2**20), None),
        ("disk", looked(disk_free=GIB + 330 * 2**20), False),
        ("store", replace(QUIET, max_store_bytes=1100), True),
        ("store", replace(QUIET, max_store_bytes=1200), None),
        ("store", replace(QUIET, max_store_bytes=1300), False),
        ("clock", QUIET, False),
        ("clock", looked(passed=Passed(1e9, Clocks(1e9, 5.0))), False),
        ("clock", looked(passed=Passed(1e9, Clocks(2e9, 5.0), 1e9, jumped_at=1e9, jump=1e9)), True),
        ("clock", looked(passed=Passed(1e9, Clocks(1e9, 5.0), jumped_at=1e9, jump=-1e9)), True),
        ("process", QUIET, False),
        ("process", looked(processes={"worker": Alive(61.0, 0.0)}), True),
        ("process", looked(processes={"worker": Alive(float("inf"), 0.0)}), True),
        ("process", looked(processes={}), True),
        ("silence", QUIET, False),
        ("silence", replace(QUIET, heard={"acme": None}), None),
    ],
)
def test_condition(alarm: str, numbers: Numbers, expected: bool | None) -> None:
    """Bad at the threshold, good well below it, and neither in between."""
    assert expected is said(alarm, numbers)


def test_strangers_raise_no_alarm() -> None:
    """Thousands of requests to addresses that do not exist are no reading at all."""
    flood: Mapping[tuple[str, str], int] = {("", "refused:unknown_source:unknown_source"): 9999, ("x", "accepted"): 5}
    before = list(readings(QUIET, AlarmSettings()))
    assert before == list(readings(replace(QUIET, recent=flood, hour=flood), AlarmSettings()))


def test_dead_delivery_of_a_removed_handler_is_seen() -> None:
    """Its name is from the store; who removed the handler wants to know."""
    numbers = replace(QUIET, hour={("old.f", "ended:dead"): 2})
    assert {("old.f", True), ("h.f", False)} == {
        (reading.subject, reading.bad) for reading in readings(numbers, AlarmSettings()) if reading.alarm == "dead"
    }


def test_receiver_is_missed_once_it_has_run() -> None:
    """A receiver under another server gives signs from its first answer on; before that it is not missed."""
    found = {}
    for name, processes in (("never", {}), ("gone", {"receiver": Alive(99.0, 0.0)})):
        found[name] = [
            reading.bad
            for reading in readings(looked(processes=processes), AlarmSettings())
            if (reading.alarm, reading.subject) == ("process", "receiver")
        ]
    assert {"never": [False], "gone": [True]} == found


def test_every_alarm_has_a_title() -> None:
    """What is watched can be told."""
    numbers = replace(QUIET, max_store_bytes=1)
    assert TITLES.keys() == {reading.alarm for reading in readings(numbers, AlarmSettings())} | {"test"}
