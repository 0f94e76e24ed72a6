"""The contract of Watch: sums that rolling up does not change, signs of life, backlog, turns."""

from functools import partial

from inbox.core.histograms import names
from inbox.store.protocols import Outcome
from tests.support.stores import SqliteStore, event, in_threads, routed

HOUR = 3600
NOW = 1_767_225_600.0


def test_rolling_up_changes_no_total(store: SqliteStore) -> None:
    """Minutes become hours, sums of durations only a total; old hours are forgotten, and still count."""
    ages = (0.0, 60.0, 2 * HOUR, 5 * HOUR, 5 * HOUR + 60, 30 * HOUR, 10 * 7 * 24 * HOUR)
    for age in ages:
        store.watch.add(
            {("acme", "accepted"): 1, **{("acme", n): v for n, v in names("answer", 0.1).items()}}, NOW - age
        )
    before = store.watch.totals()
    assert store.watch.roll(NOW)
    assert (before, 7) == (store.watch.totals(), before["acme", "accepted"])
    assert not store.watch.roll(NOW)
    hours = store.watch.hours(["accepted"], 0)["acme"]
    day = NOW - 30 * HOUR
    assert {NOW: 1, NOW - HOUR: 1, NOW - 2 * HOUR: 1, NOW - 5 * HOUR: 1, NOW - 6 * HOUR: 1, day: 1} == hours
    store.watch.add({("acme", "accepted"): 5}, NOW - 5 * HOUR)  # a clock that was set back
    store.watch.roll(NOW)
    assert (6, 12) == (
        store.watch.hours(["accepted"], 0)["acme"][int(NOW - 5 * HOUR)],
        store.watch.totals()["acme", "accepted"],
    )
    assert {"acme": NOW} == store.watch.last(["accepted", "duplicate"], NOW - HOUR)


def test_sign_of_life_has_an_age_and_begins_anew_after_a_gap(store: SqliteStore) -> None:
    """Age by the steady clock, so that setting the time of day changes nothing."""
    store.watch.beat("worker", NOW, 100.0)
    store.watch.beat("worker", NOW + 5, 105.0)
    alive = store.watch.look(NOW - 9999, 107.0).processes["worker"]
    assert (2.0, NOW) == (alive.age, alive.since)
    store.watch.beat("worker", NOW + 600, 705.0)
    assert (0.0, NOW + 600) == (store.watch.look(NOW, 705.0).processes["worker"].age,
                                store.watch.look(NOW, 705.0).processes["worker"].since)  # fmt: skip
    assert float("inf") == store.watch.look(NOW, 3.0).processes["worker"].age  # the machine started anew
    assert {"worker"} == store.watch.look(NOW, 3.0).processes.keys()


def test_look_tells_backlog_and_oldest_item(store: SqliteStore) -> None:
    """What could be worked on has an age; what waits for later, runs, or is parked has none."""
    assert (0.0, 0) == (store.watch.look(NOW, 0.0).oldest, sum(store.watch.look(NOW, 0.0).backlog.values()))
    due, later, running = (routed(store, key=key, at=NOW - 50)[0] for key in ("a", "b", "c"))
    for delivery in (later, running):
        store.work.claim(delivery, token=f"t{delivery}", worker="w", at=NOW, lease=30.0, steady=10.0)
    store.work.finish(later, f"t{later}", Outcome("retrying", "error", due_at=NOW + 60), NOW)
    store.work.route(store.inlet.add_event(event("d", at=NOW)).id, {"m.g": False}, NOW)
    store.inlet.add_event(event("e", at=NOW - 70))
    looked = store.watch.look(NOW, 20.0)
    assert {"unrouted": 1, "due": 1, "later": 1, "running": 1, "parked": 1, "paused": 0} == looked.backlog
    assert (70.0, due) == (looked.oldest, due)
    assert NOW + 500 - (NOW - 70) == store.watch.look(NOW + 500, 520.0).oldest
    assert looked.store["used"] > 0 < looked.disk_free


def test_abandoned_delivery_is_the_oldest_item(store: SqliteStore) -> None:
    """A delivery whose lease ran out waits since then."""
    delivery = routed(store, at=NOW)[0]
    store.work.claim(delivery, token="t", worker="w", at=NOW, lease=30.0, steady=10.0)
    ages = [store.watch.look(NOW + passed, 10.0 + passed).oldest for passed in (29.0, 40.0)]
    assert [0.0, 10.0] == ages


def test_turn_is_given_once(store: SqliteStore) -> None:
    """Of eight that ask at once one gets it, also if it looked at the clock a moment before another; then the next."""
    watches = [store.open_watch() for _ in range(8)]

    def ask(steady: float) -> list[bool]:
        return in_threads([partial(watch.turn, steady + 0.1 * n, 60.0) for n, watch in enumerate(watches)])

    assert [1, 0, 1] == [sum(ask(steady)) for steady in (100.0, 150.0, 170.0)]
    assert [True, False] == [store.watch.turn(1.0, 60.0) for _ in range(2)]  # the machine started anew
