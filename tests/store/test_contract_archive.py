"""The contract of Archive: everything can be found, and run again."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from inbox.core.errors import NotFound
from inbox.store.protocols import Filter, Outcome
from inbox.store.protocols_actions import Checked
from tests.support.stores import SqliteStore, acted, claimed, event, in_threads, invalid, refusal, routed


@pytest.fixture
def filled(store: SqliteStore) -> SqliteStore:
    """Six events of all kinds; the fifth conflicts with the first."""
    store.inlet.add_event(event("1", source="a", type="order.paid", at=10.0))
    store.inlet.add_event(event("2", source="a", type="order.sent", at=20.0))
    store.inlet.add_event(invalid("3", source="a", type="order.paid", at=30.0))
    store.inlet.add_event(event("4", source="b", type="user.[new]", at=40.0))
    store.inlet.add_event(event("1", b"other", source="a", type="order.paid", at=50.0))
    store.inlet.add_event(event("6", source="b", type="Order.paid", at=60.0))
    store.work.route(ids(store)[1], {}, 100.0)
    return store


def ids(store: SqliteStore) -> list[int]:
    """Return the ids of all events, oldest first; they grow, but may have gaps."""
    return [row["id"] for row in store.archive.events(Filter(after=0), 1000)]


# Events are called by their number in `filled`, from 1.
FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [6, 5, 4, 3, 2, 1]),
    ({"source": "a"}, [5, 3, 2, 1]),
    ({"source": "nobody"}, []),
    ({"source": ""}, []),
    ({"type": "order.paid"}, [5, 3, 1]),
    ({"type": "order.*"}, [5, 3, 2, 1]),
    ({"type": "*.pai?"}, [6, 5, 3, 1]),
    ({"type": "[oO]rder.paid"}, [6, 5, 3, 1]),
    ({"type": "[!o]*"}, [6, 4]),
    ({"type": "user.[[]new]"}, [4]),
    ({"status": "received"}, [6, 4, 1]),
    ({"status": "quarantined"}, [3]),
    ({"status": "conflict"}, [5]),
    ({"status": "unhandled"}, [2]),
    ({"since": 20.0, "until": 50.0}, [4, 3, 2]),
    ({"since": 60.0}, [6]),
    ({"before": 3}, [2, 1]),
    ({"after": 3}, [4, 5, 6]),
    ({"after": 2, "before": 5}, [3, 4]),
    ({"after": 0, "source": "a", "type": "order.*", "status": "received", "until": 11.0}, [1]),
]


@pytest.mark.parametrize(("wanted", "numbers"), FILTERS, ids=[str(wanted) for wanted, _ in FILTERS])
def test_filter_finds_exactly_its_events(filled: SqliteStore, wanted: dict[str, Any], numbers: list[int]) -> None:
    """Every field must hold; newest first, or oldest first above `after`; count agrees."""
    known = [0, *ids(filled)]
    paged = {name: known[value] if name in ("before", "after") else value for name, value in wanted.items()}
    expected = [known[number] for number in numbers]
    assert expected == [row["id"] for row in filled.archive.events(Filter(**paged), 100)]
    assert expected[:2] == [row["id"] for row in filled.archive.events(Filter(**paged), 2)]
    assert len(expected) == filled.archive.count(Filter(**paged))


def test_pages_hold_every_event_once(filled: SqliteStore) -> None:
    """Paging down and up shows the same events, in opposite order."""
    down, before = [], None
    while page := filled.archive.events(Filter(before=before), 4):
        down += [row["id"] for row in page]
        before = down[-1]
    up, after = [], 0
    while page := filled.archive.events(Filter(after=after), 4):
        up += [row["id"] for row in page]
        after = up[-1]
    assert ids(filled) == down[::-1] == up


def test_event_shows_its_request_deliveries_and_runs(store: SqliteStore) -> None:
    """One event with everything about it."""
    first, second = routed(store, "a.f", "b.f")
    claimed(store, first)
    store.work.finish(first, "t1", Outcome("retrying", "error", due_at=100.0, error="no"), 100.0)
    claimed(store, first, "t2")
    row = store.archive.event(1)
    assert {"method": "POST", "path": "p", "query": "q=1", "remote": "192.0.2.1", "headers": [["x-id", "k1"]]} == row[
        "request"
    ]
    assert [(first, "a.f", 2), (second, "b.f", 0)] == [
        (item["id"], item["handler"], item["attempts"]) for item in row["deliveries"]
    ]
    assert [(1, "error", "no"), (2, "running", "")] == [
        (run["number"], run["result"], run["error"]) for run in row["deliveries"][0]["runs"]
    ]
    assert [] == row["deliveries"][1]["runs"]


def test_missing_event_is_not_found(store: SqliteStore) -> None:
    """Looking at it and replaying it say so."""
    with pytest.raises(NotFound, match="there is no event 7"):
        store.archive.event(7)
    with pytest.raises(NotFound, match="event 7"):
        store.archive.request(7)
    with pytest.raises(NotFound, match="there is no event 7"):
        store.archive.replay(7, "m.f", can_run=True, replay_id=1, at=100.0)


def test_sources_sum_up(filled: SqliteStore) -> None:
    """One row per source that has events or refusals, by name."""
    filled.inlet.add_event(event("1", source="a", type="order.paid", at=10.0))
    filled.inlet.add_refusal(refusal("b", at=70.0))
    filled.inlet.add_refusal(refusal("c", at=80.0))
    filled.inlet.add_refusal(refusal("c", at=90.0))
    head = ("source", "events", "quarantined", "conflicts", "dead", "duplicates", "last_event_at")
    assert [("a", 4, 1, 1, 0, 1, 50.0), ("b", 2, 0, 0, 0, 0, 60.0), ("c", 0, 0, 0, 0, 0, None)] == [
        tuple(row[name] for name in head) for row in filled.archive.sources()
    ]
    assert [(0, None), (1, 70.0), (2, 90.0)] == [
        (row["refusals"], row["last_refusal_at"]) for row in filled.archive.sources()
    ]


def test_backlog_is_what_has_not_ended(store: SqliteStore) -> None:
    """Pending, running, retrying and parked deliveries, by handler; handlers with nothing to do are not named."""
    outcomes = {"a": Outcome("retrying", "error", due_at=1.0), "b": Outcome("parked", "unavailable"), "c": None}
    for key, outcome in {**outcomes, "d": Outcome("dead", "error")}.items():
        for delivery in routed(store, "m.f", "m.g", key=key)[:1]:
            claimed(store, delivery, key)
            if outcome is not None:
                store.work.finish(delivery, key, outcome, 100.0)
    (done,) = routed(store, "m.done", key="e")
    claimed(store, done, "e")
    store.work.finish(done, "e", Outcome("succeeded", "succeeded"), 100.0)
    assert {"m.f": 3, "m.g": 4} == store.archive.backlog()


def test_refusals_are_newest_first(store: SqliteStore) -> None:
    """All, or those of one source; also of the source without a name, which unknown ones share."""
    for source, at in [("a", 1.0), ("", 2.0), ("a", 3.0)]:
        store.inlet.add_refusal(refusal(source, at=at))
    assert [3.0, 2.0] == [row["at"] for row in store.archive.refusals(None, 2)]
    assert [3.0, 1.0] == [row["at"] for row in store.archive.refusals("a", 10)]
    assert [2.0] == [row["at"] for row in store.archive.refusals("", 10)]
    row = store.archive.refusals("a", 1)[0]
    assert ("not_authentic", "mismatch", "POST", [["a", "b"]], 7) == tuple(
        row[name] for name in ("code", "reason", "method", "headers", "size")
    )


@pytest.mark.parametrize(
    ("status", "type_", "violations", "expected"),
    [
        ("quarantined", "new.type", '[{"pointer": "", "message": "still"}]', ("quarantined", "new.type", 1)),
        ("unhandled", None, None, ("unhandled", "order.paid", 0)),
        ("processing", None, None, ("processing", "order.paid", 0)),
    ],
)
def test_checked_event_gets_its_new_status(
    store: SqliteStore, status: str, type_: str | None, violations: str | None, expected: tuple[str, str, int]
) -> None:
    """The type is kept unless another is given."""
    number = store.inlet.add_event(invalid()).id
    acted(store, checked=[Checked(number, status, type_, violations)])
    row = store.archive.event(number)
    assert expected == (row["status"], row["type"], len(row["violations"]))


def test_settled_event_is_left_alone(store: SqliteStore) -> None:
    """Whoever checked a quarantined event too late does not undo what came of it meanwhile."""
    number = store.inlet.add_event(invalid()).id
    _, delivery = store.archive.replay(number, "m.f", can_run=True, replay_id=1, at=100.0)
    claimed(store, delivery)
    store.work.finish(delivery, "t1", Outcome("succeeded", "succeeded"), 100.0)
    acted(store, checked=[Checked(number, "quarantined", "late", "[]")])
    row = store.archive.event(number)
    assert ("succeeded", "order.paid") == (row["status"], row["type"])


def test_pages_read_while_events_come_in(store: SqliteStore) -> None:
    """Looking at events disturbs nobody who adds them, and sees only whole ones."""

    def add(n: int) -> int:
        return store.inlet.add_event(event(f"k{n}")).id

    def look() -> int:
        return len([store.archive.event(number)["request"] for number in ids(store)])

    calls: list[Callable[[], int]] = [partial(add, n) for n in range(8)]
    in_threads([*calls, *[look] * 4])
    assert 8 == store.archive.count(Filter())
