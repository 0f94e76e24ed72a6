"""The contract of failing: locked, full or broken underneath, a method raises StoreUnavailable and has done nothing.

Every method that writes is in WRITES, every method that only reads in READS.
"""

import time
from collections.abc import Callable
from typing import Any

import pytest

from inbox.core.errors import StoreUnavailable
from inbox.core.models import NewEvent
from inbox.store.protocols import Archive, Filter, Inlet, Outcome, Work
from inbox.store.protocols_actions import Acting, ActionStep, Checked
from inbox.store.protocols_routing import PacedWriter, Worker
from tests.support.stores import HELD, SqliteStore, begun, claimed, event, handler, held, invalid, routed

Call = Callable[[SqliteStore], Any]

STEP = ActionStep(
    action=1, begun=0, ended=3, last=False, number=1, checked=[Checked(3, "unhandled", "t" * 20_000, None)]
)

WRITES: dict[str, Call] = {
    "Inlet.add_event": lambda store: store.inlet.add_event(event("new", b"x" * 20_000)),
    "Inlet.add_refusal": lambda store: store.inlet.add_refusal(held(b"x" * 20_000)),
    "Inlet.probe": lambda store: store.inlet.probe(),
    "Inlet.submit": lambda store: submitted(store, event("new", b"x" * 20_000)),
    "Work.remember": lambda store: store.work.remember([handler("m.f"), handler("n.f")], 200.0),
    "Work.route": lambda store: store.work.route(1, {f"m.f{n}": True for n in range(200)}, 100.0),
    "Work.claim": lambda store: store.work.claim(2, token="t2", worker="w" * 20_000, at=100.0, lease=30.0),
    "Work.heartbeat": lambda store: store.work.heartbeat(1, "t1", 500.0),
    "Work.route_all": lambda store: store.work.route_all({1: {f"m.f{n}": True for n in range(200)}}, 100.0),
    "Work.take": lambda store: store.work.take(Worker("w" * 20_000, lambda: "t2", 100.0, 100.0, 30.0), 1),
    "Work.give_back": lambda store: store.work.give_back([HELD]),
    "Work.finish_all": lambda store: store.work.finish_all(
        [(HELD, Outcome("dead", "error", error="x" * 20_000))], 101.0
    ),
    "Work.finish": lambda store: store.work.finish(1, "t1", Outcome("dead", "error", error="x" * 20_000), 101.0),
    "Work.expire": lambda store: store.work.expire(200.0),
    "Work.set_back": lambda store: store.work.set_back(0.0),
    "Archive.drop_held": lambda store: store.archive.drop_held(1),
    "Archive.replay": lambda store: store.archive.replay(3, "m.f", can_run=True, replay_id=1, at=100.0),
    "Acting.begin": lambda store: begun(store, why="x" * 20_000),
    "Acting.step": lambda store: store.acting.step(STEP, at=200.0, held_until=0.0),
    "Acting.hold": lambda store: store.acting.hold(1, 50.0),
    "Acting.stop": lambda store: store.acting.stop(1, at=2.0, who="ann"),
    "Acting.fail": lambda store: store.acting.fail(1, at=2.0, error="x" * 20_000),
    "Acting.pause": lambda store: store.acting.pause("source", "acme", at=1.0, who="ann", why="x" * 20_000),
    "Acting.resume": lambda store: store.acting.resume("handler", "m.f", at=1.0, who="ann"),
    "Acting.free": lambda store: store.acting.free(10),
}
LARGE = (
    "Inlet.add_event",
    "Inlet.submit",
    "Inlet.add_refusal",
    "Work.route",
    "Work.route_all",
    "Work.claim",
    "Work.take",
    "Work.finish",
    "Work.finish_all",
    "Acting.begin",
    "Acting.step",
    "Acting.fail",
    "Acting.pause",
)
"""Those that need more than a page here."""

READS: dict[str, Call] = {
    "Work.handlers": lambda store: store.work.handlers(),
    "PacedWriter.give_way": lambda store: store.work.give_way(100.0),
    "Work.heads": lambda store: store.work.heads(10),
    "Work.holds": lambda store: store.work.holds(1, "t1", 101.0),
    "Work.unrouted": lambda store: store.work.unrouted(10),
    "Work.waiting": lambda store: store.work.waiting(1e9, 10),
    "Archive.events": lambda store: store.archive.events(Filter(), 10),
    "Archive.count": lambda store: store.archive.count(Filter()),
    "Archive.event": lambda store: store.archive.event(1),
    "Archive.find": lambda store: store.archive.find("r1"),
    "Archive.request": lambda store: store.archive.request(1),
    "Archive.sources": lambda store: store.archive.sources(),
    "Archive.backlog": lambda store: store.archive.backlog(),
    "Archive.refusals": lambda store: store.archive.refusals(None, 10),
    "Archive.held": lambda store: store.archive.held("acme", 0, 10),
    "Archive.list_held": lambda store: store.archive.list_held("acme"),
    "Archive.handlers": lambda store: store.archive.handlers(),
    "Acting.newest": lambda store: store.acting.newest(),
    "Acting.action": lambda store: store.acting.action(1),
    "Acting.actions": lambda store: store.acting.actions(10),
    "Acting.next": lambda store: store.acting.next(1.0),
    "Acting.pauses": lambda store: store.acting.pauses(),
    "Acting.left": lambda store: store.acting.left(),
}


