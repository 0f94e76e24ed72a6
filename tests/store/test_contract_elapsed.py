"""The contract of the time that has passed: kept over restarts, and rows are as old as it says, whatever they bear."""

import sqlite3
from functools import partial

import pytest

from inbox.core.elapsed import Clocks, Look
from inbox.core.errors import StoreUnavailable
from inbox.store.protocols_retention import KINDS, Kind, What
from tests.support.stores import SqliteStore, event, held, in_threads, refusal, routed

DAY, HOUR = 86_400.0, 3600.0
NOW = 1_767_225_600.0


class Machine:
    """Its clocks: `wrong` is by how much the time of day is ahead."""

    def __init__(self, store: SqliteStore) -> None:
        self.store, self.passed, self.wrong, self.boot = store, 0.0, 0.0, "one"

    def clocks(self, *, synchronised: bool = False) -> Clocks:
        return Clocks(self.wall, 50.0 + self.passed, self.boot, synchronised)

    @property
    def wall(self) -> float:
        return NOW + self.passed + self.wrong

    def run(self, seconds: float) -> Look:
        """Let time pass, with a look every ten minutes, and return the last."""
        while True:
            found = self.store.timekeeping.look(self.clocks)
            if seconds <= 0:
                return found
            self.passed, seconds = self.passed + min(600.0, seconds), seconds - 600.0


def old(store: SqliteStore, kind: Kind, before: float) -> list[int]:
    """Return the rows of the source that are from before a known time."""
    return [id for id, _ in store.keeping.look(What(kind, "acme", before, ("received", "succeeded")), 0, 100).may]


def put(store: SqliteStore, machine: Machine, key: str) -> int:
    store.inlet.add_refusal(refusal(at=machine.wall))
    return store.inlet.add_event(event(key, at=machine.wall)).id


def test_what_is_known_outlives_the_process(store: SqliteStore) -> None:
    """Also that the clock is in doubt."""
    machine = Machine(store)
    machine.run(HOUR)
    machine.wrong = 40 * DAY
    assert "jumped" == machine.run(0).change
    again = store.open_timekeeping()
    machine.passed += 5.0
    found = again.look(machine.clocks)
    assert ("", True, 40 * DAY, NOW + HOUR + 5) == (
        found.change, found.passed.doubtful, found.passed.gap, found.passed.known,
    )  # fmt: skip
    looked = store.watch.look(machine.wall, 50.0).passed
    assert found.passed == looked


def test_looks_at_once_are_one_after_the_other(store: SqliteStore) -> None:
    """One of many threads finds the jump, and the known time is that of the clocks."""
    machine = Machine(store)
    machine.run(HOUR)
    machine.wrong = 40 * DAY
    others = [store.open_timekeeping() for _ in range(4)]
    found = in_threads([partial(others[n % 4].look, machine.clocks) for n in range(16)])
    assert ["", "jumped"] == sorted({look.change for look in found})
    assert 1 == [look.change for look in found].count("jumped")
    assert {NOW + HOUR} == {look.passed.known for look in found}


def test_a_row_of_a_time_that_went_by_too_slowly_is_not_old(store: SqliteStore) -> None:
    """The clock stood in 1970 when it came: neither then, nor once the clock is right, is it older than it is."""
    machine = Machine(store)
    machine.run(HOUR)
    machine.wrong = -NOW
    machine.run(0)
    number = put(store, machine, "early")
    machine.run(HOUR)
    machine.wrong = 0.0
    found = machine.run(HOUR)
    assert not found.passed.doubtful
    for kind in ("events", "refusals", "bodies"):
        assert [] == old(store, kind, found.passed.known - 3 * HOUR)
    found = machine.run(30 * DAY)
    assert [number] == old(store, "bodies", found.passed.known - 29 * DAY)
    assert [1] == old(store, "refusals", found.passed.known - 29 * DAY)
    assert [] == old(store, "bodies", found.passed.known - 31 * DAY)


def test_a_row_with_a_date_to_come_gets_old(store: SqliteStore) -> None:
    """The clock showed 2070 when it came: it goes when it is old enough, not in 2070."""
    machine = Machine(store)
    machine.run(HOUR)
    machine.wrong = 44 * 365 * DAY
    machine.run(0)
    number = put(store, machine, "late")
    machine.wrong = 0.0
    found = machine.run(10 * DAY)
    assert [] == old(store, "bodies", found.passed.known - 11 * DAY)
    assert [number] == old(store, "bodies", found.passed.known - 9 * DAY)


def test_what_was_stored_before_a_jump_that_stayed_is_as_old_as_it_is(store: SqliteStore) -> None:
    """Ten days, however far the clock jumped after the first five."""
    machine = Machine(store)
    machine.run(0)
    number = put(store, machine, "a")
    machine.run(5 * DAY)
    machine.wrong = 40 * DAY
    found = machine.run(5 * DAY)
    assert (NOW + 50 * DAY, False) == (found.passed.known, found.passed.doubtful)
    assert [] == old(store, "bodies", found.passed.known - 11 * DAY)
    assert [number] == old(store, "bodies", found.passed.known - 9 * DAY)


