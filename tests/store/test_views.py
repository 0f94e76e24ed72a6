"""What the desk reads comes through indexes: nothing walks over events, deliveries, attempts or refusals."""

from pathlib import Path
from typing import Any

import pytest

from inbox.store.protocols import Outcome
from inbox.store.protocols_views import Unfinished
from inbox.store.sql import dashboard
from inbox.store.sql.dashboard import SqliteViews
from inbox.store.sqlite import open_views
from tests.support.stores import SqliteStore, claimed, connection_of, event, handler, routed

VALUES = {"id": 1, "limit": 5, "since": 0, "until": 60, "source": "acme", "before": 9}
LARGE = ("events", "deliveries", "attempts", "bodies", "refusals", "counts")
PAGE = f"{dashboard.REFUSALS} WHERE source = :source AND id < :before ORDER BY id DESC LIMIT :limit"
QUERIES = {
    name: value
    for name, value in vars(dashboard).items()
    if name.isupper() and not name.startswith("_") and isinstance(value, str) and name != "REFUSALS"
}


@pytest.mark.parametrize("sql", [*QUERIES.values(), PAGE], ids=[*QUERIES, "PAGE"])
def test_no_view_scans(store: SqliteStore, sql: str) -> None:
    """Every step on a table that grows is a search."""
    plan = [row["detail"] for row in connection_of(store.archive).rows(f"EXPLAIN QUERY PLAN {sql}", VALUES)]
    tables = {alias: table for table in LARGE for alias in (table, "run" if table == "attempts" else table)}
    assert [] == [step for step in plan if step.startswith("SCAN ") and step.split()[1] in tables]
    assert plan


def test_unfinished_tells_the_oldest(store: SqliteStore, tmp_path: Path) -> None:
    """Over all types and both states, by source; what has ended is not there."""
    for number, (source, kind) in enumerate([("a", "x"), ("a", "y"), ("b", "x"), ("a", "y")]):
        store.inlet.add_event(event(f"k{number}", source=source, type=kind, at=100.0 + number))
    store.work.route(1, {}, 200.0)
    store.work.route(2, {"m.f": True}, 200.0)
    seen = open_views(store.path)
    assert {"a": Unfinished(2, 2, 101.0), "b": Unfinished(1, 3, 102.0)} == seen.unfinished()
    seen.close()


@pytest.mark.parametrize(
    ("outcome", "noted"),
    [
        (Outcome("retrying", "error", due_at=1.0, error="first"), "first"),
        (Outcome("dead", "timeout", error="last"), "last"),
        (Outcome("retrying", "interrupted", due_at=1.0, error="told to stop"), None),
        (Outcome("parked", "unavailable", error="not loaded"), None),
        (Outcome("discarded", "discarded", error="no use"), None),
        (Outcome("succeeded", "succeeded"), None),
    ],
    ids=lambda value: value.result if isinstance(value, Outcome) else None,
)
def test_what_went_wrong_last_is_remembered(store: SqliteStore, outcome: Outcome, noted: Any) -> None:
    """By the attempt, so that what was erased or pruned there is gone here; being told to stop is no failure."""
    (delivery,) = routed(store, "m.f")
    claimed(store, delivery)
    store.work.finish(delivery, "t1", outcome, 105.0)
    seen = open_views(store.path)
    found = seen.last_failures()
    assert ({"m.f": noted} if noted else {}) == {name: row["error"] for name, row in found.items()}
    counted = store.watch.totals()
    assert (1 if noted else None) == counted.get(("acme", f"failing:{outcome.status}"))
    done = outcome.status in ("succeeded", "discarded")
    assert (1 if done else None) == counted.get(("acme", "handled/5"))
    with connection_of(store.archive).write() as connection:
        connection.execute("DELETE FROM attempts")
    assert {} == seen.last_failures()
    seen.close()


def test_failed_modules_are_remembered_until_they_load(store: SqliteStore) -> None:
    """Since they fail, with what they say now."""
    seen = open_views(store.path)
    for at, failure in ((100.0, "one"), (101.0, "two \udc80")):
        store.work.remember([handler("m", failure=failure)], at)
    assert {"m": ("two \\udc80", 100.0)} == seen.failed_modules()
    store.work.remember([handler("m.f")], 102.0)
    assert ({}, {"m.f": 102.0}) == (seen.failed_modules(), seen.loaded_at())
    seen.close()


def test_durations_have_hours_for_a_day(store: SqliteStore) -> None:
    """Those of handlers, to be shown; they go after two days, when counts stay for weeks, and totals for ever."""
    day = 86_400.0
    names = ("accepted", "handled/1", "handler/1", "answer/1", "handled/sum")
    store.watch.add({("a", name): 1 for name in names}, 100 * day)
    assert store.watch.roll(100 * day + 5 * 3600)
    seen = open_views(store.path)
    assert ["accepted", "handled/1", "handler/1"] == _hours(seen, 99.5 * day)
    store.watch.add({("a", "accepted"): 1}, 102 * day)
    assert store.watch.roll(102.5 * day)
    assert ["accepted", "accepted"] == _hours(seen, 99.5 * day)
    assert {("a", name): 2 if name == "accepted" else 1 for name in names} == store.watch.totals()
    seen.close()


def _hours(seen: SqliteViews, since: float) -> list[str]:
    return sorted(name for _, _, name, _ in seen.counted(0, int(since), 2**40)[1])
