"""The SQLite file itself: made once, recognised, refused if it is not ours, and read through its indexes."""

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inbox.core.errors import StoreUnavailable, StoreUnusable
from inbox.store import sqlite
from inbox.store.protocols import Filter, Outcome
from inbox.store.protocols_retention import What
from inbox.store.protocols_routing import Worker
from inbox.store.sqlite import migrations
from tests.support.stores import (
    HELD,
    SqliteStore,
    acted,
    claimed,
    connection_of,
    event,
    handler,
    held,
    in_processes,
    refusal,
    routed,
)

TABLES = [
    "_sqlite_migrations",
    "actions",
    "alarm_changes",
    "alarms",
    "attempts",
    "bodies",
    "cookie_secret",
    "counts",
    "deliveries",
    "elapsed",
    "elapsed_marks",
    "erasures",
    "events",
    "failed_modules",
    "handlers",
    "held",
    "holds",
    "identity",
    "keeps",
    "kinds",
    "last_failures",
    "logins",
    "matches",
    "notices",
    "pauses",
    "probes",
    "processes",
    "refusals",
    "seal",
    "search_blocks",
    "search_owner",
    "spans",
    "tokens",
    "users",
]
INDEXES = [
    "actions_open", "attempts_delivery", "attempts_source", "deliveries_handler", "deliveries_parked",
    "deliveries_paused", "deliveries_running", "deliveries_waiting", "elapsed_marks_at", "events_bodies",
    "events_bodiless", "events_bound", "events_conflict", "events_erased", "events_key", "events_kind",
    "events_request", "events_retired", "events_stripped", "events_subject", "events_unrouted", "held_at",
    "held_expires", "held_network", "held_source", "idx__sqlite_migrations_migration_set_name", "notices_change",
    "notices_due", "pauses_ended", "pauses_open", "refusals_source", "search_block",
]  # fmt: skip
OPEN = (sqlite.open_inlet, sqlite.open_work, sqlite.open_archive)


def run(path: Path, *statements: str) -> list[Any]:
    """Run statements as another program does, and return the rows of the last."""
    connection = sqlite3.connect(path)
    try:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        connection.commit()
        return rows
    finally:
        connection.close()


def names(path: Path, kind: str) -> list[str]:
    """Return the names of the tables or indexes that somebody created."""
    sql = f"SELECT name FROM sqlite_schema WHERE type = '{kind}' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name"
    return [name for (name,) in run(path, sql)]


@pytest.mark.parametrize("empty_file", [False, True])
def test_migrations_make_the_schema(tmp_path: Path, empty_file: bool) -> None:
    """A new file, or an empty one, has exactly these tables and indexes, our mark, and every migration once."""
    path = tmp_path / "inbox.db"
    if empty_file:
        path.touch()
    for make in OPEN:
        make(path).close()
    assert (TABLES, INDEXES) == (names(path, "table"), names(path, "index"))
    assert [("inbox", name) for name in migrations.KNOWN] == run(
        path, "SELECT migration_set, name FROM _sqlite_migrations ORDER BY id"
    )
    assert [(migrations.APPLICATION_ID,)] == run(path, "PRAGMA application_id")


def test_every_migration_is_known() -> None:
    """The list that tells newer databases apart is the list of migrations."""
    assert list(migrations.KNOWN) == [migration.name for migration in migrations.migrations._migrations]


def _open_from_process(folder: Path, number: int, wait: Callable[[], object]) -> str:
    wait()
    store = SqliteStore(folder)
    outcome = store.inlet.add_event(event("same")).outcome
    store.close()
    return outcome


def test_processes_that_open_at_once_migrate_once(tmp_path: Path) -> None:
    """Of 4 processes on a new file one makes it; all can use it."""
    outcomes = in_processes(4, _open_from_process, tmp_path)
    assert ["accepted", "duplicate", "duplicate", "duplicate"] == sorted(outcomes)
    assert [(len(migrations.KNOWN),)] == run(tmp_path / "inbox.db", "SELECT count(*) FROM _sqlite_migrations")


