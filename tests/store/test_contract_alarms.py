"""The contract of AlarmBook: states, changes and notices are one, and each notice is sent by one process."""

from functools import partial

import pytest

from inbox.core.errors import StoreUnavailable
from inbox.store.protocols_alarms import AlarmNotice, Change, Watched
from inbox.store.sql.alarms import KEEP_CHANGES
from tests.support.stores import SqliteStore, in_threads

ON = Watched("disk", "", True, 100.0, 0, "full")
OFF = Watched("silence", "roomz", False, 90.0, 1, "fine")
START = Change("disk", "", "start", "full", 100.0)


def test_states_are_kept_and_forgotten(store: SqliteStore) -> None:
    """The latest of each; those that are on come first."""
    store.alarms.record([OFF, ON], [], [], [])
    assert [ON, OFF] == store.alarms.states()
    later = Watched("silence", "roomz", False, 90.0, 0, "better")
    store.alarms.record([later], [ON], [], [])
    assert [later] == store.alarms.states()


def test_change_is_told_by_each_way_once(store: SqliteStore) -> None:
    """A notice per way, until it was sent; a restart finds what is left."""
    store.alarms.record([ON], [], [START], ["email", "command"])
    first, second = store.alarms.take_notices(100.0, 10)
    change = Change("disk", "", "start", "full", 100.0, 1)
    assert [AlarmNotice(1, "email", 1, change), AlarmNotice(2, "command", 1, change)] == [first, second]
    store.alarms.told(1, 101.0)
    store.alarms.told(2, 101.0, error="no", again_at=160.0)
    store.close()
    assert [] == store.alarms.take_notices(159.9, 10)
    assert [AlarmNotice(2, "command", 2, change)] == store.alarms.take_notices(160.0, 10)
    store.alarms.told(2, 161.0, error="gone")
    assert [] == store.alarms.take_notices(1e9, 10)
    assert [("email", "sent", 1, 101.0, ""), ("command", "failed", 2, None, "gone")] == [
        tuple(told.values()) for told in store.alarms.changes(9)[0]["told"]
    ]


def test_notice_of_a_process_that_died_is_taken_again(store: SqliteStore) -> None:
    """After five minutes, and not before."""
    store.alarms.record([ON], [], [START], ["email"])
    assert [1, 0, 1] == [len(store.alarms.take_notices(at, 10)) for at in (100.0, 399.9, 400.0)]


def test_processes_take_different_notices(store: SqliteStore) -> None:
    """Of eight that ask at once each notice goes to one, however few they may take."""
    store.alarms.record([ON], [], [START] * 4, ["email", "webhook"])
    books = [SqliteStore(store.folder) for _ in range(8)]
    taken = in_threads([partial(book.alarms.take_notices, 100.0, 1) for book in books])
    assert list(range(1, 9)) == sorted(notice.id for notices in taken for notice in notices)
    for book in books:
        book.close()


def test_state_and_notices_are_kept_together_or_not_at_all(store: SqliteStore) -> None:
    """What cannot be recorded as a whole leaves nothing, so that the next evaluation starts it."""
    store.alarms.record([OFF], [], [], [])
    with store.nearly_full(), pytest.raises(StoreUnavailable):
        store.alarms.record([ON], [OFF], [Change("disk", "", "start", "x" * 50_000, 1.0)], ["email"])
    assert ([OFF], []) == (store.alarms.states(), store.alarms.changes(9))


def test_history_is_bounded(store: SqliteStore) -> None:
    """The oldest changes are forgotten with their notices."""
    for _ in range(KEEP_CHANGES // 100 + 1):
        store.alarms.record([], [], [START] * 100, ["email"])
    changes = store.alarms.changes(5000)
    assert (KEEP_CHANGES, KEEP_CHANGES + 100) == (len(changes), changes[0]["id"])
    assert KEEP_CHANGES == len(store.alarms.take_notices(1e9, 5000))
