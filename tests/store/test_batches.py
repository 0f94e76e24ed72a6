"""A batch of the SQLite inlet: what is written together becomes what it would have become one by one."""

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inbox.core.models import NewEvent, Refusal, Stored
from inbox.store.protocols import Filter
from inbox.store.sql.events import BODY_COLUMNS, COLUMNS, SqliteInlet
from tests.support.stores import SqliteStore, event, held, invalid, refusal

WINDOW = 3.0
OLDEST_LIMIT = 32_766
"""Variables of one statement in SQLite 3.32, https://www.sqlite.org/limits.html; RETURNING needs a later one."""

_numbers = itertools.count()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SqliteStore, SqliteStore]]:
    """Two stores: for what comes one by one, and in batches."""
    made = SqliteStore(tmp_path_factory.mktemp("single")), SqliteStore(tmp_path_factory.mktemp("batched"))
    yield made
    for store in made:
        store.close()


def written(store: SqliteStore, *batches: list[Any]) -> list[Any]:
    """Write the batches as the group commit does, and return the answers to all items."""
    inlet = store.inlet
    assert isinstance(inlet, SqliteInlet)
    return [answer for batch in batches for answer in inlet._write(batch)]


def rows(store: SqliteStore, *names: str) -> dict[int, tuple[Any, ...]]:
    """Return the events of these sources with their bodies by id; another event is named by its key and content."""
    with closing(sqlite3.connect(store.path)) as connection:
        found = connection.execute(
            f"""
            SELECT e.id, e.source, e.key, e.type, e.status, e.received_at, e.size, e.content_digest, e.violations,
                   e.retired, e.bound, e.duplicates, e.last_duplicate_at, o.key, o.content_digest, o.received_at,
                   b.path, b.query, b.headers, b.remote, b.body
            FROM events e JOIN bodies b ON b.event_id = e.id LEFT JOIN events o ON o.id = e.conflict_of
            WHERE e.source IN ({", ".join("?" * len(names))}) ORDER BY e.id
            """,
            names,
        )
        return {row[0]: row[1:] for row in found}


def told(answers: list[Any], table: dict[int, tuple[Any, ...]]) -> list[Any]:
    """Return answers with what their row is instead of its id."""
    return [
        (answer.outcome, answer.wake, table[answer.id]) if isinstance(answer, Stored) else answer for answer in answers
    ]


KINDS = st.tuples(
    st.sampled_from(["plain", "plain", "window", "bound", "refusal", "held", "probe"]),
    st.sampled_from("abc"),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from([0.0, 1.0, WINDOW + 1]),
)


def item_of(kind: str, key: str, content: int, bad: bool, at: float, run: str) -> NewEvent | Refusal | None:
    """Return a fresh item; those of a source are all of one kind."""
    source = f"{kind}-{run}"
    if kind == "probe":
        return None
    if kind in ("refusal", "held"):
        return refusal(source, at=at) if kind == "refusal" else held(b"%d" % content, source=source, at=at, rows=2)
    make = invalid if bad else event
    since = at - WINDOW if kind == "window" else None
    return make(key, body=b"%d" % content, source=source, at=at, since=since, bound=kind == "bound")


@settings(max_examples=60, deadline=None)
@given(st.lists(KINDS, max_size=24), st.lists(st.integers(1, 9), min_size=24, max_size=24))
def test_batches_and_single_items_have_the_same_outcome(
    pair: tuple[SqliteStore, SqliteStore], kinds: list[Any], sizes: list[int]
) -> None:
    """Whatever comes, in batches of any size: the same answers and the same rows."""
    single, batched = pair
    run = str(next(_numbers))
    times = list(itertools.accumulate(step for *_, step in kinds))

    def items() -> list[Any]:
        return [item_of(*kind[:4], at, run) for kind, at in zip(kinds, times, strict=True)]

    batches, rest = [], items()
    for size in sizes:
        batches.append(rest[:size])
        rest = rest[size:]
    first = written(single, *([item] for item in items()))
    second = written(batched, *filter(None, batches))
    names = [f"{kind}-{run}" for kind in ("plain", "window", "bound")]
    tables = rows(single, *names), rows(batched, *names)
    assert told(first, tables[0]) == told(second, tables[1])
    assert sorted(map(repr, tables[0].values())) == sorted(map(repr, tables[1].values()))
    for source in (f"refusal-{run}", f"held-{run}"):
        assert len(single.archive.refusals(source, 99)) == len(batched.archive.refusals(source, 99))
    assert [row[1:] for row in single.archive.held(f"held-{run}", 0, 99)] == [
        row[1:] for row in batched.archive.held(f"held-{run}", 0, 99)
    ]


def test_largest_batch_is_one_statement_and_every_id_is_its_own(pair: tuple[SqliteStore, SqliteStore]) -> None:
    """128 events, many of them copies and conflicts of each other, and as many variables as the oldest SQLite takes."""
    assert 128 * max(COLUMNS, BODY_COLUMNS) <= OLDEST_LIMIT
    batch = [event(str(number % 100), body=b"%d" % (number % 120), source="largest") for number in range(128)]
    answers = written(pair[1], batch)
    table = rows(pair[1], "largest")
    assert ["accepted"] * 100 + ["conflict"] * 28 == [answer.outcome for answer in answers]
    assert 120 + 8 == len({answer.id for answer in answers}) == len(table)
    for new, answer in zip(batch, answers, strict=True):
        assert (new.key, new.request.body) == (table[answer.id][1], table[answer.id][-1])


def test_one_event_twice_is_a_duplicate(pair: tuple[SqliteStore, SqliteStore]) -> None:
    """Also when it is the same object."""
    same = event("same", source="twice")
    answers = written(pair[1], [same, same, event("other", source="twice"), same])
    assert ["accepted", "duplicate", "accepted", "duplicate"] == [answer.outcome for answer in answers]


def test_ids_of_deleted_events_are_not_given_again(store: SqliteStore) -> None:
    """Who deleted the last events has no new event under their ids, which replays and logs still name."""
    first = written(store, [event(str(number)) for number in range(5)])
    with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("DELETE FROM bodies WHERE event_id > 2")
        connection.execute("DELETE FROM events WHERE id > 2")
    second = written(store, [event(str(number)) for number in range(5)])
    assert ["duplicate"] * 2 + ["accepted"] * 3 == [answer.outcome for answer in second]
    assert min(answer.id for answer in second[2:]) > max(answer.id for answer in first)


def test_batch_that_fails_in_the_middle_leaves_nothing(store: SqliteStore) -> None:
    """All or nothing: the two statements and all that come after them are one transaction."""
    bad = event("bad", source="acme", since=1.0)
    object.__setattr__(bad, "body_digest", None)
    with pytest.raises(sqlite3.IntegrityError):
        written(store, [event("a"), event("b"), refusal(), bad])
    assert ([], 0) == (store.archive.refusals(None, 9), store.archive.count(Filter()))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path)
    yield made
    made.close()
