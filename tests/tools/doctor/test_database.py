"""SQLite and the store: damage, what waits, and what grows."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox.core.config.settings import InboxSettings
from inbox.core.errors import StoreUnusable
from inbox.store.sqlite.inspect import Library, examine
from inbox.testing import NOW, Inbox
from inbox.tools.doctor import database as contents
from inbox.tools.doctor.finding import Finding
from tests.support.machine import levels, of

FAILING = """
from inbox import Retry, handles

@handles("roomz")
def later(event):
    raise Retry("not now", after=60)
"""
LINKED = Library((3, 53, 0), frozenset(["THREADSAFE=1"]), json=True)


@pytest.fixture
def database(inbox: Inbox) -> Iterator[sqlite3.Connection]:
    """The inbox's database, which has one event, as another program sees it."""
    inbox.receive("roomz")
    with closing(sqlite3.connect(inbox.runtime.settings.database, isolation_level=None)) as connection:
        yield connection


def look(inbox: Inbox, later: float = 1.0, **options: Any) -> list[Finding]:
    """Return what is found so many seconds later."""
    inbox.runtime.__dict__.pop("registry", None)
    examined = examine(inbox.runtime.settings.database, now=NOW + later, steady=inbox.clock.steady() + later, **options)
    return list(contents.look(inbox.runtime, examined, NOW + later))


def test_a_store_that_is_worked_on_is_fine(inbox: Inbox, database: sqlite3.Connection) -> None:
    """One event that came a second ago is no backlog."""
    assert [] == levels(look(inbox))


def test_looking_changes_nothing(inbox: Inbox, database: sqlite3.Connection) -> None:
    """The database is opened for reading."""
    before = "\n".join(database.iterdump())
    look(inbox)
    assert before == "\n".join(database.iterdump())


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ((3, 37, 0), True), ((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False), ((3, 45, 0), True),
        ((3, 50, 6), True), ((3, 50, 7), False), ((3, 51, 2), True), ((3, 51, 3), False), ((3, 53, 0), False),
    ],
)  # fmt: skip
def test_versions_with_the_bug_in_the_log_are_a_warning(version: tuple[int, ...], has: bool) -> None:
    """https://sqlite.org/wal.html#walresetbug names them."""
    assert has == (["warning"] == [f.level for f in contents.library(replace(LINKED, version=version))])


@pytest.mark.parametrize(
    "lacking",
    [
        replace(LINKED, version=(3, 36, 0)),
        replace(LINKED, options=frozenset(["OMIT_WAL"])),
        replace(LINKED, options=frozenset(["THREADSAFE=0"])),
        replace(LINKED, json=False),
    ],
)
def test_a_library_without_what_is_needed_is_a_problem(lacking: Library) -> None:
    """STRICT tables, WAL, threads, JSON."""
    assert [("problem", "sqlite")] == levels([*contents.library(lacking)])


def test_the_library_that_is_linked_can_be_used() -> None:
    """Or none of the other tests would pass."""
    assert "problem" not in [item.level for item in contents.library(Library.linked())]


def test_damage_is_a_problem_and_nothing_else_is_asked(inbox: Inbox, database: sqlite3.Connection) -> None:
    """A page in the middle is overwritten."""
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = inbox.runtime.settings.database
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096)
    assert [("problem", "database")] == levels(look(inbox))


def test_what_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    """As the store itself does."""
    (tmp_path / "inbox.db").write_text("text" * 2000)
    with pytest.raises(StoreUnusable):
        examine(tmp_path / "inbox.db", now=NOW, steady=NOW)


def test_a_database_too_large_to_be_searched_is_a_warning(inbox: Inbox, database: sqlite3.Connection) -> None:
    """The search ends when its time is over, and the command for the whole search is shown."""
    database.execute("BEGIN")
    rows = [(str(number),) for number in range(3000)]
    database.executemany("INSERT INTO handlers VALUES (?, 'm', '[]', '', 1, 1.0)", rows)
    database.execute("COMMIT")
    assert [("warning", "database")] == levels(look(inbox, seconds=-1.0))


def test_another_journal_mode_is_a_problem(inbox: Inbox, database: sqlite3.Connection) -> None:
    """Somebody changed it by hand."""
    inbox.close()
    assert ("delete",) == database.execute("PRAGMA journal_mode = DELETE").fetchone()
    examined = examine(inbox.runtime.settings.database, now=NOW, steady=NOW)
    assert "delete" == examined.journal
    assert ("problem", "database") in levels(list(contents.look(inbox.runtime, examined, NOW)))


def test_events_that_nobody_routes_are_a_problem_after_five_minutes(inbox: Inbox, database: sqlite3.Connection) -> None:
    """No worker runs; only the work that is not done shows it."""
    assert [] == levels(look(inbox, later=299.0))
    (found,) = of(look(inbox, later=301.0), "backlog")
    assert "1 events were not routed, the oldest since 2026-01-01T00:00:00.000Z" == found.found


def test_deliveries_that_are_overdue_are_a_problem(inbox: Inbox, handlers: Path) -> None:
    """It was to run again in a minute."""
    (handlers / "own.py").write_text(FAILING)
    inbox.receive("roomz")
    inbox.run()
    assert [] == levels(look(inbox, later=350.0))
    assert "1 deliveries are due" in of(look(inbox, later=361.0), "backlog")[0].found


