"""Holds keep what matches, also what comes later, from being pruned and erased, until they end."""

import pytest

from inbox.store.protocols import Filter
from tests.store.test_contract_keeping import finished, prune
from tests.support.stores import SqliteStore

HOLD = {"at": 50.0, "who": "me", "why": "case 7"}


def test_hold_covers_what_comes_later(store: SqliteStore) -> None:
    """Nothing of it goes; other sources' events do; it says who holds it, and when the hold has ended it goes."""
    first = finished(store, "a")
    hold = store.keeping.hold(Filter(source="acme"), **HOLD)  # type: ignore[arg-type]
    later = finished(store, "b")
    assert [0, 0] == [prune(store, kind) for kind in ("bodies", "attempts")]  # type: ignore[arg-type]
    assert [{"at": 50.0, "who": "me", "why": "case 7"}] * 2 == [
        store.archive.event(number)["kept"] for number in (first, later)
    ]
    assert (True, False) == tuple(store.keeping.end_hold(hold, at=60.0, who="you") for _ in range(2))
    assert (2, None) == (prune(store, "bodies"), store.archive.event(first)["kept"])
    assert [(60.0, "you", "me")] == [(row["ended_at"], row["ended_by"], row["who"]) for row in store.keeping.holds()]


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        (Filter(source="acme"), True),
        (Filter(source="other"), False),
        (Filter(type="*"), True),
        (Filter(type="other.*"), False),
        (Filter(since=100.0), True),
        (Filter(since=101.0), False),
        (Filter(until=101.0), True),
        (Filter(until=100.0), False),
    ],
)
def test_hold_is_by_source_type_and_time(store: SqliteStore, wanted: Filter, kept: bool) -> None:
    """All of them must match, as in every filter."""
    finished(store)
    store.keeping.hold(wanted, **HOLD)  # type: ignore[arg-type]
    assert int(not kept) == prune(store, "bodies")


def test_what_was_looked_at_before_the_hold_does_not_go_after_it(store: SqliteStore) -> None:
    """The transaction that deletes looks again."""
    from inbox.store.protocols_retention import What

    number = finished(store)
    what = What("bodies", "acme", 150.0)
    assert ((number,),) == (tuple(event for event, _ in store.keeping.look(what, 0, 9).may),)
    store.keeping.hold(Filter(), **HOLD)  # type: ignore[arg-type]
    assert 0 == store.keeping.prune(what, [number], 200.0)
