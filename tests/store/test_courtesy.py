"""The worker's courtesy: a pause after what it wrote while events come, none otherwise."""

from inbox.store.sqlite.courtesy import Courtesy
from tests.store.stores import SqliteStore, connection_of, event


def test_worker_pauses_only_while_events_come(store: SqliteStore) -> None:
    """After each of its transactions for which there is a new event, and not when it is alone."""
    pauses: list[float] = []
    courtesy = Courtesy(connection_of(store.work), pause=pauses.append)
    counts = []
    for key in ("first", None, None, "second", None):
        if key is not None:
            store.inlet.add_event(event(key))
        with courtesy.write() as connection:
            connection.execute("UPDATE events SET duplicates = duplicates")
        counts.append(len(pauses))
    assert [1, 1, 1, 2, 2] == counts
    assert all(pause > 0 for pause in pauses)
    store.close()


def test_what_fails_is_rolled_back_without_a_pause(store: SqliteStore) -> None:
    """As every write transaction."""
    pauses: list[float] = []
    store.inlet.add_event(event("first"))
    courtesy = Courtesy(connection_of(store.work), pause=pauses.append)
    try:
        with courtesy.write() as connection:
            connection.execute("DELETE FROM bodies")
            raise LookupError
    except LookupError:
        pass
    assert ([], 1) == (pauses, connection_of(store.work).rows("SELECT count(*) FROM bodies")[0][0])
    store.close()