def test_deliveries_of_a_worker_that_is_gone_are_a_problem(inbox: Inbox, handlers: Path) -> None:
    """Its lease ran out, and nobody rescued them."""
    (handlers / "own.py").write_text(FAILING)
    answer = inbox.receive("roomz")
    inbox.dispatcher.route()
    work = inbox.dispatcher._work
    delivery = inbox.event(answer.id)["deliveries"][0]["id"]
    assert work.claim(delivery, token="t", worker="w", at=NOW, lease=30.0) is not None
    assert [] == levels(look(inbox, later=329.0))
    assert "1 deliveries were left by a worker that is gone" in of(look(inbox, later=331.0), "backlog")[0].found


def test_a_clock_that_is_set_makes_nobody_look_gone(inbox: Inbox, handlers: Path) -> None:
    """A lease ends by the steady clock: a worker that holds one is there, an hour ahead or back; and the other way."""
    (handlers / "own.py").write_text(FAILING)
    answer = inbox.receive("roomz")
    inbox.dispatcher.route()
    delivery = inbox.event(answer.id)["deliveries"][0]["id"]
    work, steady = inbox.dispatcher._work, inbox.clock.steady()
    assert work.claim(delivery, token="t", worker="w", at=NOW, lease=30.0, steady=steady) is not None
    path = inbox.runtime.settings.database
    assert (0, None) == examine(path, now=NOW + 3600, steady=steady + 29).abandoned
    assert (1, NOW - 3600 - 400) == examine(path, now=NOW - 3600, steady=steady + 430).abandoned
    assert (1, NOW + 30) == examine(path, now=NOW + 3600, steady=1.0).abandoned


def test_dead_events_are_a_warning(inbox: Inbox, handlers: Path) -> None:
    """With the command that runs them again."""
    (handlers / "own.py").write_text(FAILING.replace('"roomz"', '"roomz", attempts=1'))
    inbox.receive("roomz")
    inbox.run()
    (found,) = [item for item in look(inbox) if item.level != "ok"]
    assert ("warning", "1 events are dead", True) == (found.level, found.found, "inbox replay" in found.advice)


def test_deliveries_of_a_handler_that_is_gone_are_a_warning(inbox: Inbox, handlers: Path) -> None:
    """The handler was renamed while work waited for it; one that only fails to import is told with the settings."""
    (handlers / "own.py").write_text(FAILING)
    inbox.receive("roomz")
    inbox.run()
    (handlers / "own.py").write_text(FAILING.replace("later", "renamed"))
    inbox.reload()
    (found,) = [item for item in look(inbox) if item.level != "ok"]
    assert ("warning", True) == (found.level, "1 deliveries wait for own.later" in found.found)
    (handlers / "own.py").write_text("1/0")
    inbox.reload()
    inbox.runtime.__dict__.pop("registry", None)


def test_a_log_that_is_never_emptied_is_a_warning(
    inbox: Inbox, database: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody reads all the time; here 1 MiB is already too much."""
    monkeypatch.setattr(contents, "LOG", 2**20)
    database.execute("BEGIN")
    database.execute("SELECT * FROM events").fetchone()
    for number in range(20):
        inbox.receive(
            "roomz", {"id": str(number), "type": "t", "timestamp": "2026-01-01T00:00:00Z", "data": "x" * 60_000}
        )
    database.execute("COMMIT")
    assert ("warning", "database") in levels(look(inbox))


def test_a_disk_that_will_be_full_is_a_warning(inbox: Inbox, database: sqlite3.Connection) -> None:
    """The latest events came so fast, and were so large, that there is no room for a month of them."""
    inbox.advance(7200)
    inbox.receive("roomz")
    assert [] == of(look(inbox), "space")
    database.execute("UPDATE events SET size = ?", (2**50,))
    assert [("warning", "space")] == levels(of(look(inbox), "space"))


def test_a_store_that_may_hardly_grow_is_a_warning(inbox: Inbox, database: sqlite3.Connection) -> None:
    """At nine tenths of max_store_bytes."""
    size = inbox.runtime.settings.database.stat().st_size
    for limit, found in ((0, []), (size * 2, []), (size, [("warning", "database")])):
        inbox.runtime.settings = replace(inbox.runtime.settings, inbox=InboxSettings(max_store_bytes=limit))
        examined = examine(inbox.runtime.settings.database, now=NOW, steady=NOW)
        assert found == levels([*contents._size(inbox.runtime, examined)])


def test_a_proxy_that_the_settings_do_not_know_is_a_warning(inbox: Inbox) -> None:
    """Requests have X-Forwarded-For, and trusted_proxies is 0."""
    inbox.receive("roomz", headers={"X-Forwarded-For": "192.0.2.1"})
    assert [("warning", "address")] == levels(look(inbox))
    settings = inbox.runtime.settings
    inbox.runtime.settings = replace(settings, server=replace(settings.server, trusted_proxies=1))
    assert [] == levels(look(inbox))


def test_the_newest_time_is_that_of_events_runs_and_handlers(inbox: Inbox, handlers: Path) -> None:
    """So that a clock that was set back shows."""
    inbox.receive("roomz")
    path = inbox.runtime.settings.database
    assert NOW == examine(path, now=NOW, steady=NOW).newest
    inbox.advance(50)
    (handlers / "own.py").write_text(FAILING)
    inbox.run()
    assert NOW + 50 == examine(path, now=NOW, steady=NOW).newest
