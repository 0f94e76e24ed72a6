"""The contract of Work: an event is routed once, a delivery is run by one worker at a time, and none is lost."""

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inbox.core.models import Claimed
from inbox.store.protocols import Filter, Finished, Outcome
from inbox.store.protocols_routing import UnroutedEvent, Worker
from tests.support.stores import SqliteStore, claimed, event, in_processes, in_threads, invalid, routed

NUMBERS = count()
SUCCEEDED = Outcome("succeeded", "succeeded", value='{"n": 1}')


def delivery_of(store: SqliteStore, delivery: int) -> dict[str, Any]:
    """Return the row of a delivery."""
    for n in range(1, 100):
        for row in store.archive.event(n)["deliveries"]:
            if row["id"] == delivery:
                return dict(row)
    raise AssertionError


def results(store: SqliteStore, delivery: int) -> list[str]:
    """Return how the attempts of a delivery ended."""
    return [run["result"] for run in delivery_of(store, delivery)["runs"]]


def test_heads_are_what_routing_needs(store: SqliteStore) -> None:
    """Id, source and type of what nobody routed, oldest first, no more than asked for."""
    first, second = (store.inlet.add_event(event(key)).id for key in "ab")
    store.inlet.add_event(invalid("bad"))
    heads = [UnroutedEvent(first, "acme", "order.paid"), UnroutedEvent(second, "acme", "order.paid")]
    assert (heads, heads[:1]) == (store.work.heads(10), store.work.heads(1))


def test_routing_makes_one_delivery_per_handler(store: SqliteStore) -> None:
    """Handlers that can run get a pending delivery, the others a parked one; only the former are returned."""
    stored = store.inlet.add_event(event())
    (made,) = store.work.route(stored.id, {"a.f": True, "b.f": False}, 105.0)
    row = store.archive.event(stored.id)
    assert "processing" == row["status"]
    assert [("a.f", "pending", 105.0), ("b.f", "parked", 105.0)] == [
        (item["handler"], item["status"], item["due_at"]) for item in row["deliveries"]
    ]
    assert made == row["deliveries"][0]["id"]


def test_routing_happens_once(store: SqliteStore) -> None:
    """The second time nothing is made, even for other handlers; nor for an event that is not there."""
    stored = store.inlet.add_event(event())
    assert 1 == len(store.work.route(stored.id, {"a.f": True}, 100.0))
    assert [] == store.work.route(stored.id, {"a.f": True, "b.f": True}, 100.0)
    assert [] == store.work.route(99, {"a.f": True}, 100.0)
    assert 1 == len(store.archive.event(stored.id)["deliveries"])


def test_event_without_handlers_is_unhandled(store: SqliteStore) -> None:
    """It is no longer waiting for anything."""
    stored = store.inlet.add_event(event())
    assert [] == store.work.route(stored.id, {}, 100.0)
    assert "unhandled" == store.archive.event(stored.id)["status"]
    assert [] == store.work.unrouted(10)


def test_quarantined_and_conflicting_events_are_not_routed(store: SqliteStore) -> None:
    """Only "received" is."""
    store.inlet.add_event(event())
    for stored in (store.inlet.add_event(invalid("k2")), store.inlet.add_event(event(body=b"other"))):
        assert [] == store.work.route(stored.id, {"a.f": True}, 100.0)
        assert stored.outcome[:8] == store.archive.event(stored.id)["status"][:8]


def test_two_workers_route_an_event_once(store: SqliteStore) -> None:
    """Of four calls at the same moment one makes the deliveries."""
    works = [store.open_work() for _ in range(4)]
    for n in range(10):
        number = store.inlet.add_event(event(f"k{n}")).id
        calls = [partial(work.route, number, {"a.f": True, "b.f": True}, 1.0) for work in works]
        assert [0, 0, 0, 2] == sorted(len(made) for made in in_threads(calls))
        assert 2 == len(store.archive.event(number)["deliveries"])


