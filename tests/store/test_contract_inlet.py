"""The contract of Inlet: one row per event whatever arrives how often, and refusals that cannot fill the disk."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from inbox.core.models import Request, Stored
from inbox.store.protocols import Filter
from inbox.store.sql.refusals import REFUSAL_BYTES_PER_SOURCE, REFUSALS_PER_SOURCE
from tests.support.stores import SqliteStore, event, in_processes, in_threads, invalid, refusal


def test_event_is_accepted_and_stored_as_it_came(store: SqliteStore) -> None:
    """Everything about a new event can be read back."""
    new = event(at=123.5)
    stored = store.inlet.add_event(new)
    assert stored == Stored("accepted", stored.id, wake=True)
    row = store.archive.event(stored.id)
    assert ("acme", "k1", "order.paid", "received") == (row["source"], row["key"], row["type"], row["status"])
    assert (123.5, 8, "test", [], 0) == tuple(
        row[name] for name in ("received_at", "size", "verified_by", "violations", "duplicates")
    )
    assert new.body_digest.hex() == row["body_digest"]
    assert new.request == store.archive.request(stored.id)


@pytest.mark.parametrize(
    "request_",
    [
        Request(body=b""),
        Request(body=b"\x00\xff\xfe\x80 no text"),
        Request(body="🎉".encode() * (1 << 18)),
        Request("GET", path="nul\x00path 🎉", query="a=%00&b=\x00", headers=(("x-é", "\x00\xff"),), remote="::1"),
        Request(headers=(("twice", "1"), ("twice", "2"), ("lone", "\udc80"))),
    ],
    ids=["empty", "not UTF-8", "1 MiB", "NUL and emoji", "repeated and lone surrogate"],
)  # fmt: skip
def test_request_is_kept_byte_by_byte(store: SqliteStore, request_: Request) -> None:
    """NUL, emoji, a large body and bytes that are no text come back unchanged."""
    stored = store.inlet.add_event(event("\x00🎉 key", type="\x00🎉 type", request=request_))
    assert request_ == store.archive.request(stored.id)
    row = store.archive.event(stored.id)
    assert ("\x00🎉 key", "\x00🎉 type", len(request_.body)) == (row["key"], row["type"], row["size"])
    assert "duplicate" == store.inlet.add_event(event("\x00🎉 key", request=request_)).outcome


def test_copy_is_a_duplicate_and_counted(store: SqliteStore) -> None:
    """A copy makes no row; the event shows how many came and when the last one did."""
    first = store.inlet.add_event(event())
    copies = [store.inlet.add_event(event(at=at)) for at in (101.0, 102.0)]
    assert [("duplicate", first.id)] * 2 == [(copy.outcome, copy.id) for copy in copies]
    row = store.archive.event(first.id)
    assert (1, 2, 102.0) == (store.archive.count(Filter()), row["duplicates"], row["last_duplicate_at"])


def test_duplicate_of_an_unrouted_event_wakes_again(store: SqliteStore) -> None:
    """As long as nobody routed the event, each copy asks for it; afterwards none does."""
    stored = store.inlet.add_event(event())
    assert store.inlet.add_event(event()).wake is True
    store.work.route(stored.id, {"m.f": True}, 100.0)
    assert store.inlet.add_event(event()).wake is False


def test_same_key_of_another_source_is_another_event(store: SqliteStore) -> None:
    """Keys belong to their source."""
    outcomes = [store.inlet.add_event(event(source=source)).outcome for source in ("a", "b")]
    assert ["accepted", "accepted"] == outcomes


def test_same_key_with_other_content_is_a_visible_conflict(store: SqliteStore) -> None:
    """Each distinct content has one row of its own, which is not run; copies of it are counted there."""
    first = store.inlet.add_event(event(body=b"1"))
    second = store.inlet.add_event(event(body=b"2"))
    third = store.inlet.add_event(event(body=b"3"))
    assert [Stored("conflict", second.id, wake=False), Stored("conflict", third.id, wake=False)] == [second, third]
    assert 3 == len({first.id, second.id, third.id})
    assert Stored("conflict", second.id, wake=False) == store.inlet.add_event(event(body=b"2", at=105.0))
    row = store.archive.event(second.id)
    assert ("conflict", first.id, "k1", 1, 105.0) == tuple(
        row[name] for name in ("status", "conflict_of", "key", "duplicates", "last_duplicate_at")
    )
    assert b"2" == store.archive.request(second.id).body
    assert Stored("duplicate", first.id, wake=True) == store.inlet.add_event(event(body=b"1"))
    assert [first.id] == store.work.unrouted(10)


def test_invalid_event_is_quarantined(store: SqliteStore) -> None:
    """It is stored with its violations and wakes nobody, nor does a copy."""
    stored = store.inlet.add_event(invalid())
    assert Stored("quarantined", stored.id, wake=False) == stored
    assert Stored("duplicate", stored.id, wake=False) == store.inlet.add_event(invalid())
    row = store.archive.event(stored.id)
    assert ("quarantined", [{"pointer": "/a", "message": "is not text"}]) == (row["status"], row["violations"])
    assert [] == store.work.unrouted(10)


def test_key_is_free_again_after_the_dedupe_window(store: SqliteStore) -> None:
    """An event older than the window no longer counts as the same; it stays as it is, key and all."""
    old = store.inlet.add_event(event(at=100.0))
    assert "duplicate" == store.inlet.add_event(event(at=150.0, since=100.0)).outcome
    new = store.inlet.add_event(event(body=b"other", at=200.0, since=100.5))
    assert ("accepted", True) == (new.outcome, new.wake)
    assert Stored("duplicate", new.id, wake=True) == store.inlet.add_event(event(body=b"other", at=210.0, since=110.0))
    assert [("k1", 1), ("k1", 1)] == [
        (row["key"], row["duplicates"]) for row in map(store.archive.event, (old.id, new.id))
    ]
    assert "accepted" == store.inlet.add_event(event(at=400.0, since=300.0)).outcome
    assert 3 == store.archive.count(Filter())


def test_key_that_looks_like_an_old_one_is_its_own(store: SqliteStore) -> None:
    """Whatever keys a sender chooses, setting an old one free collides with none of them."""
    old = store.inlet.add_event(event("a"))
    for key in (f"a@{old.id}", f"a {old.id}", f"a\x00{old.id}"):
        assert "accepted" == store.inlet.add_event(event(key)).outcome
    assert "accepted" == store.inlet.add_event(event("a", at=300.0, since=200.0)).outcome


def test_conflict_of_an_old_event_stays_with_it(store: SqliteStore) -> None:
    """After the window, content that conflicted before is a new event."""
    old = store.inlet.add_event(event(body=b"1"))
    conflict = store.inlet.add_event(event(body=b"2"))
    assert "accepted" == store.inlet.add_event(event(body=b"2", at=300.0, since=200.0)).outcome
    assert old.id == store.archive.event(conflict.id)["conflict_of"]


def test_copies_at_once_are_one_event(store: SqliteStore) -> None:
    """Of 16 threads on two connections with the same event exactly one is told "accepted"."""
    inlets = [store.inlet, store.open_inlet()]
    stored = in_threads([partial(inlets[n % 2].add_event, event()) for n in range(16)])
    assert Counter(accepted=1, duplicate=15) == Counter(item.outcome for item in stored)
    assert 1 == len({item.id for item in stored})
    assert (1, 15) == (store.archive.count(Filter()), store.archive.event(stored[0].id)["duplicates"])


def test_different_bodies_at_once_are_one_event_and_conflicts(store: SqliteStore) -> None:
    """Of 16 threads with 4 bodies under one key one is accepted, three bodies conflict, the rest are copies."""
    bodies = [bytes([n % 4]) for n in range(16)]
    stored = in_threads([partial(store.inlet.add_event, event(body=body)) for body in bodies])
    assert Counter(accepted=1, duplicate=3, conflict=12) == Counter(item.outcome for item in stored)
    assert (1, 3) == (store.archive.count(Filter(status="received")), store.archive.count(Filter(status="conflict")))


def _add_from_process(folder: Path, number: int, wait: Callable[[], object]) -> list[tuple[str, int]]:
    store = SqliteStore(folder)
    inlet = store.inlet
    wait()
    try:
        same = [inlet.add_event(event(f"same{n}")) for n in range(20)]
        mixed = [inlet.add_event(event(f"mixed{n}", body=bytes([number]))) for n in range(20)]
        return [(stored.outcome, stored.id) for stored in same + mixed]
    finally:
        store.close()


def test_copies_from_several_processes_are_one_event(store: SqliteStore) -> None:
    """Of 4 processes with the same 20 events each is accepted once; with other bodies the rest are conflicts."""
    results: list[list[tuple[str, int]]] = in_processes(4, _add_from_process, store.folder)
    same = [outcomes[n] for outcomes in results for n in range(20)]
    mixed = [outcomes[n][0] for outcomes in results for n in range(20, 40)]
    assert Counter(accepted=20, duplicate=60) == Counter(outcome for outcome, _ in same)
    assert 20 == len({id for _, id in same})
    assert Counter(accepted=20, conflict=60) == Counter(mixed)
    assert 100 == store.archive.count(Filter())


def test_refusals_are_bounded_in_number_per_source(store: SqliteStore) -> None:
    """The oldest of a source are forgotten, those of other sources are not."""
    store.inlet.add_refusal(refusal("quiet"))
    for at in range(REFUSALS_PER_SOURCE + 10):
        store.inlet.add_refusal(refusal(at=float(at)))
        if at % 50 == 0:
            store.inlet.add_refusal(refusal("quiet"))
    kept = store.archive.refusals("acme", 10_000)
    assert [float(at) for at in reversed(range(10, REFUSALS_PER_SOURCE + 10))] == [row["at"] for row in kept]
    assert 12 == len(store.archive.refusals("quiet", 100))


def test_refusals_of_a_source_have_its_own_limits(store: SqliteStore) -> None:
    """By number and by bytes; the newest always stays, and those of other sources have theirs."""
    limits = {"few": (2, 10**6), "small": (100, 1024)}
    inlet = store.open_inlet(refusal_limits=lambda source: limits.get(source, (500, 10**6)))
    for source in ("few", "small", "other"):
        for at in range(5):
            inlet.add_refusal(refusal(source, at=float(at), padding=500))
    left = {source: [row["at"] for row in store.archive.refusals(source, 9)] for source in ("few", "small", "other")}
    assert {"few": [4.0, 3.0], "small": [4.0], "other": [4.0, 3.0, 2.0, 1.0, 0.0]} == left


@pytest.mark.parametrize("padding", [REFUSAL_BYTES_PER_SOURCE // 8, REFUSAL_BYTES_PER_SOURCE * 2])
def test_refusals_are_bounded_in_bytes_per_source(store: SqliteStore, padding: int) -> None:
    """Large ones push out others sooner, but the newest is always kept."""
    store.inlet.add_refusal(refusal("quiet"))
    for at in range(20):
        store.inlet.add_refusal(refusal(at=float(at), padding=padding))
    kept = [row["at"] for row in store.archive.refusals("acme", 100)]
    assert [float(at) for at in range(19, 19 - len(kept), -1)] == kept
    assert max(1, REFUSAL_BYTES_PER_SOURCE // (padding + 200)) == len(kept)
    assert 1 == len(store.archive.refusals("quiet", 10))


def test_refusals_at_once_are_all_kept(store: SqliteStore) -> None:
    """16 threads lose none of each other's refusals and events."""
    calls: list[Callable[[], Any]] = [partial(store.inlet.add_event, event(f"k{n}")) for n in range(8)]
    calls += [partial(store.inlet.add_refusal, refusal())] * 8
    in_threads(calls)
    assert (8, 8) == (len(store.archive.refusals(None, 100)), store.archive.count(Filter()))


def test_probe_changes_nothing_that_is_seen(store: SqliteStore) -> None:
    """It writes, twice as well as once, and neither events nor refusals appear."""
    store.inlet.probe()
    store.inlet.probe()
    assert (0, [], []) == (store.archive.count(Filter()), store.archive.sources(), store.archive.refusals(None, 10))
