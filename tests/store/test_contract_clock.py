"""The contract of leases and pauses when the clock is set, and of cancelling."""

import pytest

from inbox.store.protocols import Outcome
from tests.support.stores import SqliteStore, acted, claimed, routed

HOUR = 3600.0


def _steady(store: SqliteStore, delivery: int, token: str, *, at: float, steady: float) -> bool:
    return store.work.claim(delivery, token=token, worker="w", at=at, lease=30.0, steady=steady) is not None


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_lease_ends_by_the_steady_clock(store: SqliteStore, jump: float) -> None:
    """Whatever the other clock says: for claim, holds, waiting and after a heartbeat."""
    (number,) = routed(store, at=100.0)
    assert _steady(store, number, "t1", at=100.0, steady=7.0)
    assert store.work.heartbeat(number, "t1", 140.0, 47.0)
    assert [] == store.work.waiting(100.0 + jump, 10, 46.9)
    assert not _steady(store, number, "t2", at=100.0 + jump, steady=46.9)
    assert (True, False) == (store.work.holds(number, "t1", 46.9), store.work.holds(number, "t1", 47.0))
    assert [(number, 100.0 + jump - 1.0)] == store.work.waiting(100.0 + jump, 10, 48.0)
    assert _steady(store, number, "t3", at=100.0 + jump, steady=47.0)


def test_a_lease_from_before_the_machine_started_has_ended(store: SqliteStore) -> None:
    """The steady clock has begun again, so the lease begins later than now; it waits to be taken over."""
    (number,) = routed(store, at=100.0)
    assert _steady(store, number, "t1", at=100.0, steady=50_000.0)
    assert [(number, 0.0)] == store.work.waiting(200.0, 10, 12.0)
    assert _steady(store, number, "t2", at=200.0, steady=12.0)


def test_a_lease_is_not_taken_by_who_looked_at_the_clock_before(store: SqliteStore) -> None:
    """Two workers that are woken at once: the one whose UPDATE comes second may have the earlier time."""
    (number,) = routed(store, at=100.0)
    assert _steady(store, number, "t1", at=100.0, steady=50_000.0)
    for late in (0.001, 30.0):
        assert not _steady(store, number, "t2", at=100.0, steady=50_000.0 - late)
        assert [] == store.work.waiting(100.0, 10, 50_000.0 - late)


def test_pauses_that_began_later_than_now_begin_now(store: SqliteStore) -> None:
    """Retries keep their length, what was due at once is due at once; the others stay, and so does what ended."""
    late, due, early, ended = (
        routed(store, key=key, at=at)[0] for key, at in zip("abcd", [5e3, 5e3, 1, 5e3], strict=True)
    )
    for number, at in ((late, 5000.0), (ended, 5000.0)):
        claimed(store, number, f"t{number}", at=at)
    store.work.finish(late, f"t{late}", Outcome("retrying", "error", due_at=5070.0), 5010.0)
    store.work.finish(ended, f"t{ended}", Outcome("succeeded", "succeeded"), 5010.0)
    assert 2 == store.work.set_back(1000.0)
    assert [(early, 1.0), (due, 1000.0), (late, 1060.0)] == store.work.waiting(1e6, 10)
    assert 0 == store.work.set_back(1000.0)


def test_an_expedited_delivery_is_due_at_once_although_the_clock_is_set_back(store: SqliteStore) -> None:
    """Its pause ended when it was replayed."""
    (number,) = routed(store, at=100.0)
    claimed(store, number)
    store.work.finish(number, "t1", Outcome("retrying", "error", due_at=9000.0), 101.0)
    assert ("expedited", number) == store.archive.replay(1, "m.f", can_run=True, replay_id=1, at=5000.0)
    assert 1 == store.work.set_back(1000.0)
    assert [(number, 1000.0)] == store.work.waiting(1000.0, 10)


def test_cancel_ends_what_waits(store: SqliteStore) -> None:
    """Pending, retrying and parked deliveries of this event or handler; the event is settled."""
    pending, running = routed(store, "a.f", "b.f", key="k1")
    (other,) = routed(store, "a.f", key="k2")
    claimed(store, running)
    numbers = [
        acted(store, "cancel", at=200.0, events=[1], handler="a.f", who="me", why="tired \udc80"),
        acted(store, "cancel", at=200.0, events=[1]),
        acted(store, "cancel", at=200.0, events=[1, 2], handler="a.f"),
    ]
    assert [1, 0, 1] == [store.acting.action(number)["results"].get("cancelled", 0) for number in numbers]
    rows = {row["id"]: row for n in (1, 2) for row in store.archive.event(n)["deliveries"]}
    assert ("cancelled", 200.0, "cancelled by me: tired \\udc80") == tuple(
        rows[pending][name] for name in ("status", "finished_at", "error")
    )
    assert ("running", "cancelled") == (rows[running]["status"], rows[other]["status"])
    assert ("processing", "succeeded") == (store.archive.event(1)["status"], store.archive.event(2)["status"])
    assert store.work.claim(pending, token="t9", worker="w", at=300.0, lease=1.0) is None