def test_claim_hands_over_the_delivery_and_its_event(store: SqliteStore) -> None:
    """The first claim is attempt 1, and the delivery shows who has it until when."""
    new = event(at=99.0)
    number = store.inlet.add_event(new).id
    (delivery,) = store.work.route(number, {"m.f": True}, 100.0)
    expected = Claimed(
        delivery, "t1", "m.f", 1, 0, 100.0, False, number, "acme", "order.paid", "k1", 99.0, new.request
    )  # fmt: skip
    assert expected == claimed(store, delivery, at=101.0)
    row = delivery_of(store, delivery)
    assert ("running", "w1", 131.0) == (row["status"], row["worker"], row["lease_until"])
    assert [(1, "w1", 101.0, None, "running")] == [
        tuple(run[name] for name in ("number", "worker", "started_at", "finished_at", "result")) for run in row["runs"]
    ]


def test_claim_is_refused_unless_the_delivery_is_due(store: SqliteStore) -> None:
    """Not before its time, not while it is parked or held, not when it has ended, and not if there is none."""
    first, parked, held, ended = (routed(store, key=key)[0] for key in "abcd")
    claimed(store, held)
    claimed(store, parked, "t2")
    store.work.finish(parked, "t2", Outcome("parked", "unavailable"), 100.0)
    claimed(store, ended, "t3")
    store.work.finish(ended, "t3", SUCCEEDED, 100.0)
    for number, at in [(first, 99.9), (parked, 500.0), (held, 129.9), (ended, 500.0), (99, 500.0)]:
        assert store.work.claim(number, token="t9", worker="w2", at=at, lease=30.0) is None
    assert store.work.claim(first, token="t9", worker="w2", at=100.0, lease=30.0) is not None


def test_two_workers_never_claim_the_same_delivery(store: SqliteStore) -> None:
    """Of four claims at the same moment one succeeds."""
    works = [store.open_work() for _ in range(4)]
    for n in range(10):
        (number,) = routed(store, key=f"k{n}")
        claim = {
            f"{number}-{i}": partial(work.claim, number, worker="w", at=100.0, lease=1.0)
            for i, work in enumerate(works)
        }
        assert 1 == sum(
            found is not None for found in in_threads([partial(call, token=t) for t, call in claim.items()])
        )
        assert ["running"] == results(store, number)


def _claim_from_process(folder: Path, number: int, wait: Callable[[], object]) -> list[int]:
    store = SqliteStore(folder)
    work = store.work
    wait()
    try:
        tries = [(n, work.claim(n, token=f"{number}-{n}", worker="w", at=100.0, lease=1.0)) for n in range(1, 41)]
        return [n for n, found in tries if found is not None]
    finally:
        store.close()


def test_processes_share_the_deliveries_without_overlap(store: SqliteStore) -> None:
    """Of 3 processes that go through the same 40 deliveries, each delivery falls to one."""
    for n in range(40):
        routed(store, key=f"k{n}")
    taken: list[list[int]] = in_processes(3, _claim_from_process, store.folder)
    assert list(range(1, 41)) == sorted(number for numbers in taken for number in numbers)


def test_expired_lease_is_taken_over_as_a_crash(store: SqliteStore) -> None:
    """At the end of the lease another worker gets it; the crash is counted, the earlier attempt marked."""
    (number,) = routed(store)
    claimed(store, number)
    assert store.work.claim(number, token="t2", worker="w2", at=129.9, lease=30.0) is None
    again = claimed(store, number, "t2", at=130.0)
    assert (2, 1) == (again.attempt, again.crashes)
    assert ["crashed", "running"] == results(store, number)
    assert (3, 2) == ((third := claimed(store, number, "t3", at=160.0)).attempt, third.crashes)
    assert ["crashed", "crashed", "running"] == results(store, number)


