"""Retention: what may go and what must not, in the order body, attempts, event, key; and dedupe outlives the event."""

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from inbox.core.errors import NotFound, StoreUnavailable
from inbox.store.protocols import Filter, Outcome
from inbox.store.protocols_retention import Kind, What
from tests.support.stores import SqliteStore, claimed, event, invalid, refusal, routed

SECRET = b"what nobody may read any more " * 300


def prune(store: SqliteStore, kind: Kind, *, before: float = 150.0, source: str = "acme") -> int:
    """Let everything of one kind go that may, page by page, and return how many rows that were."""
    what, after, gone = What(kind, source, before), 0, 0
    while (page := store.keeping.look(what, after, 2)).last is not None:
        after = page.last
        gone += store.keeping.prune(what, [id for id, _ in page.may], 200.0)
    return gone


def finished(
    store: SqliteStore, key: str = "k1", body: bytes = b"{}", *, status: str = "succeeded", at: float = 100.0
) -> int:
    """Store an event that was handled at once, and return its id."""
    number = store.inlet.add_event(event(key, body, at=at)).id
    (delivery,) = store.work.route(number, {"m.f": True}, at)
    claimed(store, delivery, f"t{delivery}", at=at)
    store.work.finish(delivery, f"t{delivery}", Outcome(status, status, error="e" * 50), at + 1)
    return number


def test_body_goes_first_and_the_event_stays_visible(store: SqliteStore) -> None:
    """It says when its body was pruned; a replay is refused and says why; a copy is still a duplicate."""
    number = finished(store)
    assert 1 == prune(store, "bodies")
    (row,) = store.archive.events(Filter(), 9)
    found = store.archive.event(number)
    assert (200.0, "succeeded", False) == (row["body_pruned_at"], row["status"], "request" in found)
    assert ["succeeded"] == [run["result"] for run in found["deliveries"][0]["runs"]]
    with pytest.raises(NotFound, match="there is no body of an event 1; if there was one, it was pruned"):
        store.archive.request(number)
    with pytest.raises(NotFound, match="the body of event 1 was pruned: it cannot be run again"):
        store.archive.replay(number, "m.f", can_run=True, replay_id=1, at=300.0)
    assert [] == store.work.waiting(1e9, 9)
    assert "duplicate" == store.inlet.add_event(event("k1", b"{}", at=300.0)).outcome
    assert "conflict" == store.inlet.add_event(event("k1", b"other", at=300.0)).outcome


def test_attempts_go_without_their_delivery(store: SqliteStore) -> None:
    """What became of it stays."""
    number = finished(store)
    assert 1 == prune(store, "attempts")
    (delivery,) = store.archive.event(number)["deliveries"]
    assert ("succeeded", []) == (delivery["status"], delivery["runs"])


def test_event_goes_and_its_key_stays(store: SqliteStore) -> None:
    """It is neither listed, counted, shown nor replayed; its copies are duplicates until the key goes, then new."""
    number = finished(store)
    assert 0 == prune(store, "events")  # not before its body
    assert (1, 1) == (prune(store, "bodies"), prune(store, "events"))
    assert ([], 0, []) == (store.archive.events(Filter(), 9), store.archive.count(Filter()), store.archive.sources())
    with pytest.raises(NotFound, match="event 1 was pruned: only its key is left"):
        store.archive.event(number)
    with pytest.raises(NotFound, match="cannot be run again"):
        store.archive.replay(number, "m.f", can_run=True, replay_id=1, at=300.0)
    assert "duplicate" == store.inlet.add_event(event("k1", b"{}", at=300.0)).outcome
    assert 1 == prune(store, "event_keys")
    again = store.inlet.add_event(event("k1", b"{}", at=400.0))
    assert ("accepted", True) == (again.outcome, again.id > number)


def test_key_stays_while_a_conflict_names_it(store: SqliteStore) -> None:
    """Or the conflict would not say with what."""
    finished(store)
    conflict = store.inlet.add_event(event("k1", b"other", at=100.0))
    prune(store, "bodies")
    assert (1, 0) == (prune(store, "events"), prune(store, "event_keys"))
    assert 1 == store.archive.event(conflict.id)["conflict_of"]


