"""Filters find exactly their events, and no page takes longer because more events are stored."""

import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from inbox.store import sqlite
from inbox.store.protocols import EVENT_STATUSES, Filter, Outcome
from inbox.store.protocols_actions import Checked
from inbox.store.protocols_retention import Kind, What
from inbox.store.sql.archive import SqliteArchive
from inbox.store.sqlite import event_index, migrations
from inbox.store.sqlite.event_index import page
from tests.support.stores import SqliteStore, acted, claimed, connection_of, event, invalid, routed

MANY = 20_000
KINDS: tuple[Kind, ...] = ("bodies", "attempts", "events", "event_keys")
ASKED = Filter("a", "order.*", "dead", since=5e3, until=9e3, before=18_000, after=100)
LISTED = [field.name for field in fields(Filter) if field.name not in ("handler", "text")]
COMBINED = [
    replace(Filter(), **{name: getattr(ASKED, name) for name in names})
    for number in range(len(LISTED) + 1)
    for names in combinations(LISTED, number)
]
_EVENT = """
INSERT INTO events (id, source, key, type, status, received_at, size, body_digest, content_digest, verified_by)
VALUES (?, ?, ?, ?, ?, ?, 2, x'00', x'00', '')
"""


def add(store: SqliteStore, rows: list[tuple[int, str, str, str, float]]) -> None:
    """Add events (id, source, type, status, time) as they are, without bodies."""
    with connection_of(store.archive).write() as connection:
        connection.executemany(_EVENT, [(row[0], row[1], str(row[0]), *row[2:]) for row in rows])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    """Many events, one a second, of which a few are of a rare kind, and those are old."""
    store = SqliteStore(tmp_path_factory.mktemp("large"))
    rare = [(number, "rare", "rare.type", "dead", float(number)) for number in range(1, 4)]
    types = ("order.paid", "order.sent")
    add(store, [*rare, *((n, "ab"[n % 2], types[n % 4 // 2], "succeeded", float(n)) for n in range(4, MANY + 1))])
    yield store
    store.close()


@pytest.mark.parametrize("wanted", COMBINED, ids=str)
def test_no_page_scans_the_events(large: SqliteStore, wanted: Filter) -> None:
    """Every combination of filters searches; without any, the page itself is all that is read."""
    sql, values = page("id", wanted, 1)
    rows = connection_of(large.archive).rows(f"EXPLAIN QUERY PLAN {sql}", {**values, "limit": 50})
    plan = [row["detail"] for row in rows]
    scans = [step for step in plan if step.startswith(("SCAN events", "SCAN found"))]
    assert scans == (["SCAN events"] if wanted == Filter() else [])
    assert [] == [step for step in plan if "TEMP B-TREE" in step]


LOOKS: dict[str, Callable[[SqliteStore], object]] = {
    "newest": lambda store: store.archive.events(Filter(), 10),
    "a rare source": lambda store: store.archive.events(Filter(source="rare"), 10),
    "no such source": lambda store: store.archive.events(Filter(source="none"), 10),
    "a rare type": lambda store: store.archive.events(Filter(type="rare.*"), 10),
    "no such type": lambda store: store.archive.events(Filter(type="none*"), 10),
    "a frequent type": lambda store: store.archive.events(Filter(type="*sent"), 10),
    "a rare status": lambda store: store.archive.events(Filter(status="dead"), 10),
    "a source without this status": lambda store: store.archive.events(Filter(source="a", status="dead"), 10),
    "since": lambda store: store.archive.events(Filter(since=MANY - 5.0), 10),
    "until": lambda store: store.archive.events(Filter(until=MANY / 2), 10),
    "until, the beginning": lambda store: store.archive.events(Filter(until=5.0), 10),
    "before the first": lambda store: store.archive.events(Filter(until=0.0), 10),
    "a minute": lambda store: store.archive.events(Filter(since=MANY / 2, until=MANY / 2 + 60), 10),
    "a minute, upwards": lambda store: store.archive.events(Filter(since=MANY / 2, after=0), 10),
    "a minute of a rare type": lambda store: store.archive.events(Filter(type="rare*", since=1.0), 10),
    "sources": lambda store: store.archive.sources(),
    "count": lambda store: store.archive.count(Filter(source="a", status="succeeded")),
    "count a minute": lambda store: store.archive.count(Filter(since=MANY / 2, until=MANY / 2 + 60)),
    "sources to prune": lambda store: store.keeping.sources(),
}


@pytest.mark.parametrize("name", LOOKS)
def test_look_does_not_search(large: SqliteStore, name: str) -> None:
    """It takes fewer steps of SQLite than there are events; two blocks of ids may have to be read."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 100
        return 0

    role = large.keeping if name == "sources to prune" else large.archive
    connection = connection_of(role).database.conn
    connection.set_progress_handler(count, 100)
    LOOKS[name](large)
    connection.set_progress_handler(None, 0)
    assert steps < MANY


@pytest.mark.parametrize("few", [100, 2])
def test_filters_find_what_they_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    """As a search through all events does, also where times and ids do not rise together, and ids have gaps."""
    monkeypatch.setattr(event_index, "FEW", few)
    chance, store = random.Random(4), SqliteStore(tmp_path)
    number, rows = 0, []
    for _ in range(400):
        number += chance.choice((1, 1, 2, 700))
        at = number / 100 - chance.choice((0, 0, 0, 0.05, 300, -200))  # released later; before the clock was set back
        kind = (chance.choice("abc"), chance.choice(("x.one", "x.two", "y")), chance.choice(EVENT_STATUSES))
        rows.append((number, *kind, at))
    add(store, rows)
    for _ in range(300):
        wanted = _some_filter(chance, number)
        expected = [row[0] for row in rows if _fits(wanted, row)][:: 1 if wanted.after is not None else -1]
        limit = chance.choice((1, 7, 1000))
        assert expected[:limit] == [row["id"] for row in store.archive.events(wanted, limit)], wanted
        assert len(expected) == store.archive.count(wanted), wanted
    store.close()


def _some_filter(chance: random.Random, last: int) -> Filter:
    since, until = sorted(chance.uniform(-300, last / 100 + 300) for _ in range(2))
    asked: dict[str, Any] = {
        "source": chance.choice("abcd"),
        "type": chance.choice(("x.*", "x.one", "?", "*")),
        "status": chance.choice(EVENT_STATUSES),
        "since": since,
        "until": until,
        "before": chance.randint(0, last + 1),
        "after": chance.randint(0, last),
    }
    return Filter(**{name: value for name, value in asked.items() if chance.random() < 0.4})


def _fits(wanted: Filter, row: tuple[int, str, str, str, float]) -> bool:
    number, source, type_, status, at = row
    return (
        wanted.source in (None, source)
        and (wanted.type is None or fnmatchcase(type_, wanted.type))
        and wanted.status in (None, status)
        and (wanted.since is None or at >= wanted.since)
        and (wanted.until is None or at < wanted.until)
        and (wanted.before is None or number < wanted.before)
        and (wanted.after is None or number > wanted.after)
    )


def kinds(store: SqliteStore) -> tuple[set[Any], set[Any]]:
    """Return what is kept about kinds of events, and what there is when they are counted."""
    rows = connection_of(store.archive).rows
    kept = rows("SELECT source, type, status, events, duplicates FROM kinds WHERE events <> 0 OR duplicates <> 0")
    counted = """
    SELECT source, type, status, count(*), sum(duplicates) FROM events WHERE pruned_at IS NULL GROUP BY 1, 2, 3
    """
    return {tuple(row) for row in kept}, {tuple(row) for row in rows(counted)}


def test_kinds_follow_what_becomes_of_events(store: SqliteStore) -> None:
    """Whoever changes events: receiver, worker, replay and retention."""
    (delivery,) = routed(store, "m.f")
    claimed(store, delivery)
    store.work.finish(delivery, "t1", Outcome("dead", "error"), 101.0)
    store.inlet.add_event(event("k1", since=0.0))
    store.inlet.add_event(event("k1", b"other", since=0.0))
    number = store.inlet.add_event(invalid("k2")).id
    kept, counted = kinds(store)
    assert counted == kept
    assert 3 == len(kept)
    acted(store, checked=[Checked(number, "unhandled", "new.type", None)])
    assert ("acme", "new.type", "unhandled", 1, 0) in kinds(store)[0]
    for kind in KINDS:
        what = What(kind, "acme", 1e9, EVENT_STATUSES)
        while gone := [number for number, _ in store.keeping.look(what, 0, 99).may]:
            store.keeping.prune(what, gone, 200.0)
        kept, counted = kinds(store)
        assert counted == kept, kind
    assert ["acme"] == store.keeping.sources()
    assert [] == store.archive.sources()


def test_older_database_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored before is listed and counted like what came since."""
    path = tmp_path / "inbox.db"
    with monkeypatch.context() as patch:
        patch.setattr(event_index, "TABLES", ())
        sqlite.open_inlet(path).close()
    with sqlite3.connect(path) as connection:
        connection.executemany(_EVENT, [(n, "a", str(n), "t", "dead", 1000.0 - n / 2) for n in range(1, 3000)])
        connection.execute("UPDATE events SET duplicates = 2 WHERE id = 7")
        connection.execute("DELETE FROM _sqlite_migrations WHERE name = '0007_listing'")
    connection.close()
    archive = sqlite.open_archive(path)
    assert isinstance(archive, SqliteArchive)
    (row,) = archive.sources()
    assert (2999, 2999, 2, 999.5) == (row["events"], row["dead"], row["duplicates"], row["last_event_at"])
    assert [21, 22] == [row["id"] for row in archive.events(Filter(until=990.0, after=0), 2)]
    archive.close()
    assert "0007_listing" in migrations.KNOWN