def test_retry_is_no_crash(store: SqliteStore) -> None:
    """A delivery that failed and is due again counts an attempt only."""
    (number,) = routed(store)
    claimed(store, number)
    store.work.finish(number, "t1", Outcome("retrying", "error", due_at=110.0, error="no"), 101.0)
    assert store.work.claim(number, token="t2", worker="w", at=109.0, lease=1.0) is None
    again = claimed(store, number, "t2", at=110.0)
    assert (2, 0) == (again.attempt, again.crashes)
    assert ["error", "running"] == results(store, number)


def test_lost_lease_changes_nothing(store: SqliteStore) -> None:
    """With a token that was taken over, heartbeat and finish only mark the old attempt as lost."""
    (number,) = routed(store)
    claimed(store, number)
    claimed(store, number, "t2", at=130.0)
    before = delivery_of(store, number)
    assert store.work.heartbeat(number, "t1", 999.0) is False
    assert (False, True) == (store.work.holds(number, "t1", 131.0), store.work.holds(number, "t2", 131.0))
    assert Finished(held=False) == store.work.finish(number, "t1", SUCCEEDED, 132.0)
    after = delivery_of(store, number)
    assert ["lost", "running"] == [run["result"] for run in after.pop("runs")]
    assert {**before, "runs": None} == {**after, "runs": None}
    assert Finished(held=True, event_status="succeeded") == store.work.finish(number, "t2", SUCCEEDED, 133.0)


def test_second_finish_does_not_rewrite_the_first(store: SqliteStore) -> None:
    """What was recorded stays, also what became of the attempt."""
    (number,) = routed(store)
    claimed(store, number)
    store.work.finish(number, "t1", SUCCEEDED, 101.0)
    before = delivery_of(store, number)
    assert Finished(held=False) == store.work.finish(number, "t1", Outcome("dead", "error", error="late"), 102.0)
    assert before == delivery_of(store, number)


def test_heartbeat_extends_the_lease(store: SqliteStore) -> None:
    """The delivery is held until then and cannot be taken over before."""
    (number,) = routed(store)
    claimed(store, number)
    assert store.work.heartbeat(number, "t1", 200.0) is True
    assert (True, False) == (store.work.holds(number, "t1", 199.9), store.work.holds(number, "t1", 200.0))
    assert store.work.claim(number, token="t2", worker="w2", at=199.9, lease=30.0) is None
    assert 1 == claimed(store, number, "t2", at=200.0).crashes


@pytest.mark.parametrize(
    ("outcome", "event_status", "ended"),
    [
        (SUCCEEDED, "succeeded", 101.0),
        (Outcome("discarded", "discarded", error="not for us"), "succeeded", 101.0),
        (Outcome("dead", "error", error="Traceback …"), "dead", 101.0),
        (Outcome("retrying", "timeout", due_at=200.0, error="late"), "processing", None),
        (Outcome("parked", "unavailable", error="no handler"), "processing", None),
        (Outcome("dead", "error", error="\x00 🎉 \udc80"), "dead", 101.0),
    ],
    ids=["succeeded", "discarded", "dead", "retrying", "parked", "odd text"],
)
def test_finish_records_the_outcome(
    store: SqliteStore, outcome: Outcome, event_status: str, ended: float | None
) -> None:
    """The delivery, its attempt and the event follow from the outcome, and the token is worth nothing any more."""
    (number,) = routed(store)
    claimed(store, number)
    assert Finished(held=True, event_status=event_status) == store.work.finish(number, "t1", outcome, 101.0)
    row = delivery_of(store, number)
    assert (outcome.status, outcome.value, ended, None) == tuple(
        row[name] for name in ("status", "value", "finished_at", "lease_until")
    )
    assert (outcome.due_at or 100.0) == row["due_at"]
    assert outcome.error.replace("\udc80", "\\udc80") == row["error"] == row["runs"][0]["error"]
    assert (outcome.result, 101.0) == (row["runs"][0]["result"], row["runs"][0]["finished_at"])
    assert event_status == store.archive.event(row["runs"][0]["delivery_id"])["status"]
    assert (False, False) == (store.work.holds(number, "t1", 101.0), store.work.heartbeat(number, "t1", 500.0))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["succeeded", "discarded", "dead", "retrying", "parked", None]), min_size=1, max_size=4)
)
def test_event_is_what_its_deliveries_are(store: SqliteStore, ends: list[str | None]) -> None:
    """Processing while anything is open, then dead if anything is, else succeeded; discarded counts as done."""
    number = store.inlet.add_event(event(f"k{store.archive.count(Filter())}")).id
    made = store.work.route(number, {f"m.f{n}": True for n in range(len(ends))}, 100.0)
    for delivery, end in zip(made, ends, strict=True):
        if end is not None:
            claimed(store, delivery, f"{number}-{delivery}")
            store.work.finish(delivery, f"{number}-{delivery}", Outcome(end, "x", due_at=None), 100.0)
    is_open = {None, "retrying", "parked"} & set(ends)
    expected = "processing" if is_open else "dead" if "dead" in ends else "succeeded"
    assert expected == store.archive.event(number)["status"]


