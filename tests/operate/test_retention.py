"""Settings become what goes, when, and in how large steps; nothing goes that no setting names."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox.core.config.retention_settings import RetentionSettings
from inbox.core.config.settings import Settings, SourceSettings
from inbox.core.elapsed import Clocks
from inbox.core.errors import ConfigError
from inbox.core.models import Secret
from inbox.operate import retention
from inbox.operate.retention import Pruned, Pruner
from inbox.runtime import PRUNING, Runtime
from inbox.store.protocols import Filter, Outcome
from inbox.verify.providers import build
from inbox.verify.providers.base import Provider
from tests.support.stores import SqliteStore, acted, claimed, event, invalid, refusal

DAY = 86400.0
NOW = 1000 * DAY


def source(name: str = "acme", provider: str = "unsigned", **settings: Any) -> Provider:
    """Return a source with these settings."""
    secrets = () if provider == "unsigned" else (Secret("s"),)
    return build(SourceSettings(name, provider, secrets, settings))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """A store."""
    made = SqliteStore(tmp_path)
    yield made
    made.close()


def pruner(store: SqliteStore, *, pauses: list[float] | None = None, **settings: Any) -> Pruner:
    """Return a pruner for the source acme with these settings; others have the defaults."""
    ticks = iter(range(1_000_000))
    waited = pauses if pauses is not None else []
    return Pruner(
        store.keeping,
        RetentionSettings(keep_refusals=5 * DAY),
        {"acme": source(**settings)},
        passed=lambda: NOW,
        clock=lambda: NOW,
        steady=lambda: float(next(ticks)),
        pause=waited.append,
    )


def handled(store: SqliteStore, days: float, *, name: str = "acme", size: int = 2) -> int:
    """Store an event that came and was handled so many days ago."""
    at = NOW - days * DAY
    number = store.inlet.add_event(event(f"{name}-{days}-{size}", b"x" * size, source=name, at=at)).id
    (delivery,) = store.work.route(number, {"m.f": True}, at)
    claimed(store, delivery, f"t{delivery}", at=at)
    store.work.finish(delivery, f"t{delivery}", Outcome("succeeded", "succeeded"), at)
    return number


def counted(found: Iterator[Pruned]) -> dict[tuple[str, str], int]:
    """Return the rows by source and kind, without what there is none of."""
    return {(item.source, item.kind): item.rows for item in found if item.rows}


def test_nothing_goes_by_default(store: SqliteStore) -> None:
    """However old."""
    handled(store, 999)
    idle = Pruner(
        store.keeping,
        RetentionSettings(),
        {"acme": source()},
        passed=lambda: NOW,
        clock=lambda: NOW,
        steady=lambda: 0.0,
        pause=lambda seconds: None,
    )
    assert (False, [], []) == (idle.wanted, list(idle.plan()), list(idle.run()))


def test_each_part_goes_at_its_age(store: SqliteStore) -> None:
    """A dry run counts what would go now and changes nothing; what goes later goes in the order of its value."""
    for days in (1, 15, 25, 35, 99):
        handled(store, days)
    handled(store, 99, name="other")
    store.inlet.add_refusal(refusal("gone", at=NOW - 6 * DAY))
    store.inlet.add_refusal(refusal("gone", at=NOW - 4 * DAY))
    settings = {
        "keep_bodies": 10 * DAY,
        "keep_attempts": 20 * DAY,
        "keep_events": 30 * DAY,
        "keep_event_keys": 90 * DAY,
    }
    before = store.dump()
    planned = counted(pruner(store, **settings).plan())
    assert ({("acme", "bodies"): 4, ("acme", "attempts"): 3, ("gone", "refusals"): 1}, before) == (
        planned,
        store.dump(),
    )
    done = counted(pruner(store, **settings).run())
    assert {**planned, ("acme", "events"): 2, ("acme", "event_keys"): 1} == done
    left = [row["body_pruned_at"] for row in store.archive.events(Filter("acme"), 9)]
    assert [NOW, NOW, None] == left
    assert {} == counted(pruner(store, **settings).run())
    assert 1 == store.archive.count(Filter("other"))


def test_oldest_bodies_go_until_the_rest_fits(store: SqliteStore) -> None:
    """By size, whatever their age; then no more."""
    numbers = [handled(store, days, size=400) for days in (4, 3, 2, 1)]
    limited = pruner(store, keep_body_bytes=1000)
    assert {("acme", "bodies"): 2} == counted(limited.plan()) == counted(limited.run())
    assert [True, True, False, False] == [store.archive.event(n)["body_pruned_at"] is not None for n in numbers]
    assert {} == counted(limited.run())


def test_only_the_newest_stay_where_a_number_is_set(store: SqliteStore) -> None:
    """Body, attempts and event of the others go, their keys stay; a dry run counts what goes for age and size once."""
    for days in (9, 8, 7, 6):
        handled(store, days)
    handled(store, 99, name="other")
    limited = pruner(store, keep_event_count=2, keep_attempt_count=3, keep_bodies=8.5 * DAY)
    planned = [(item.kind, item.by, item.rows) for item in limited.plan() if item.source == "acme" and item.rows]
    assert [("bodies", "age", 1), ("bodies", "size", 1), ("attempts", "size", 1)] == planned
    done = [(item.kind, item.by, item.rows) for item in limited.run() if item.source == "acme" and item.rows]
    assert [*planned, ("events", "size", 2)] == done
    assert [4, 3] == [row["id"] for row in store.archive.events(Filter("acme"), 9)]
    copy = event("acme-9-2", b"xx", source="acme", at=NOW)
    assert ("duplicate", 1, {}) == (
        store.inlet.add_event(copy).outcome,
        store.archive.count(Filter("other")),
        counted(limited.run()),
    )


def test_what_must_stay_is_not_pushed_out_by_what_is_newer(store: SqliteStore) -> None:
    """It counts, and stays beyond the number: kept, dead, waiting; what is newer does not go in its place."""
    kept, waits = handled(store, 50), store.inlet.add_event(event("waits", source="acme", at=NOW - 45 * DAY)).id
    store.keeping.keep(Filter(), [kept], at=1.0, who="me", why="")
    handled(store, 40)
    newest = [handled(store, 30), handled(store, 20)]
    list(pruner(store, keep_event_count=2, keep_attempt_count=1).run())
    assert [*reversed(newest), waits, kept] == [row["id"] for row in store.archive.events(Filter("acme"), 9)]
    assert [1, 0, 1] == [
        len(store.archive.event(number)["deliveries"][0]["runs"]) for number in (kept, newest[0], newest[1])
    ]


def test_refusals_beyond_a_lowered_limit_are_counted_and_go(store: SqliteStore) -> None:
    """By number and by bytes, without any other setting; those of an unknown address by [retention]."""
    for at in range(4):
        for name in ("acme", ""):
            store.inlet.add_refusal(refusal(name, at=float(at), padding=1000))
    for settings, left in (({"keep_refusal_count": 3}, 3), ({"keep_refusal_bytes": 1300}, 1)):
        limited = pruner(store, **settings)
        gone = {("acme", "refusals"): len(store.archive.refusals("acme", 9)) - left}
        defaults = {item.kind for item in limited.plan() if item.source == ""}
        assert {"refusals"} == defaults  # these go by age, see `pruner`
        limited._defaults = RetentionSettings()
        assert gone == counted(limited.plan()) == counted(limited.run())
        assert (left, 4) == (len(store.archive.refusals("acme", 9)), len(store.archive.refusals("", 9)))
    with pytest.raises(ConfigError, match="keep_refusal_count must be 1 to 10000"):
        source(keep_refusal_count=0)


def test_kept_and_dead_events_stay_and_are_counted(store: SqliteStore) -> None:
    """Unless the owner says that dead ones go as well."""
    handled(store, 50)
    kept = handled(store, 40)
    store.keeping.keep(Filter(), [kept], at=1.0, who="me", why="")
    dead = store.inlet.add_event(event("dead", at=1.0)).id
    (delivery,) = store.work.route(dead, {"m.f": True}, 1.0)
    claimed(store, delivery, "td", at=1.0)
    store.work.finish(delivery, "td", Outcome("dead", "error"), 1.0)
    (found,) = [item for item in pruner(store, keep_bodies=DAY).run() if item.kind == "bodies"]
    assert (1, 1, None) == (found.rows, found.kept, store.archive.event(dead)["body_pruned_at"])
    daring = Pruner(
        store.keeping,
        RetentionSettings(keep_bodies=DAY, keep_statuses=()),
        {},
        passed=lambda: NOW,
        clock=lambda: NOW,
        steady=lambda: 0.0,
        pause=lambda seconds: None,
    )
    assert {("acme", "bodies"): 1} == counted(daring.run())


def test_ignored_events_go_as_finished_ones_do(store: SqliteStore) -> None:
    """Those that nobody has looked at stay."""
    bad = [store.inlet.add_event(invalid(key, at=1.0)).id for key in ("seen", "new")]
    acted(store, "ignore", events=bad[:1])
    assert {("acme", "bodies"): 1} == counted(pruner(store, keep_bodies=DAY).run())
    assert [True, False] == [store.archive.event(number)["body_pruned_at"] is not None for number in bad]


def test_steps_are_small_and_paced(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most so many rows and bytes in one transaction, and a pause of ten times as long after each."""
    for number in range(7):
        handled(store, 50 + number, size=300 if number < 4 else 700)
    monkeypatch.setattr(retention, "STEP_ROWS", 3)
    monkeypatch.setattr(retention, "STEP_BYTES", 1000)
    steps, prune = [], store.keeping.prune
    monkeypatch.setattr(store.keeping, "prune", lambda what, ids, at: steps.append(len(ids)) or prune(what, ids, at))
    pauses: list[float] = []
    assert {("acme", "bodies"): 7} == counted(pruner(store, pauses=pauses, keep_bodies=DAY).run())
    assert ([3, 2, 1, 1], [10.0] * 4) == (steps, pauses)


