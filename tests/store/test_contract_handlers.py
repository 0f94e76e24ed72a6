"""The contract of remembering handlers: enough to route to them without importing, also when a module is broken."""

from inbox.core.handles import Handles
from inbox.core.models import HandlerSpec
from inbox.store.protocols import Outcome
from tests.support.stores import SqliteStore, claimed, event, handler, routed

BROKEN = handler("m", failure="Traceback: no \udc80 module")


def names(store: SqliteStore) -> list[str]:
    """Return the names of the remembered handlers, those of a failed module with a "!"."""
    return [f"{'!' if spec.failure else ''}{spec.name}" for spec in store.work.handlers()]


def test_loaded_handlers_are_remembered_with_their_marks(store: SqliteStore) -> None:
    """Name, module and every setting come back, to the worker and to the owner."""
    spec = HandlerSpec("m.f", "m", (Handles("a*", "x.?", 3, 1.5, 0.0, 7.0, 9.0), Handles("b")))
    store.work.remember([spec, handler("m.a")], 100.0)
    assert [handler("m.a"), spec] == store.work.handlers() == store.archive.handlers()


def test_handlers_of_a_failed_module_stay_remembered(store: SqliteStore) -> None:
    """They keep their marks and show the failure; a later load clears it."""
    store.work.remember([handler("m.f"), handler("o.g")], 100.0)
    store.work.remember([BROKEN, handler("o.g")], 101.0)
    failed, other = store.work.handlers()
    assert ("m.f", handler("m.f").marks, "Traceback: no \\udc80 module") == (failed.name, failed.marks, failed.failure)
    assert handler("o.g") == other
    store.work.remember([handler("m.f")], 102.0)
    assert ["m.f"] == names(store)


def test_module_that_never_loaded_adds_no_handler(store: SqliteStore) -> None:
    """What it would handle is not known."""
    store.work.remember([BROKEN], 100.0)
    assert [] == names(store)


def test_handlers_that_are_not_named_are_removed(store: SqliteStore) -> None:
    """A function that is gone is no longer remembered, and is again when it is back."""
    store.work.remember([handler("m.f"), handler("m.g")], 100.0)
    store.work.remember([handler("m.f")], 101.0)
    assert ["m.f"] == names(store)
    store.work.remember([handler("m.f"), handler("m.g")], 102.0)
    assert ["m.f", "m.g"] == names(store)


def test_failure_does_not_bring_back_what_was_removed(store: SqliteStore) -> None:
    """A function that was deleted before its module broke gets no deliveries, which nobody would ever run."""
    store.work.remember([handler("m.f"), handler("m.g")], 100.0)
    store.work.remember([handler("m.f")], 101.0)
    store.work.remember([BROKEN], 102.0)
    assert ["!m.f"] == names(store)


def test_loading_unparks(store: SqliteStore) -> None:
    """Deliveries parked for a handler that loaded are due now; those for others stay parked."""
    number = store.inlet.add_event(event()).id
    store.work.route(number, {"m.f": False, "o.g": False}, 100.0)
    store.work.remember([handler("m.f")], 200.0)
    assert [("m.f", "pending", 200.0), ("o.g", "parked", 100.0)] == [
        (row["handler"], row["status"], row["due_at"]) for row in store.archive.event(number)["deliveries"]
    ]
    assert [200.0] == [at for _, at in store.work.waiting(200.0, 10)]


def test_loading_leaves_other_deliveries_alone(store: SqliteStore) -> None:
    """A retry keeps its time, what has ended stays so."""
    retrying, ended = routed(store, "m.f")[0], routed(store, "m.f", key="k2")[0]
    claimed(store, retrying)
    store.work.finish(retrying, "t1", Outcome("retrying", "error", due_at=900.0), 100.0)
    claimed(store, ended, "t2")
    store.work.finish(ended, "t2", Outcome("dead", "error"), 100.0)
    store.work.remember([handler("m.f")], 200.0)
    assert [(retrying, 900.0)] == store.work.waiting(1e9, 10)
