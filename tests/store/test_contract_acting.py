"""The contract of actions and pauses: a row before anything is done, steps that nobody goes twice, and what waits."""

import sqlite3
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from inbox.core.errors import NotFound
from inbox.core.models import Claimed
from inbox.store import sqlite
from inbox.store.protocols import Filter, Outcome
from inbox.store.protocols_actions import LONGEST, ActionStep
from inbox.store.protocols_routing import Worker
from inbox.store.sqlite import migrations
from tests.support.stores import SqliteStore, acted, begun, claimed, event, in_threads, invalid, routed

WHO = {"at": 1.0, "who": "ann", "why": "moving"}


def step(number: int, begun: int, ended: int, *, last: bool = False, **fields: Any) -> ActionStep:
    """Return a step from one place to another that is about as many events."""
    return ActionStep(action=number, begun=begun, ended=ended, last=last, number=ended - begun, **fields)


def take(store: SqliteStore, *, at: float = 100.0, limit: int = 10) -> tuple[list[Claimed], bool]:
    """Claim what is due."""
    return store.work.take(Worker("w", lambda: token_hex(8), at, at, 30.0), limit)


def turn(store: SqliteStore, steady: float) -> tuple[int, float]:
    """Return whose turn it is, and in how many seconds."""
    row = store.acting.next(steady)
    assert row is not None
    return row["id"], row["wait"]


def waits(store: SqliteStore) -> list[int]:
    """Return how many deliveries each pause has set aside."""
    return [row["waiting"] for row in store.acting.pauses()]


def test_action_is_there_before_it_is_done(store: SqliteStore) -> None:
    """With who, why and what; newest first, a page at a time, and of one kind if that is asked for."""
    first = begun(store, "cancel", at=5.0, who="ann \udc80", why="fixed", handler="m.f", rate=2.0)
    second = begun(store)
    row = store.acting.action(first)
    assert ("cancel", "waiting", "ann \\udc80", "fixed", "m.f", 2.0, 5.0, 0, 3, None) == tuple(
        row[name] for name in ("kind", "state", "who", "why", "handler", "rate", "at", "events", "total", "ended_at")
    )
    assert [second, first] == [row["id"] for row in store.acting.actions(10)]
    assert [first] == [row["id"] for row in store.acting.actions(10, before=second)]
    assert [second] == [row["id"] for row in store.acting.actions(10, kind="replay")]
    with pytest.raises(NotFound, match="there is no action 99"):
        store.acting.action(99)


def test_step_moves_the_action_with_what_it_does(store: SqliteStore) -> None:
    """From waiting over running to done, with counts of what was done."""
    for key in ("a", "b", "c"):
        store.inlet.add_event(event(key))
    number = begun(store)
    assert (["created", None], "running", 2) == (
        store.acting.step(step(number, 0, 2, runs=[(1, "m.f", True), (99, "m.f", True)]), at=7.0, held_until=0.0),
        (row := store.acting.action(number))["state"],
        row["events"],
    )
    assert [] == store.acting.step(step(number, 2, 3, last=True, results={"pruned": 1}), at=8.0, held_until=0.0)
    row = store.acting.action(number)
    assert ("done", 3, 8.0, 1, {"created": 1, "failed": 1, "pruned": 1}) == tuple(
        row[name] for name in ("state", "events", "ended_at", "deliveries", "results")
    )


def test_a_step_is_gone_once(store: SqliteStore) -> None:
    """Of eight who want to go the same step, one goes it."""
    store.inlet.add_event(event())
    number = begun(store)
    wanted = step(number, 0, 1, runs=[(1, "m.f", True)])
    roles = [store.open_acting() for _ in range(8)]
    results = in_threads([partial(role.step, wanted, at=1.0, held_until=0.0) for role in roles])
    assert [["created"]] == [result for result in results if result is not None]
    assert (1, 1) == (store.acting.action(number)["events"], len(store.archive.event(1)["deliveries"]))


@pytest.mark.parametrize("end", ["stop", "fail", "last"])
def test_an_action_that_ended_goes_no_further(store: SqliteStore, end: str) -> None:
    """What was done stays done; it can be neither stopped again nor held."""
    store.inlet.add_event(event())
    number = begun(store)
    assert store.acting.left()
    if end == "stop":
        assert store.acting.stop(number, at=9.0, who="bob")
    elif end == "fail":
        store.acting.fail(number, at=9.0, error="it broke")
    else:
        store.acting.step(step(number, 0, 1, last=True), at=9.0, held_until=0.0)
    row = store.acting.action(number)
    expected = {"stop": ("stopped", "stopped by bob"), "fail": ("failed", "it broke"), "last": ("done", "")}[end]
    assert (*expected, 9.0) == (row["state"], row["error"], row["ended_at"])
    assert store.acting.step(step(number, row["cursor"], 5), at=9.0, held_until=0.0) is None
    assert not store.acting.stop(number, at=10.0, who="eve")
    assert not store.acting.hold(number, 50.0)
    assert (None, False) == (store.acting.next(10.0), store.acting.left())
    with pytest.raises(NotFound):
        store.acting.stop(99, at=1.0, who="eve")