STAYING: dict[str, Callable[[SqliteStore], object]] = {
    "received": lambda store: store.inlet.add_event(event()),
    "processing": lambda store: routed(store),
    "running": lambda store: claimed(store, routed(store)[0]),
    "parked": lambda store: store.work.route(store.inlet.add_event(event()).id, {"m.f": False}, 100.0),
    "dead": lambda store: finished(store, status="dead"),
    "quarantined": lambda store: store.inlet.add_event(invalid()),
    "young": lambda store: finished(store, at=150.0),
    "another source's": lambda store: store.inlet.add_event(event(source="other")),
    "succeeded, but replayed": lambda store: store.archive.replay(
        finished(store), "m.f", can_run=True, replay_id=1, at=1.0
    ),
}


@pytest.mark.parametrize("why", STAYING)
def test_what_is_not_finished_or_old_stays(store: SqliteStore, why: str) -> None:
    """In all its parts."""
    STAYING[why](store)
    before = store.dump()
    assert [0, 0, 0, 0] == [prune(store, kind) for kind in ("bodies", "attempts", "events", "event_keys")]
    assert before == store.dump()


def test_what_came_between_look_and_prune_is_looked_at_again(store: SqliteStore) -> None:
    """Somebody replays or keeps the event meanwhile: its body stays."""
    what = What("bodies", "acme", 150.0)
    numbers = [finished(store, key) for key in ("replayed", "kept", "neither")]
    ids = [id for id, _ in store.keeping.look(what, 0, 9).may]
    store.archive.replay(numbers[0], "m.f", can_run=True, replay_id=1, at=300.0)
    store.keeping.keep(Filter(), [numbers[1]], at=1.0, who="me", why="")
    assert (numbers, 1) == (ids, store.keeping.prune(what, ids, 200.0))
    assert [None, None, 200.0] == [store.archive.event(number)["body_pruned_at"] for number in numbers]


def test_kept_events_stay_and_are_counted(store: SqliteStore) -> None:
    """With who and why; by id and by filter; afterwards they may go again."""
    first, second, third = (finished(store, key) for key in ("a", "b", "c"))
    keeping = store.keeping
    assert 1 == keeping.keep(Filter(), [second], at=5.0, who="ann", why="case 7")
    assert (2, 0) == (
        keeping.keep(Filter(source="acme"), [], at=6.0, who="bob", why=""),
        keeping.keep(Filter(source="acme"), [], at=7.0, who="bob", why=""),
    )
    assert 0 == keeping.keep(Filter(source="other"), [], at=6.0, who="bob", why="")
    assert [0, 0] == [prune(store, "bodies"), prune(store, "attempts")]
    assert 3 == store.keeping.look(What("bodies", "acme", 150.0), 0, 9).kept
    assert [(third, "bob"), (first, "bob"), (second, "ann")] == [(row["id"], row["who"]) for row in keeping.kept(9)]
    assert {"at": 5.0, "who": "ann", "why": "case 7"} == store.archive.event(second)["kept"]
    assert (1, 0) == (keeping.unkeep(Filter(), [second]), keeping.unkeep(Filter(), [second]))
    assert 2 == keeping.unkeep(Filter(source="acme"), [])
    assert (3, None) == (prune(store, "bodies"), store.archive.event(second)["kept"])


def test_refusals_go_by_age(store: SqliteStore) -> None:
    """Those of other sources stay."""
    for at, source in ((100.0, "acme"), (160.0, "acme"), (100.0, "")):
        store.inlet.add_refusal(refusal(source, at=at))
    assert 1 == prune(store, "refusals")
    assert [("", 100.0), ("acme", 160.0)] == [(row["source"], row["at"]) for row in store.archive.refusals(None, 9)]


def test_what_is_beyond_the_newest_is_found_by_source(store: SqliteStore) -> None:
    """What stays counts, what was pruned does not, and nobody else's."""
    for number in range(4):
        finished(store, f"k{number}")
    store.inlet.add_event(event("other", source="other", at=100.0))
    beyond = store.keeping.beyond
    assert [4, 3, 1, 0, 0] == [beyond("events", "acme", count) for count in (0, 1, 3, 4, 99)]
    assert [4, 1, 0] == [beyond("attempts", "acme", count) for count in (0, 3, 4)]
    assert [5, 0, 0] == [beyond(kind, "other", 0) for kind in ("events", "attempts", "refusals")]
    what = What("bodies", "acme", 150.0, upto=2)
    page = store.keeping.look(what, 0, 9)
    assert ([1, 2], True) == ([id for id, _ in page.may], page.older)
    assert False is store.keeping.look(what, 2, 9).older
    assert 2 == store.keeping.prune(what, [1, 2, 3], 200.0)
    assert 2 == store.keeping.prune(What("events", "acme", 150.0, upto=2), [1, 2, 3], 200.0)
    assert [3, 0] == [beyond("events", "acme", count) for count in (1, 2)]
    assert [3, 0] == [beyond("attempts", "acme", count) for count in (1, 2)]