def test_unrouted_is_what_nobody_routed(store: SqliteStore) -> None:
    """Oldest first, no more than asked for, and neither quarantined nor conflicting events."""
    ids = [store.inlet.add_event(event(f"k{n}")).id for n in range(4)]
    store.inlet.add_event(invalid("bad"))
    store.inlet.add_event(event("k0", body=b"other"))
    store.work.route(ids[1], {}, 100.0)
    assert [ids[0], ids[2], ids[3]] == store.work.unrouted(10)
    assert [ids[0], ids[2]] == store.work.unrouted(2)


def test_waiting_is_what_can_be_claimed(store: SqliteStore) -> None:
    """Pending, retrying and running deliveries, soonest first, each with the time from which on it can be claimed."""
    late, retrying, running, parked, ended = (
        routed(store, key=key, at=at)[0] for key, at in [("a", 500.0), ("b", 1.0), ("c", 2.0), ("d", 3.0), ("e", 4.0)]
    )
    for delivery, outcome in [
        (retrying, Outcome("retrying", "error", due_at=400.0)),
        (parked, Outcome("parked", "unavailable")),
        (ended, SUCCEEDED),
    ]:
        claimed(store, delivery, f"t{delivery}")
        store.work.finish(delivery, f"t{delivery}", outcome, 100.0)
    claimed(store, running)
    assert [(running, 130.0), (retrying, 400.0), (late, 500.0)] == store.work.waiting(500.0, 10)
    assert [(running, 130.0), (retrying, 400.0)] == store.work.waiting(499.0, 10)
    assert [(running, 130.0)] == store.work.waiting(500.0, 1)
    for delivery, at in store.work.waiting(500.0, 10):
        assert store.work.claim(delivery, token=f"x{delivery}", worker="w", at=at - 0.01, lease=1.0) is None
        assert store.work.claim(delivery, token=f"x{delivery}", worker="w", at=at, lease=1.0) is not None


def taken(store: SqliteStore, limit: int, *, at: float = 100.0, worker: str = "w1") -> tuple[list[Claimed], bool]:
    """Take what is due for 30 s, under tokens of their own."""
    return store.work.take(Worker(worker, lambda: f"{worker}-{next(NUMBERS)}", at, at, 30.0), limit)


def test_taking_claims_what_is_due_soonest_first(store: SqliteStore) -> None:
    """As many as asked for, each under its own token, and it is told whether there is more."""
    later, now, soon, other = (
        routed(store, key=k, at=at)[0] for k, at in [("a", 120.0), ("b", 1.0), ("c", 2.0), ("d", 3.0)]
    )
    found, more = taken(store, 2)
    assert ([now, soon], True) == ([each.id for each in found], more)
    assert 2 == len({each.token for each in found})
    assert ([other], False) == ([each.id for each in taken(store, 9)[0]], taken(store, 9)[1])
    assert ([], False) == taken(store, 9)
    assert [later] == [each.id for each in taken(store, 9, at=120.0)[0]]


