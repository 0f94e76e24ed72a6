"""The contract of what is held: kept within limits that a stranger cannot move, given back as it came, forgotten."""

import sqlite3
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest

from inbox.core.models import Held, Request
from inbox.store.protocols import Filter
from tests.support.stores import SqliteStore, event, held, in_threads, refusal


def bodies(store: SqliteStore, source: str = "acme") -> list[bytes]:
    return [request.body for _, _, request in store.archive.held(source, 0, 1000)]


def test_held_request_is_given_back_as_it_came(store: SqliteStore) -> None:
    """Every byte of it, with its time of receipt; the refusal is remembered as every refusal is."""
    assert store.inlet.add_refusal(held(b"\x00\xff", at=123.5)) is True
    ((_, at, request),) = store.archive.held("acme", 0, 10)
    assert (123.5, Request("PUT", "p", "q=1", (("x-id", "1"),), b"\x00\xff", "192.0.2.1")) == (at, request)
    assert ["mismatch"] == [row["reason"] for row in store.archive.refusals("acme", 10)]
    assert [("acme", 0, 1, 1)] == [
        (row["source"], row["events"], row["refusals"], row["held"]) for row in store.archive.sources()
    ]


def test_held_requests_are_listed_without_their_bodies(store: SqliteStore) -> None:
    """Oldest first, of one source or of all; what is dropped is gone from the list."""
    for source, body in (("acme", b"1"), ("other", b"22"), ("acme", b"333")):
        store.inlet.add_refusal(held(body, source=source, at=123.5))
    rows = store.archive.list_held("acme")
    assert [("acme", 123.5, "PUT", 1), ("acme", 123.5, "PUT", 3)] == [
        (row["source"], row["at"], row["method"], row["size"]) for row in rows
    ]
    assert [1, 2, 3] == [row["size"] for row in sorted(store.archive.list_held(None), key=lambda row: row["id"])]
    store.archive.drop_held(rows[0]["id"])
    assert [3] == [row["size"] for row in store.archive.list_held("acme")]


def test_refusal_that_is_not_to_be_held_is_not(store: SqliteStore) -> None:
    """Only what asks for it is kept."""
    assert store.inlet.add_refusal(refusal()) is False
    assert [] == bodies(store)


def test_held_is_bounded_in_number_per_source(store: SqliteStore) -> None:
    """What is held first stays, what comes later is not kept; another source has its own limit."""
    kept = [store.inlet.add_refusal(held(b"%d" % n, rows=3, network=f"192.0.2.{n}")) for n in range(6)]
    assert [True] * 3 + [False] * 3 == kept
    assert [b"0", b"1", b"2"] == bodies(store)
    assert store.inlet.add_refusal(held(source="other", rows=3)) is True


@pytest.mark.parametrize("part", ["body", "path", "query", "headers", "remote"])
def test_held_is_bounded_in_bytes_per_source(store: SqliteStore, part: str) -> None:
    """Each part of a request counts, as the bytes that it takes."""
    large = {"body": b"x" * 4000, "headers": (("a", "x" * 4000),)}.get(part, "é" * 2000)
    for n in range(4):
        request = Request().replace(**{part: large})
        store.inlet.add_refusal(replace(refusal(), held=Held(request, 150.0, 9, 10_000, network=f"192.0.2.{n}")))
    assert 2 == len(bodies(store))
    assert store.inlet.add_refusal(held(b"small", size=10_000, network="192.0.2.9")) is True


def test_held_is_shared_by_addresses(store: SqliteStore) -> None:
    """One address gets half, the next half of the rest, and each one at least; nothing that is held goes for that."""
    for network, expected in (("a", 8), ("b", 4), ("c", 2), ("d", 1), ("e", 1), ("f", 0)):
        kept = [store.inlet.add_refusal(held(network.encode(), rows=16, network=network)) for _ in range(20)]
        assert [True] * expected + [False] * (20 - expected) == kept
    assert [b"a"] * 8 + [b"b"] * 4 + [b"c"] * 2 + [b"d", b"e"] == bodies(store)
    assert store.inlet.add_refusal(held(source="other", rows=16, network="a")) is True