def test_refusals_beyond_number_or_bytes_are_found(store: SqliteStore) -> None:
    """The newest is never beyond the bytes, however large."""
    for at in (100.0, 101.0, 102.0):
        store.inlet.add_refusal(refusal(at=at, padding=1000))
    keeping = store.keeping
    assert [2, 1, 0] == [keeping.beyond("refusals", "acme", count) for count in (1, 2, 3)]
    assert [2, 1, 0, 2, 0] == [keeping.beyond_bytes("acme", size) for size in (1500, 2500, 9999, 1, 10**6)]
    assert 0 == keeping.beyond_bytes("other", 1)
    assert 1 == keeping.prune(What("refusals", "acme", 1e9, upto=1), [1, 2, 3], 200.0)


@pytest.mark.parametrize("why", [why for why in STAYING if why not in ("young", "another source's")])
def test_what_must_stay_is_not_pushed_out(store: SqliteStore, why: str) -> None:
    """By no size: what is not finished, or has a status that stays."""
    STAYING[why](store)
    before = store.dump()
    assert [0, 0, 0] == [prune(store, kind, before=float("inf")) for kind in ("bodies", "attempts", "events")]
    assert before == store.dump()


def test_sources_and_bytes_of_bodies(store: SqliteStore) -> None:
    """Sources that anything is stored of; bodies that are there."""
    finished(store, "a", body=b"x" * 700)
    finished(store, "b", body=b"y" * 300, at=170.0)
    store.inlet.add_refusal(refusal("refused"))
    stripped = store.inlet.add_event(event("c", source="stripped", at=100.0)).id
    store.work.route(stripped, {}, 100.0)
    assert [1, 1] == [prune(store, kind, source="stripped") for kind in ("bodies", "events")]
    assert ["acme", "refused", "stripped"] == store.keeping.sources()
    assert 1000 == store.keeping.body_bytes("acme")
    prune(store, "bodies")
    assert (300, 0) == (store.keeping.body_bytes("acme"), store.keeping.body_bytes("refused"))


def test_pruned_bodies_are_gone_from_the_files(store: SqliteStore) -> None:
    """Not only from the tables: nothing of one is left in the database, and in its log not after it began anew."""
    finished(store, "secret", SECRET)
    finished(store, "other")
    assert SECRET[:60] in b"".join(path.read_bytes() for path in store.folder.glob("inbox.db*"))
    assert 2 == prune(store, "bodies")
    store.close()
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert SECRET[:60] not in b"".join(path.read_bytes() for path in store.folder.glob("inbox.db*"))


def test_room_is_given_back_in_steps(store: SqliteStore) -> None:
    """The file of a new inbox becomes smaller while it is used."""
    for number in range(20):
        finished(store, f"k{number}", b"x" * 100_000)
    before = store.keeping.space()
    prune(store, "bodies")
    freed = store.keeping.space()
    while store.keeping.give_back(50):
        pass
    after = store.keeping.space()
    assert (True, before.total, 0) == (freed.in_steps, freed.total, after.free)
    assert (True, True) == (freed.free > 1_900_000, before.total - after.total > 1_900_000)
    assert 20 == store.archive.count(Filter())


def test_locked_store_says_so(impatient: SqliteStore) -> None:
    """And nothing is gone."""
    number = finished(impatient)
    calls: list[Callable[[], object]] = [
        lambda: impatient.keeping.prune(What("bodies", "acme", 150.0), [number], 200.0),
        lambda: impatient.keeping.give_back(1),
        lambda: impatient.keeping.keep(Filter(), [number], at=1.0, who="", why=""),
        lambda: impatient.keeping.unkeep(Filter(), [number]),
    ]
    before = impatient.dump()
    with impatient.locked():
        for call in calls:
            with pytest.raises(StoreUnavailable):
                call()
    assert before == impatient.dump()