def test_a_held_action_is_left_to_its_holder(store: SqliteStore) -> None:
    """Until its time is over, or was before the machine started anew; then those that waited longest come first."""
    held, free = begun(store, held_until=50.0), begun(store)
    assert (free, 0.0) == turn(store, 10.0)
    assert store.acting.hold(free, 60.0)
    assert ((held, 40.0), True) == (turn(store, 10.0), store.acting.left())
    assert (held, 0.0) == turn(store, 50.0)
    store.acting.step(step(held, 0, 1), at=1.0, held_until=55.0)
    assert (held, 0.0) == turn(store, 61.0)
    store.acting.step(step(held, 1, 2), at=1.0, held_until=61.0)
    assert (free, 0.0) == turn(store, 61.0)
    store.acting.hold(free, 1e6)
    store.acting.hold(held, 1e6)
    assert LONGEST == turn(store, 1e6 - LONGEST)[1]
    assert 0.0 == turn(store, 1.0)[1]


def test_ignored_events_are_listed_kept_out_and_replayed(store: SqliteStore) -> None:
    """Only quarantined events and conflicts; the status has its count, and a replay makes it processing."""
    bad, good = store.inlet.add_event(invalid("a")).id, store.inlet.add_event(event("b", b"1")).id
    other = store.inlet.add_event(event("b", b"2")).id
    number = acted(store, "ignore", events=[bad, good, other, 99])
    assert {"ignored": 2} == store.acting.action(number)["results"]
    assert [other, bad] == [row["id"] for row in store.archive.events(Filter(status="ignored"), 10)]
    assert (2, 0, "received") == (
        store.archive.count(Filter(status="ignored")),
        store.archive.sources()[0]["quarantined"],
        store.archive.event(good)["status"],
    )
    assert "duplicate" == store.inlet.add_event(invalid("a")).outcome
    assert [] == [head.id for head in store.work.heads(10) if head.id != good]
    acted(store, runs=[(bad, "m.f", True)])
    assert "processing" == store.archive.event(bad)["status"]


def test_a_paused_handler_waits_and_its_siblings_run(store: SqliteStore) -> None:
    """Its deliveries keep their status and time, and run after it is resumed, what is due first comes first."""
    routed(store, "m.f", "m.g", key="a", at=50.0)
    routed(store, "m.f", key="b", at=40.0)
    assert store.acting.pause("handler", "m.f", **WHO)
    assert not store.acting.pause("handler", "m.f", **WHO)
    taken, more = take(store)
    assert (["m.g"], True) == ([each.handler for each in taken], more)
    assert ([], False) == take(store)
    assert ({"m.f": 2, "m.g": 1}, [2]) == (store.archive.backlog(), waits(store))
    assert [] == store.work.waiting(120.0, 10)
    looked = store.watch.look(100.0, 100.0)
    assert (2, 0, 0.0, 60.0) == (
        looked.backlog["paused"], looked.backlog["due"], looked.oldest, looked.oldest_paused
    )  # fmt: skip
    assert store.acting.resume("handler", "m.f", at=2.0, who="bob")
    assert not store.acting.resume("handler", "m.f", at=2.0, who="bob")
    assert ("bob", True) == (store.acting.pauses()[0]["ended_by"], store.acting.left())
    assert store.acting.free(1)
    assert [(40.0, "m.f")] == [(at, "m.f") for _, at in store.work.waiting(120.0, 10)]
    while store.acting.free(10):
        pass
    assert ([], False) == (store.acting.pauses(), store.acting.left())
    assert [2, 1] == [each.event_id for each in take(store)[0]]