def test_bytes_of_held_are_shared_by_addresses(store: SqliteStore) -> None:
    """A body as large as the whole place is held if it is the first; else an address gets half."""
    assert store.inlet.add_refusal(held(b"x" * 9000, source="one", size=10_000, network="a")) is True
    kept = [store.inlet.add_refusal(held(b"x" * 900, rows=99, size=10_000, network="a")) for _ in range(9)]
    assert 4 == sum(kept)
    assert [True] * 2 == [store.inlet.add_refusal(held(b"x" * 900, rows=99, size=10_000, network="b")) for _ in "12"]


def test_held_at_once_stay_within_the_limit(store: SqliteStore) -> None:
    """Of 16 threads on two connections exactly as many are kept as may be."""
    inlets = [store.inlet, store.open_inlet()]
    requests = [held(rows=5, network=str(n)) for n in range(16)]
    kept = in_threads([partial(inlets[n % 2].add_refusal, requests[n]) for n in range(16)])
    assert Counter({True: 5, False: 11}) == Counter(kept)
    assert 5 == len(bodies(store))


def test_held_expires(store: SqliteStore) -> None:
    """After its time it is forgotten, not before; each request has its own time."""
    for seconds in (10.0, 20.0):
        store.inlet.add_refusal(held(b"%d" % seconds, seconds=seconds))
    assert (0, 1, 0) == (store.work.expire(109.9), store.work.expire(110.1), store.work.expire(110.1))
    assert [b"20"] == bodies(store)
    assert 1 == store.work.expire(1e9)


def test_expired_makes_room_without_a_sweep(store: SqliteStore) -> None:
    """Where no worker runs, the next request that is to be held takes the place of what had its time."""
    store.inlet.add_refusal(held(b"old", rows=1))
    assert store.inlet.add_refusal(held(b"early", rows=1, at=149.0)) is False
    assert store.inlet.add_refusal(held(b"new", rows=1, at=150.1)) is True
    assert [b"new"] == bodies(store)


def test_held_is_read_in_pages_and_dropped_one_by_one(store: SqliteStore) -> None:
    """Oldest first, behind the last one seen; dropping twice does no harm."""
    for n in range(5):
        store.inlet.add_refusal(held(b"%d" % n, rows=99))
        store.inlet.add_refusal(held(source="other", rows=99))
    first = store.archive.held("acme", 0, 2)
    second = store.archive.held("acme", first[-1][0], 2)
    assert [b"0", b"1", b"2", b"3"] == [request.body for _, _, request in first + second]
    for held_id in (first[0][0], first[0][0], second[0][0]):
        store.archive.drop_held(held_id)
    assert [b"1", b"3", b"4"] == bodies(store)
    assert 5 == len(bodies(store, "other"))


def test_what_is_dropped_does_not_linger_in_the_file(store: SqliteStore) -> None:
    """A secret that was held with its request is gone from the file with it."""
    for n in range(20):
        store.inlet.add_refusal(held(b"wh_secret %d " % n * 1000))
    for held_id, _, _ in store.archive.held("acme", 0, 10):
        store.archive.drop_held(held_id)
    store.work.expire(1e9)
    store.close()
    sqlite3.connect(store.path).close()
    assert b"wh_secret" not in b"".join(path.read_bytes() for path in store.folder.glob("inbox.db*"))


def test_same_content_under_another_key_is_a_conflict_where_the_key_is_not_proven(store: SqliteStore) -> None:
    """It may be a captured request; however many keys are tried, that is one row which counts them."""
    first = store.inlet.add_event(event("k0", bound=True))
    copies = [store.inlet.add_event(event(f"k{n}", bound=True)) for n in range(1, 50)]
    assert {("conflict", first.id + 1, False)} == {(item.outcome, item.id, item.wake) for item in copies}
    row = store.archive.event(first.id + 1)
    assert ("conflict", first.id, "k1", 48) == tuple(row[n] for n in ("status", "conflict_of", "key", "duplicates"))
    assert 2 == store.archive.count(Filter())