def test_what_was_tried_before_is_taken_alone(store: SqliteStore) -> None:
    """A retry, and what is taken over from a lease that ran out, so that a crash of it is known to be its own."""
    fresh, retried, held = (routed(store, key=key, at=at)[0] for key, at in [("a", 5.0), ("b", 1.0), ("c", 2.0)])
    claimed(store, retried)
    store.work.finish(retried, "t1", Outcome("retrying", "error", due_at=4.0), 100.0)
    claimed(store, held, "t2", at=100.0)
    for expected, at in [([retried], 100.0), ([fresh], 100.0), ([held], 130.0)]:
        found, _ = taken(store, 9, at=at)
        assert expected == [each.id for each in found]
        if expected != [held]:
            store.work.finish_all([(each, SUCCEEDED) for each in found], at)
    assert ([], False) == taken(store, 9, at=130.0)
    assert (["crashed", "running"], 1) == (results(store, held), delivery_of(store, held)["crashes"])


def test_a_lease_of_several_that_runs_out_is_no_crash(store: SqliteStore) -> None:
    """Nobody knows which of them the worker ran when it died; each runs again, alone, and then a crash is its own."""
    numbers = [routed(store, key=key)[0] for key in "abc"]
    assert 3 == len(taken(store, 9)[0])
    for at, attempts, crashes in [(130.0, ["interrupted"], 0), (160.0, ["interrupted", "crashed"], 1)]:
        for number in numbers:
            assert [number] == [each.id for each in taken(store, 9, at=at)[0]]
            assert ([*attempts, "running"], crashes) == (results(store, number), delivery_of(store, number)["crashes"])


def test_what_was_not_begun_is_given_back_untouched(store: SqliteStore) -> None:
    """No attempt is counted and no time lost; what somebody else has taken over meanwhile is left alone."""
    first, second = (routed(store, key=key)[0] for key in "ab")
    before = delivery_of(store, first)
    found, _ = taken(store, 9)
    assert store.work.claim(second, token="t9", worker="w9", at=130.0, lease=30.0) is not None
    store.work.give_back(found)
    assert before == delivery_of(store, first)
    assert ("running", "w9", ["interrupted", "running"]) == (
        delivery_of(store, second)["status"], delivery_of(store, second)["worker"], results(store, second),
    )  # fmt: skip
    assert [first] == [each.id for each in taken(store, 9, at=131.0)[0]]


def test_outcomes_are_recorded_together(store: SqliteStore) -> None:
    """Each by its own token: one that was lost changes nothing, and keeps nobody else from being recorded."""
    numbers = [routed(store, key=key)[0] for key in "abc"]
    found, _ = taken(store, 9)
    assert store.work.claim(numbers[1], token="t9", worker="w9", at=130.0, lease=30.0) is not None
    finished = store.work.finish_all([(each, SUCCEEDED) for each in found], 131.0)
    assert [Finished(True, "succeeded"), Finished(False), Finished(True, "succeeded")] == finished
    assert ["succeeded", "running", "succeeded"] == [delivery_of(store, number)["status"] for number in numbers]


def test_events_are_routed_together(store: SqliteStore) -> None:
    """Those that somebody else has routed meanwhile are left out."""
    first, second, third = (store.inlet.add_event(event(key)).id for key in "abc")
    store.work.route(second, {"m.f": True}, 100.0)
    made = store.work.route_all({first: {"m.f": True, "m.g": True}, second: {"m.f": True}, third: {}}, 100.0)
    assert [(first, 2), (third, 0)] == [(number, len(deliveries)) for number, deliveries in made.items()]
    assert [] == store.work.unrouted(10)


def test_who_looked_at_the_clock_earlier_takes_nothing_over(store: SqliteStore) -> None:
    """Two workers want the same: the slower one may have read its clock first, while it waited for its turn."""
    (number,) = routed(store)
    assert [number] == [each.id for each in taken(store, 9, at=105.0)[0]]
    assert ([], False) == taken(store, 9, at=100.0, worker="w2")
    assert store.work.claim(number, token="t9", worker="w2", at=100.0, lease=30.0) is None
    assert ["running"] == results(store, number)
