"""The contract of replaying: new work for an old event, never twice what is still to be done."""

from functools import partial

from inbox.store.protocols import Outcome
from inbox.store.protocols_actions import ActionStep
from tests.support.stores import SqliteStore, begun, claimed, event, in_threads, invalid, routed

DEAD = Outcome("dead", "error", error="no")
SUCCEEDED = Outcome("succeeded", "succeeded")


def ended(store: SqliteStore, outcome: Outcome = DEAD, delivery: int | None = None) -> int:
    """Run a delivery of m.f, a new event's if none is given, with this outcome, and return its id."""
    if delivery is None:
        (delivery,) = routed(store, "m.f")
    claimed(store, delivery, f"t{delivery}")
    store.work.finish(delivery, f"t{delivery}", outcome, 100.0)
    return delivery


def deliveries(store: SqliteStore) -> list[tuple[str, int, str]]:
    """Return handler, replay and status of each delivery of the first event."""
    return [(row["handler"], row["replay_id"], row["status"]) for row in store.archive.event(1)["deliveries"]]


def test_ended_delivery_is_run_again_as_a_new_one(store: SqliteStore) -> None:
    """The old one stays as it is; the new one knows that it is a replay."""
    first = ended(store)
    result, second = store.archive.replay(1, "m.f", can_run=True, replay_id=3, at=200.0)
    assert ("created", [(second, 200.0)]) == (result, store.work.waiting(200.0, 10))
    assert [("m.f", 0, "dead"), ("m.f", 3, "pending")] == deliveries(store)
    assert (False, True) == (first == second, claimed(store, second, "t9", at=200.0).is_replay)


def test_latest_replay_decides_the_status_of_the_event(store: SqliteStore) -> None:
    """Dead, processing while it is replayed, then what comes of that; and so again."""
    ended(store)
    seen = [store.archive.event(1)["status"]]
    for replay_id, outcome in [(1, SUCCEEDED), (2, DEAD), (3, SUCCEEDED)]:
        _, delivery = store.archive.replay(1, "m.f", can_run=True, replay_id=replay_id, at=100.0)
        seen.append(store.archive.event(1)["status"])
        ended(store, outcome, delivery)
        seen.append(store.archive.event(1)["status"])
    assert ["dead", "processing", "succeeded", "processing", "dead", "processing", "succeeded"] == seen


def test_replay_for_one_handler_leaves_its_siblings_dead(store: SqliteStore) -> None:
    """The event is succeeded only when the latest delivery of each handler is."""
    one, two = routed(store, "m.f", "m.g")
    ended(store, DEAD, one)
    ended(store, DEAD, two)
    _, again = store.archive.replay(1, "m.f", can_run=True, replay_id=1, at=100.0)
    ended(store, SUCCEEDED, again)
    assert "dead" == store.archive.event(1)["status"]
    _, again = store.archive.replay(1, "m.g", can_run=True, replay_id=2, at=100.0)
    ended(store, SUCCEEDED, again)
    assert "succeeded" == store.archive.event(1)["status"]


def test_waiting_delivery_is_made_due_instead(store: SqliteStore) -> None:
    """A retry that waits for its time, or a delivery that waits for its turn, is not doubled."""
    (pending,) = routed(store, "m.f", at=500.0)
    assert ("expedited", pending) == store.archive.replay(1, "m.f", can_run=True, replay_id=1, at=200.0)
    claimed(store, pending, at=200.0)
    store.work.finish(pending, "t1", Outcome("retrying", "error", due_at=900.0), 200.0)
    assert [(pending, 900.0)] == store.work.waiting(1e9, 10)
    assert ("expedited", pending) == store.archive.replay(1, "m.f", can_run=True, replay_id=2, at=300.0)
    assert ([(pending, 300.0)], 1) == (store.work.waiting(1e9, 10), len(deliveries(store)))


def test_parked_delivery_is_released_if_its_handler_can_run(store: SqliteStore) -> None:
    """Not as long as its module does not load."""
    number = store.inlet.add_event(event()).id
    store.work.route(number, {"m.f": False}, 100.0)
    assert "expedited" == store.archive.replay(number, "m.f", can_run=False, replay_id=1, at=200.0)[0]
    assert [("m.f", 0, "parked")] == deliveries(store)
    assert "expedited" == store.archive.replay(number, "m.f", can_run=True, replay_id=2, at=300.0)[0]
    assert [("m.f", 0, "pending")] == deliveries(store)
    assert [300.0] == [at for _, at in store.work.waiting(300.0, 10)]


