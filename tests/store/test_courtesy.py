"""The worker's courtesy: a pause for what it wrote while events come, none otherwise, and never a long one."""

import pytest

from inbox.store.sqlite.courtesy import MOST, Courtesy
from tests.store.stores import SqliteStore, connection_of, event


def wrote(courtesy: Courtesy) -> None:
    """Write something."""
    with courtesy.write() as connection:
        connection.execute("UPDATE events SET duplicates = duplicates")


def failed(courtesy: Courtesy) -> None:
    """Write something, and fail."""
    with courtesy.write() as connection:
        connection.execute("DELETE FROM bodies")
        raise LookupError


def test_worker_pauses_only_while_events_come(store: SqliteStore) -> None:
    """Once for all that it wrote since the last pause; not when it is alone, nor when it wrote nothing."""
    pauses: list[float] = []
    courtesy = Courtesy(connection_of(store.work), pause=pauses.append)
    counts = []
    for key, writes in (("first", 2), (None, 1), ("second", 1), ("third", 0), (None, 1)):
        if key is not None:
            store.inlet.add_event(event(key))
        for _ in range(writes):
            wrote(courtesy)
        courtesy.give_way()
        counts.append(len(pauses))
    assert [1, 1, 2, 2, 2] == counts
    assert all(0 < pause <= MOST for pause in pauses)
    store.close()


def test_slow_write_makes_no_long_pause(store: SqliteStore) -> None:
    """A disk that took seconds once puts nothing off for longer than usual."""
    pauses: list[float] = []
    courtesy = Courtesy(connection_of(store.work), pause=pauses.append)
    store.inlet.add_event(event("first"))
    courtesy._wrote = 5.0
    courtesy.give_way()
    assert [MOST] == pauses
    store.close()


def test_what_fails_is_rolled_back(store: SqliteStore) -> None:
    """As in every write transaction."""
    store.inlet.add_event(event("first"))
    courtesy = Courtesy(connection_of(store.work))
    with pytest.raises(LookupError):
        failed(courtesy)
    assert 1 == connection_of(store.work).rows("SELECT count(*) FROM bodies")[0][0]
    store.close()
