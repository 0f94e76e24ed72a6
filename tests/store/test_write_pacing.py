"""The worker's courtesy: it waits while events come, not for one that comes alone, and never for long."""

import pytest

from inbox.store.sqlite.write_pacing import LATE, MOMENT, MOST, STEP, STEPS, WritePacing
from tests.support.stores import SqliteStore, connection_of, event


def wrote(courtesy: WritePacing) -> None:
    """Write something."""
    with courtesy.write() as connection:
        connection.execute("UPDATE events SET duplicates = duplicates")


def failed(courtesy: WritePacing) -> None:
    """Write something, and fail."""
    with courtesy.write() as connection:
        connection.execute("DELETE FROM bodies")
        raise LookupError


def pauses_of(store: SqliteStore, at: float, *, more: int = 0, wrote: float = 0.0) -> list[float]:
    """Return the pauses of a worker that gives way at `at`; while it does, an event comes in each of `more` pauses."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) <= more:
            store.inlet.add_event(event(f"more {len(pauses)}", at=at))

    courtesy = WritePacing(connection_of(store.work), pause=pause)
    courtesy._wrote = wrote
    courtesy.give_way(at)
    return pauses


@pytest.mark.parametrize("before", [None, 100.0 - 1.1 * MOMENT])
def test_event_that_comes_alone_is_not_waited_for(store: SqliteStore, before: float | None) -> None:
    """Nothing came shortly before it, so its handler starts at once; nor does an empty inbox wait."""
    assert [] == pauses_of(store, 100.0)
    if before is not None:
        store.inlet.add_event(event("before", at=before))
    store.inlet.add_event(event("now", at=100.0))
    assert [] == pauses_of(store, 100.0, wrote=1.0)


@pytest.mark.parametrize(("more", "expected"), [(0, 1), (3, 4), (99, STEPS)])
def test_worker_waits_while_events_come(store: SqliteStore, more: int, expected: int) -> None:
    """Until none comes for a step, and not for more than so many steps."""
    for key in ("first", "second"):
        store.inlet.add_event(event(key, at=100.0))
    assert [STEP] * expected == pauses_of(store, 100.0, more=more)


def test_worker_that_is_late_pauses_only_for_what_it_wrote(store: SqliteStore) -> None:
    """Once for all that it wrote since the last pause; not when no event came, nor when it wrote nothing."""
    pauses: list[float] = []
    courtesy = WritePacing(connection_of(store.work), pause=pauses.append)
    counts = []
    for key, writes in (("first", 2), (None, 1), ("second", 1), ("third", 0), (None, 1)):
        if key is not None:
            store.inlet.add_event(event(key, at=100.0))
        for _ in range(writes):
            wrote(courtesy)
        courtesy.give_way(100.1 + LATE)
        counts.append(len(pauses))
    assert [1, 1, 2, 2, 2] == counts
    assert all(0 < pause <= MOST for pause in pauses)


def test_slow_write_makes_no_long_pause(store: SqliteStore) -> None:
    """A disk that took seconds once puts nothing off for longer than usual."""
    store.inlet.add_event(event("first", at=100.0))
    assert [MOST] == pauses_of(store, 100.1 + LATE, wrote=5.0)


def test_what_fails_is_rolled_back(store: SqliteStore) -> None:
    """As in every write transaction."""
    store.inlet.add_event(event("first"))
    courtesy = WritePacing(connection_of(store.work))
    with pytest.raises(LookupError):
        failed(courtesy)
    assert 1 == connection_of(store.work).rows("SELECT count(*) FROM bodies")[0][0]