def test_more_are_paused_than_are_looked_at_in_one_go(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them is claimed, and what is behind them is found."""
    monkeypatch.setattr("inbox.store.sql.pauses.AT_ONCE", 4)
    for number in range(7):
        routed(store, "m.f", key=f"a{number}", at=50.0 + number)
    for number in range(6):
        routed(store, "m.g", key=f"b{number}", at=55.0 + number)
    store.acting.pause("handler", "m.f", **WHO)
    taken, more = [], True
    while more:
        some, more = take(store, limit=3)
        taken += [each.handler for each in some]
    assert (["m.g"] * 6, [7]) == (taken, waits(store))


def test_a_paused_source_waits_for_each_of_its_pauses(store: SqliteStore) -> None:
    """What is of a paused source and for a paused handler waits for both; another source is not touched."""
    routed(store, "m.f", key="a", at=50.0)
    number = store.inlet.add_event(event("b", source="other")).id
    store.work.route(number, {"m.g": True}, 50.0)
    store.acting.pause("source", "acme", **WHO)
    store.acting.pause("handler", "m.f", **WHO)
    assert ["m.g"] == [each.handler for each in take(store)[0]]
    store.acting.resume("handler", "m.f", at=2.0, who="bob")
    while store.acting.free(10):
        pass
    assert ([1], []) == (waits(store), take(store)[0])
    store.acting.resume("source", "acme", at=2.0, who="bob")
    while store.acting.free(10):
        pass
    assert ["m.f"] == [each.handler for each in take(store)[0]]


def test_what_runs_goes_on_and_waits_when_it_fails(store: SqliteStore) -> None:
    """A lease that runs out is a crash as ever, and its delivery is set aside."""
    failing, left = routed(store, "m.f", "m.g", at=50.0)
    claimed(store, failing, "t1", at=60.0)
    claimed(store, left, "t2", at=60.0)
    store.acting.pause("source", "acme", **WHO)
    assert store.work.finish(failing, "t1", Outcome("retrying", "error", due_at=70.0), 61.0).held
    assert ([], True) == take(store, at=500.0)
    rows = {row["id"]: row for row in store.archive.event(1)["deliveries"]}
    assert [("retrying", 0, True), ("retrying", 1, True)] == [
        (rows[number]["status"], rows[number]["crashes"], rows[number]["paused_by"] is not None)
        for number in (failing, left)
    ]
    assert ["crashed"] == [run["result"] for run in rows[left]["runs"]]
    assert not store.work.finish(left, "t2", Outcome("succeeded", "succeeded"), 501.0).held
    store.acting.resume("source", "acme", at=2.0, who="bob")
    while store.acting.free(10):
        pass
    assert [failing] == [each.id for each in take(store, at=502.0)[0]]


def test_what_is_paused_can_be_cancelled_and_made_due(store: SqliteStore) -> None:
    """Cancelled, it is over; replayed, it waits still, and is due."""
    one, two = routed(store, "m.f", "m.g", at=50.0)
    store.acting.pause("source", "acme", **WHO)
    take(store)
    acted(store, "cancel", events=[1], handler="m.f")
    assert "expedited" == store.archive.replay(1, "m.g", can_run=True, replay_id=1, at=200.0)[0]
    assert ([1], []) == (waits(store), take(store, at=300.0)[0])
    store.acting.resume("source", "acme", at=2.0, who="bob")
    while store.acting.free(10):
        pass
    assert [(two, 200.0)] == store.work.waiting(1e9, 10)
    assert store.work.claim(one, token="t9", worker="w", at=300.0, lease=1.0) is None


def test_paused_again_while_it_is_let_go_they_wait_again(store: SqliteStore) -> None:
    """The new pause takes over what the old one has not let go."""
    for key in ("a", "b", "c"):
        routed(store, "m.f", key=key, at=50.0)
    store.acting.pause("handler", "m.f", **WHO)
    take(store)
    store.acting.resume("handler", "m.f", at=2.0, who="bob")
    store.acting.free(1)
    assert store.acting.pause("handler", "m.f", **WHO)
    while store.acting.free(1):
        pass
    assert ([], [3]) == (take(store)[0], waits(store))


def old_database(path: Path) -> None:
    """Make a database as the version before had it, with an event, a delivery that waits, and two replays."""
    connection = sqlite.connection.Connection(path, durable=False)
    with connection.write() as raw:
        migrations.migrations.apply(connection.database, stop_before="0010_actions")
        columns = "source, key, type, status, received_at, size, body_digest, content_digest, verified_by"
        for key, status in (("k1", "quarantined"), ("k2", "processing")):
            values = f"'acme', '{key}', 't', '{status}', 1.0, 0, x'', x'', 'hmac'"
            raw.execute(f"INSERT INTO events ({columns}) VALUES ({values})")
        raw.execute("INSERT INTO bodies VALUES (2, 'POST', '', '', '[]', '', x'7b7d', NULL)")
        columns = "event_id, handler, status, due_at, created_at"
        raw.execute(f"INSERT INTO deliveries ({columns}) VALUES (2, 'm.f', 'pending', 1, 1)")
        raw.execute("INSERT INTO replays VALUES (4, 1.0, 'ann', 'fixed', '{\"ids\": [1]}', NULL, 2.0, 7, 9)")
        raw.execute("INSERT INTO replays VALUES (5, 3.0, 'bob', '', '{}', 'm.f', NULL, NULL, NULL)")
    connection.close()


def test_older_database_keeps_its_replays_and_takes_the_new_things(tmp_path: Path) -> None:
    """Replays are actions, one that broke off is stopped; events can be ignored, deliveries wait as before."""
    path = tmp_path / "inbox.db"
    old_database(path)
    store = SqliteStore(tmp_path)
    broken, done = store.acting.actions(10)
    assert (5, "stopped", 3.0, 0) == tuple(broken[name] for name in ("id", "state", "ended_at", "events"))
    assert (4, "replay", "done", 2.0, 7, 7, 9) == tuple(
        done[name] for name in ("id", "kind", "state", "ended_at", "events", "total", "deliveries")
    )
    assert 6 == acted(store, "ignore", events=[1])
    assert "ignored" == store.archive.event(1)["status"]
    assert [2] == [each.event_id for each in take(store)[0]]
    store.close()
    connection = sqlite3.connect(path)
    assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        connection.execute("UPDATE events SET status = 'lost'")
    connection.close()