def test_time_in_which_the_machine_was_off_makes_older_if_the_owner_says_so(store: SqliteStore) -> None:
    """And only what was there before, not what came since."""
    machine = Machine(store)
    machine.run(0)
    before = put(store, machine, "a")
    machine.run(HOUR)
    machine.passed, machine.boot = machine.passed + 40 * DAY, "two"
    assert machine.run(600.0).passed.doubtful
    since = put(store, machine, "b")
    machine.run(600.0)
    found = store.timekeeping.confirm(machine.clocks, count=True)
    assert (machine.wall, False) == (found.passed.known, found.passed.doubtful)
    assert [before] == old(store, "bodies", found.passed.known - 39 * DAY)
    assert [] == old(store, "bodies", found.passed.known - 41 * DAY)
    assert [before, since] == old(store, "bodies", found.passed.known + 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_told_to_be_old_by_the_marks(store: SqliteStore, kind: Kind) -> None:
    """Not one trusts the date alone."""
    connection = store.keeping._connection  # type: ignore[attr-defined]
    statements: list[str] = []
    connection.database.conn.set_trace_callback(statements.append)
    old(store, kind, NOW)
    assert any("elapsed_marks" in statement for statement in statements)


def test_held_requests_expire_by_the_time_that_passed(store: SqliteStore) -> None:
    """One that came in 1970, or in 2070, by a clock that was wrong, is held for as long as any other."""
    machine = Machine(store)
    machine.run(HOUR)
    for wrong, body in ((-NOW, b"early"), (44 * 365 * DAY, b"late"), (0.0, b"right")):
        machine.wrong = wrong
        machine.run(0)
        store.inlet.add_refusal(held(body, at=machine.wall, seconds=DAY))
    known = machine.run(HOUR).passed.known
    assert 0 == store.work.expire(known)
    assert 0 == store.work.expire(machine.run(20 * HOUR).passed.known)
    assert 3 == store.work.expire(machine.run(6 * HOUR).passed.known)


@pytest.mark.parametrize(("wrong", "found"), [(0.0, 5 * DAY), (-NOW, 5 * DAY), (44 * 365 * DAY, 5 * DAY)])
def test_a_delivery_is_as_old_as_the_time_that_passed(store: SqliteStore, wrong: float, found: float) -> None:
    """Whatever date it bears; within the distance of two marks."""
    machine = Machine(store)
    machine.run(HOUR)
    machine.wrong = wrong
    (number,) = routed(store, at=machine.wall)
    created_at, machine.wrong = machine.wall, 0.0
    known = machine.run(5 * DAY).passed.known
    assert found == pytest.approx(store.timekeeping.age(number, created_at, known), abs=HOUR)


def test_a_key_is_free_again_only_when_its_event_is_old(store: SqliteStore) -> None:
    """A copy within the window is one, though the clock was wrong when the first came; a later one is not."""
    machine = Machine(store)
    machine.run(HOUR)
    machine.wrong = -NOW
    machine.run(0)
    put(store, machine, "same")
    machine.wrong = 0.0
    machine.run(600.0)

    def outcome() -> str:
        return store.inlet.add_event(event("same", at=machine.wall, since=machine.wall - DAY)).outcome

    assert "duplicate" == outcome()
    machine.run(2 * DAY)
    assert ["accepted", "duplicate"] == [outcome(), outcome()]


def test_a_key_from_a_time_to_come_is_free_again(store: SqliteStore) -> None:
    """It would be taken for decades else, and new events would be taken for copies."""
    machine = Machine(store)
    machine.run(HOUR)
    machine.wrong = 44 * 365 * DAY
    put(store, machine, "same")
    machine.wrong = 0.0
    machine.run(2 * DAY)
    found = store.inlet.add_event(event("same", at=machine.wall, since=machine.wall - DAY))
    assert "accepted" == found.outcome


def test_marks_are_few(store: SqliteStore) -> None:
    """One per minute of the last two hours, and one per hour: of a month less than a thousand."""
    machine = Machine(store)
    for _ in range(30 * 24):
        machine.run(HOUR)
    connection = sqlite3.connect(store.path)
    ((number,),) = connection.execute("SELECT count(*) FROM elapsed_marks").fetchall()
    ((widest,),) = connection.execute(
        "SELECT max(step) FROM (SELECT at - lag(at) OVER (ORDER BY id) AS step FROM elapsed_marks)"
    ).fetchall()
    connection.close()
    assert (True, True) == (700 < number < 1000, widest <= HOUR + 600)


def test_a_store_that_cannot_be_written_says_so(store: SqliteStore) -> None:
    """And knows what it knew."""
    machine = Machine(store)
    machine.run(HOUR)
    keeper = store.open_timekeeping()
    keeper._connection._patience = 0.03  # type: ignore[attr-defined]
    with store.locked(), pytest.raises(StoreUnavailable):
        keeper.look(machine.clocks)
    assert NOW + HOUR == machine.run(0).passed.known