def submitted(store: SqliteStore, new: NewEvent) -> Any:
    """Submit an event, and do what a caller does that cannot wait: look now and then for whose time is up."""
    found: list[Any] = []
    store.inlet.submit(new, lambda result, error: found.append(error or result))
    while not found:
        time.sleep(0.01)
        store.inlet.give_up_late()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


@pytest.fixture
def busy(impatient: SqliteStore) -> SqliteStore:
    """A store with something of everything: event 1 is unrouted, delivery 1 of event 2 runs, event 3 is quarantined."""
    impatient.inlet.add_event(event("first"))
    routed(impatient, "m.f", "m.g", key="second")
    claimed(impatient, 1)
    impatient.inlet.add_event(invalid("third"))
    impatient.inlet.add_refusal(held())
    begun(impatient)
    impatient.acting.pause("handler", "m.f", at=1.0, who="ann", why="")
    impatient.acting.pause("handler", "m.gone", at=1.0, who="ann", why="")
    impatient.acting.resume("handler", "m.gone", at=1.0, who="ann")
    impatient.work.remember([handler("m.f")], 100.0)
    return impatient


def methods(role: type) -> set[str]:
    """Return the public methods of a protocol, by role."""
    return {f"{role.__name__}.{name}" for name in vars(role) if not name.startswith("_") and name != "close"}


def test_every_method_is_tested() -> None:
    """A method that is added to a role belongs into one of the two tables."""
    assert set().union(*map(methods, (Inlet, Work, PacedWriter, Archive, Acting))) == {
        *WRITES,
        *READS,
        "Inlet.give_up_late",
    }


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("trouble", ["locked", "read_only", "no_writing"])
def test_trouble_is_unavailable_and_changes_nothing(busy: SqliteStore, trouble: str, name: str) -> None:
    """Another program's lock, a database that cannot be changed, a disk that refuses: and works again afterwards."""
    _ = busy.inlet, busy.work, busy.archive, busy.acting
    before = busy.dump()
    with getattr(busy, trouble)(), pytest.raises(StoreUnavailable):
        WRITES[name](busy)
    assert before == busy.dump()
    WRITES[name](busy)
    assert before != busy.dump()


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("trouble", ["full", "nearly_full"])
def test_full_disk_is_unavailable_and_leaves_no_half(busy: SqliteStore, trouble: str, name: str) -> None:
    """What does not fit entirely is not there at all, whether the disk was full before or became so in the middle."""
    _ = busy.inlet, busy.work, busy.archive, busy.acting
    before = busy.dump()
    with getattr(busy, trouble)(), pytest.raises(StoreUnavailable):
        WRITES[name](busy)
    assert before == busy.dump()
    WRITES[name](busy)
    assert before != busy.dump()


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("trouble", ["locked", "read_only", "no_writing", "full"])
def test_reading_goes_on_in_trouble(busy: SqliteStore, trouble: str, name: str) -> None:
    """Whatever keeps the writers waiting, readers see what they saw before."""
    expected = READS[name](busy)
    _ = busy.inlet, busy.work, busy.archive, busy.acting
    with getattr(busy, trouble)():
        assert expected == READS[name](busy)


def test_locked_store_can_be_opened_and_read(busy: SqliteStore) -> None:
    """Looking at the inbox works while a long write goes on."""
    with busy.locked():
        assert 2 == len(busy.open_work().waiting(1e9, 10))
        assert 3 == busy.archive.count(Filter())


def test_event_refused_on_a_full_disk_is_accepted_later(busy: SqliteStore) -> None:
    """The sender's next try is told "accepted", not "duplicate", and other events are as they were."""
    new = event("large", b"x" * (1 << 20))
    with busy.full(), pytest.raises(StoreUnavailable):
        busy.inlet.add_event(new)
    stored = busy.inlet.add_event(new)
    assert ("accepted", new.request) == (stored.outcome, busy.archive.request(stored.id))
    assert "duplicate" == busy.inlet.add_event(event("first")).outcome