def test_failed_migration_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is one transaction; the next try begins from the start."""
    path = tmp_path / "inbox.db"
    with monkeypatch.context() as patch:
        patch.setattr(migrations.schema, "TABLES", f"{migrations.schema.TABLES}; CREATE TABLE broken (")
        with pytest.raises(StoreUnusable, match="incomplete input"):
            sqlite.open_work(path)
    assert [] == names(path, "table")
    sqlite.open_work(path).close()
    assert TABLES == names(path, "table")


@pytest.mark.parametrize("make", OPEN)
def test_newer_database_is_refused(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    """The message names what the database has, and what to do."""
    path = tmp_path / "inbox.db"
    make(path).close()
    run(path, "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('inbox', '0099_later', '')")
    before = path.read_bytes()
    with pytest.raises(StoreUnusable, match=r"newer webhook-inbox \(it has 0099_later\): upgrade"):
        make(path)
    assert before == path.read_bytes()


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_database_of_another_program_is_refused_and_untouched(tmp_path: Path, journal: str) -> None:
    """Not a byte of it changes, and nothing is left beside it."""
    path = tmp_path / "inbox.db"
    run(path, f"PRAGMA journal_mode = {journal}", "CREATE TABLE events (a)", "INSERT INTO events VALUES (1)")
    before = path.read_bytes()
    for make in OPEN:
        with pytest.raises(StoreUnusable, match="another program's database: name a file of its own"):
            make(path)
    assert before == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["garbage", "short garbage", "truncated", "overwritten"])
def test_damaged_database_is_refused(tmp_path: Path, damage: str) -> None:
    """The message says that it is damaged, and the file is left for whoever repairs it."""
    path = tmp_path / "inbox.db"
    sqlite.open_inlet(path).close()
    good = path.read_bytes()
    bad = {
        "garbage": b"no database at all " * 1000,
        "short garbage": b"notes",
        "truncated": good[: len(good) // 2],
        "overwritten": good[:100] + b"\xff" * 3996 + good[4096:],
    }[damage]
    path.write_bytes(bad)
    for make in OPEN:
        with pytest.raises(StoreUnusable, match=r"^the database is damaged, or not an inbox: "):
            make(path)
    assert bad == path.read_bytes()


@pytest.mark.parametrize("make", OPEN)
def test_missing_folder_is_unavailable(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    """As a volume is that is not mounted yet; it is named, and not made."""
    with pytest.raises(StoreUnavailable, match=rf"folder of the database does not exist: {tmp_path}/missing$"):
        make(tmp_path / "missing" / "inbox.db")
    with pytest.raises(StoreUnavailable, match="unable to open database file"):
        make(tmp_path)
    assert [] == list(tmp_path.iterdir())


HOT: dict[str, tuple[str, Callable[[SqliteStore], Any]]] = {
    "event accepted": ("inlet", lambda store: store.inlet.add_event(event("new", since=50.0))),
    "event again": ("inlet", lambda store: store.inlet.add_event(event("k1"))),
    "event conflicts": ("inlet", lambda store: store.inlet.add_event(event("k1", b"other"))),
    "event bound": ("inlet", lambda store: store.inlet.add_event(event("new", bound=True))),
    "event late": ("inlet", lambda store: store.inlet.add_event(event("k1", at=5.0, since=0.0, until=10.0))),
    "request held": ("inlet", lambda store: store.inlet.add_refusal(held())),
    "newest events": ("keeping", lambda store: store.keeping.beyond("events", "acme", 1)),
    "newest attempts": ("keeping", lambda store: store.keeping.beyond("attempts", "acme", 1)),
    "newest refusals": ("keeping", lambda store: store.keeping.beyond("refusals", "acme", 1)),
    "newest bytes": ("keeping", lambda store: store.keeping.body_bytes("acme")),
    "sources": ("keeping", lambda store: store.keeping.sources()),
    "look at attempts": ("keeping", lambda store: store.keeping.look(What("attempts", "acme", 1.0), 0, 9)),
    "look at bodies": ("keeping", lambda store: store.keeping.look(What("bodies", "acme", 1.0), 0, 9)),
    "expire": ("work", lambda store: store.work.expire(200.0)),
    "held": ("archive", lambda store: store.archive.held("acme", 0, 10)),
    "drop held": ("archive", lambda store: store.archive.drop_held(1)),
    "refusal": ("inlet", lambda store: store.inlet.add_refusal(refusal())),
    "heads": ("work", lambda store: store.work.heads(10)),
    "take": ("work", lambda store: store.work.take(Worker("w", lambda: "t3", 100.0, 100.0, 1.0), 1)),
    "give back": ("work", lambda store: store.work.give_back([HELD])),
    "take beside a pause": (
        "work",
        lambda store: [store.work.take(Worker("w", lambda: "t4", 1e6, 1e6, 1.0), 1), store.acting.pauses()],
    ),
    "next step": ("acting", lambda store: store.acting.next(1.0)),
    "step of a replay": ("acting", lambda store: acted(store, runs=[(1, "m.f", True), (3, "m.f", True)])),
    "step of a cancel": ("acting", lambda store: acted(store, "cancel", events=[1, 2], handler="m.f")),
    "step of an ignore": ("acting", lambda store: acted(store, "ignore", events=[1, 2])),
    "free": (
        "acting",
        lambda store: [store.acting.resume("handler", "m.none", at=1.0, who="ann"), store.acting.free(10)],
    ),
    "anything left": ("acting", lambda store: store.acting.left()),
    "pauses": ("acting", lambda store: store.acting.pauses()),
    "route": ("work", lambda store: store.work.route(2, {"m.f": True}, 100.0)),
    "claim": ("work", lambda store: store.work.claim(2, token="t2", worker="w", at=100.0, lease=1.0)),
    "rescue": ("work", lambda store: store.work.claim(1, token="t2", worker="w", at=500.0, lease=1.0)),
    "heartbeat": ("work", lambda store: store.work.heartbeat(1, "t1", 500.0)),
    "holds": ("work", lambda store: store.work.holds(1, "t1", 100.0)),
    "finish": ("work", lambda store: store.work.finish(1, "t1", Outcome("dead", "error"), 100.0)),
    "unrouted": ("work", lambda store: store.work.unrouted(10)),
    "waiting": ("work", lambda store: store.work.waiting(1e9, 10)),
    "remember": ("work", lambda store: store.work.remember([handler("m.f")], 100.0)),
    "events of a source": ("archive", lambda store: store.archive.events(Filter(source="acme"), 10)),
    "events of a status": ("archive", lambda store: store.archive.events(Filter(status="dead", before=9), 10)),
    "events of both": (
        "archive",
        lambda store: store.archive.events(Filter(source="acme", status="dead", after=0), 10),
    ),
    "count of a status": ("archive", lambda store: store.archive.count(Filter(status="dead"))),
    "event": ("archive", lambda store: store.archive.event(1)),
    "backlog of events": ("watch", lambda store: store.watch.look(1.0, 1.0)),
    "event of a request": ("archive", lambda store: store.archive.find("r1")),
    "backlog": ("archive", lambda store: store.archive.backlog()),
    "live delivery": ("archive", lambda store: store.archive.replay(1, "m.f", can_run=True, replay_id=1, at=1.0)),
    "replay": ("archive", lambda store: store.archive.replay(3, "m.f", can_run=True, replay_id=1, at=1.0)),
}
PARTIAL = ("events_unrouted", "deliveries_waiting", "deliveries_running", "deliveries_parked", "deliveries_paused")
"""Indexes that hold only what is still to be done, so that reading all of one is no full scan."""


OF_A_HANDLER = r"INDEX deliveries_handler \(handler=\?\)$"
"""All deliveries that a handler ever had: as good as a full scan."""


@pytest.mark.parametrize("name", HOT)
def test_hot_statement_scans_no_large_table(tmp_path: Path, name: str) -> None:
    """What runs for each request, delivery or page finds its rows through an index, and sorts no more than those."""
    role, call = HOT[name]
    store = SqliteStore(tmp_path)
    claimed(store, routed(store, "m.f", "m.g")[0])
    for key in ("k2", "k3"):
        store.inlet.add_event(event(key))
    for kind, number in (("handler", 1), ("source", 2)):
        store.acting.pause(kind, "m.none", at=float(number), who="ann", why="")  # type: ignore[arg-type]
    connection = connection_of(getattr(store, role)).database.conn
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    call(store)
    connection.set_trace_callback(None)
    hot = [statement for statement in statements if re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", statement)]
    plans = {sql: [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")] for sql in hot}
    store.close()
    assert plans
    tables = r"SCAN (events|bodies|deliveries|attempts|held|d|o)\b"
    large = re.compile(rf"{tables}(?! USING .*\b({'|'.join(PARTIAL)})\b)|SEARCH .* {OF_A_HANDLER}")
    slow = {sql: plan for sql, plan in plans.items() if any(large.match(step) for step in plan)}
    assert {} == slow
    if name.startswith("newest"):
        assert all("COVERING INDEX" in step for plan in plans.values() for step in plan)
    if role == "archive" and name.startswith("events"):
        assert not [step for plan in plans.values() for step in plan if "TEMP B-TREE" in step]