def test_replay_for_a_handler_that_cannot_run_is_parked(store: SqliteStore) -> None:
    """It waits visibly."""
    ended(store)
    assert "created" == store.archive.replay(1, "m.f", can_run=False, replay_id=1, at=200.0)[0]
    assert [("m.f", 0, "dead"), ("m.f", 1, "parked")] == deliveries(store)
    assert ("processing", []) == (store.archive.event(1)["status"], store.work.waiting(1e9, 10))


def test_running_delivery_is_left_alone(store: SqliteStore) -> None:
    """It is being done already; its lease and its time do not change."""
    (number,) = routed(store, "m.f")
    claimed(store, number)
    before = store.archive.event(1)
    assert ("running", number) == store.archive.replay(1, "m.f", can_run=True, replay_id=1, at=200.0)
    assert before == store.archive.event(1)


def test_two_replays_at_once_make_one_delivery(store: SqliteStore) -> None:
    """Whoever comes second finds the delivery of the first."""
    ended(store)
    replay = partial(store.archive.replay, 1, "m.f", can_run=True, at=200.0)
    results = in_threads([partial(replay, replay_id=n) for n in range(1, 9)])
    assert ["created", *["expedited"] * 7] == sorted(result for result, _ in results)
    assert 1 == len({delivery for _, delivery in results})


def test_quarantined_event_is_processing_once_it_is_replayed(store: SqliteStore) -> None:
    """Its first delivery and its status come together."""
    number = store.inlet.add_event(invalid()).id
    _, delivery = store.archive.replay(number, "m.f", can_run=True, replay_id=1, at=100.0)
    assert "processing" == store.archive.event(number)["status"]
    ended(store, SUCCEEDED, delivery)
    assert "succeeded" == store.archive.event(number)["status"]


def test_conflict_can_be_run(store: SqliteStore) -> None:
    """It is an event of its own; the one that it conflicts with is not touched."""
    first = store.inlet.add_event(event(body=b"1")).id
    second = store.inlet.add_event(event(body=b"2")).id
    _, delivery = store.archive.replay(second, "m.f", can_run=True, replay_id=1, at=100.0)
    assert b"2" == claimed(store, delivery).request.body
    assert ("received", "processing") == (
        store.archive.event(first)["status"],
        store.archive.event(second)["status"],
    )


def test_replay_before_routing_takes_no_handler_its_event(store: SqliteStore) -> None:
    """An event that is replayed for one handler before it is routed is still routed to the others, once each."""
    number = store.inlet.add_event(event()).id
    _, delivery = store.archive.replay(number, "m.f", can_run=True, replay_id=1, at=100.0)
    ended(store, SUCCEEDED, delivery)
    assert ("received", [number]) == (store.archive.event(number)["status"], store.work.unrouted(10))
    assert 1 == len(store.work.route(number, {"m.f": True, "m.g": True}, 100.0))
    assert [("m.f", 0, "succeeded"), ("m.g", 0, "pending")] == deliveries(store)
    assert "processing" == store.archive.event(number)["status"]


def test_event_that_was_done_before_routing_is_done_after_it(store: SqliteStore) -> None:
    """Routing that finds nothing left to do says so in the status."""
    number = store.inlet.add_event(event()).id
    ended(store, DEAD, store.archive.replay(number, "m.f", can_run=True, replay_id=1, at=100.0)[1])
    ended(store, SUCCEEDED, store.archive.replay(number, "m.f", can_run=True, replay_id=2, at=100.0)[1])
    assert [] == store.work.route(number, {"m.f": True}, 100.0)
    assert [("m.f", 0, "dead"), ("m.f", 2, "succeeded")] == deliveries(store)
    assert "succeeded" == store.archive.event(number)["status"]


def test_events_are_replayed_together(store: SqliteStore) -> None:
    """Each as if alone, in the order given; an event that is gone keeps no other from it."""
    running, waiting = routed(store, "m.f", "m.g")
    claimed(store, running)
    number = store.inlet.add_event(event("k2")).id
    wanted = [(1, "m.f", True), (99, "m.f", True), (1, "m.g", True), (number, "m.f", False), (1, "m.h", True)]
    step = ActionStep(action=begun(store), begun=0, ended=1, last=True, number=5, runs=wanted)
    assert ["running", None, "expedited", "created", "created"] == store.acting.step(step, at=200.0, held_until=0.0)
    assert [("m.f", 0, "running"), ("m.g", 0, "pending"), ("m.h", 1, "pending")] == deliveries(store)
    assert [("m.f", 0, "parked")] == [
        (row["handler"], row["replay_id"], row["status"]) for row in store.archive.event(number)["deliveries"]
    ]
    assert waiting in [found for found, _ in store.work.waiting(200.0, 10)]