def test_a_run_ends_when_its_time_is_over_and_the_next_goes_on(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the worker's can be short."""
    for number in range(6):
        handled(store, 50 + number)
    monkeypatch.setattr(retention, "STEP_ROWS", 2)
    rows: Counter[str] = Counter()
    for _ in range(3):
        rows.update({"now": sum(item.rows for item in pruner(store, keep_bodies=DAY).run(seconds=2.0))})
    assert {"now": 6} == rows


def test_keys_outlive_the_senders_retries(store: SqliteStore) -> None:
    """30 days where a sender publishes none; a default that is shorter gives way, a source's own is an error."""
    handled(store, 29)
    handled(store, 31)
    early = Pruner(
        store.keeping,
        RetentionSettings(keep_events=DAY, keep_event_keys=DAY),
        {"acme": source(provider="roomz")},
        passed=lambda: NOW,
        clock=lambda: NOW,
        steady=lambda: 0.0,
        pause=lambda seconds: None,
    )
    assert {("acme", "bodies"): 2, ("acme", "attempts"): 0, ("acme", "events"): 2, ("acme", "event_keys"): 1} == {
        ("acme", "attempts"): 0,
        **counted(early.run()),
    }
    for provider, needed in (("roomz", 30 * DAY), ("unsigned", 3600.0), ("breakcold_v2", DAY), ("breakcold", DAY)):
        with pytest.raises(ConfigError, match=f"keep_event_keys must be 0 .for ever. or at least {needed:.0f}"):
            source(provider=provider, keep_event_keys=needed - 1)
        assert needed == source(provider=provider, keep_event_keys=needed).horizon
    assert 37 * DAY == source(provider="roomz", on_unverified="hold").horizon


def test_the_worker_prunes_beside_its_work(tmp_path: Path, store: SqliteStore, logs: list[Any]) -> None:
    """Once a minute, one thread at a time, and not at all without a setting; a locked store is left for later."""
    number = handled(store, 50)
    settings = Settings(tmp_path, retention=RetentionSettings(keep_bodies=DAY))
    runtime = Runtime(settings, clock=lambda: NOW, clocks=lambda: Clocks(NOW, 5.0, "boot"))
    runtime.watching.timekeeper.confirm(count=True)
    assert {"prune", "sweep_every_minute"} <= {task.name for task in runtime.queue.huey._registry.periodic_tasks}
    with store.locked():
        runtime.pruning._connection._patience = 0.03
        runtime.pruner.for_a_while()
    runtime.prune()
    for thread in threading.enumerate():
        if thread.name == PRUNING:
            thread.join(20)
    runtime.close()
    assert NOW == store.archive.event(number)["body_pruned_at"]
    said = [entry["event"] for entry in logs if entry["event"].startswith("retention.")]
    assert ["retention.not_pruned", "retention.pruned"] == said
    idle = Runtime(replace(settings, retention=RetentionSettings()))
    idle.prune()
    idle.close()
    assert PRUNING not in {thread.name for thread in threading.enumerate()}


def test_the_worker_does_not_look_at_what_stays_every_time(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on behind it, and looks at it again after some runs: what was kept may no longer be."""
    monkeypatch.setattr(retention, "LOOK", 1)
    monkeypatch.setattr(retention, "LOOK_AGAIN", 3)
    numbers = [handled(store, days) for days in (50, 40, 30)]
    store.keeping.keep(Filter(), numbers[:2], at=1.0, who="me", why="")
    looked, look = [], store.keeping.look
    monkeypatch.setattr(
        store.keeping, "look", lambda what, after, limit: looked.append((what.kind, after)) or look(what, after, limit)
    )
    worker = pruner(store, keep_bodies=DAY)
    begun, there = [], []
    for run in range(4):
        if run == 1:
            store.keeping.unkeep(Filter(), numbers[:1])
        before = len(looked)
        worker.for_a_while()
        begun.append(next(after for kind, after in looked[before:] if kind == "bodies"))
        there.append([store.archive.event(number)["body_pruned_at"] is None for number in numbers])
    assert [0, 2, 2, 0] == begun
    assert [[True, True, False]] * 3 + [[False, True, False]] == there