def test_bound_key_with_its_own_content_is_as_every_key(store: SqliteStore) -> None:
    """A retry is a duplicate, another content under another key is another event, another source is another source."""
    outcomes = [
        store.inlet.add_event(event(key, body, source=source, bound=True)).outcome
        for key, body, source in (("a", b"1", "x"), ("a", b"1", "x"), ("b", b"2", "x"), ("b", b"1", "y"))
    ]
    assert ["accepted", "duplicate", "accepted", "accepted"] == outcomes


@pytest.mark.parametrize(("first", "second"), [(False, False), (True, False), (False, True)])
def test_content_is_bound_only_where_neither_key_is_proven(store: SqliteStore, first: bool, second: bool) -> None:
    """A proven id tells equal contents apart."""
    assert "accepted" == store.inlet.add_event(event("a", bound=first)).outcome
    assert "accepted" == store.inlet.add_event(event("b", bound=second)).outcome


def test_bound_copies_at_once_are_one_event_and_one_conflict(store: SqliteStore) -> None:
    """Of 16 threads with one content under 16 keys one is accepted."""
    stored = in_threads([partial(store.inlet.add_event, event(f"k{n}", bound=True)) for n in range(16)])
    assert Counter(accepted=1, conflict=15) == Counter(item.outcome for item in stored)
    assert 2 == store.archive.count(Filter())


def test_content_is_bound_for_the_dedupe_window(store: SqliteStore) -> None:
    """Beyond it the first event counts neither for its key nor for its content: the sender may mean it again."""
    store.inlet.add_event(event("a", bound=True, at=100.0, since=0.0))
    assert "conflict" == store.inlet.add_event(event("b", bound=True, at=190.0, since=90.0)).outcome
    assert "accepted" == store.inlet.add_event(event("c", bound=True, at=201.0, since=101.0)).outcome


def test_late_event_is_compared_within_its_own_window(store: SqliteStore) -> None:
    """What was held is no copy of an event that came long after it; stored twice it is a copy of itself."""
    new = store.inlet.add_event(event(at=1000.0, since=900.0))
    near = store.inlet.add_event(event(at=950.0, since=850.0, until=1050.0))
    late = store.inlet.add_event(event(at=500.0, since=400.0, until=600.0))
    again = store.inlet.add_event(event(at=500.0, since=400.0, until=600.0))
    assert [("accepted", new.id), ("duplicate", new.id), ("accepted", late.id), ("duplicate", late.id)] == [
        (item.outcome, item.id) for item in (new, near, late, again)
    ]
    assert (True, True) == (late.wake, again.wake)
    assert [late.id, new.id] == [row["id"] for row in store.archive.events(Filter(), 10)]
    assert "duplicate" == store.inlet.add_event(event(at=1050.0, since=950.0)).outcome


def test_late_event_with_other_content_than_its_time_had_is_a_conflict(store: SqliteStore) -> None:
    """Also of an event whose key has been set free since."""
    old = store.inlet.add_event(event(at=500.0, since=400.0))
    store.inlet.add_event(event(at=1000.0, since=900.0))
    conflict = store.inlet.add_event(event(body=b"other", at=550.0, since=450.0, until=650.0))
    assert ("conflict", old.id) == (conflict.outcome, store.archive.event(conflict.id)["conflict_of"])


def test_clock_that_was_set_back_makes_no_event_late(store: SqliteStore) -> None:
    """A copy that seems to come before its event is a copy: only what was held has an end of its window."""
    store.inlet.add_event(event(at=10_000.0, since=9_900.0))
    assert "duplicate" == store.inlet.add_event(event(at=500.0, since=400.0)).outcome
