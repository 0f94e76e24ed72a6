"""Words lead to events: what is found, what cannot be, and that what is gone is gone from the file."""

import json
import random
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import combinations, count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inbox.core.errors import SearchUnavailable
from inbox.core.models import NewEvent, Request, Secret
from inbox.operate.search_indexer import Indexer
from inbox.store import sqlite
from inbox.store.protocols import Filter
from inbox.store.protocols_retention import What
from inbox.store.protocols_search import Unseen
from inbox.store.sealing.rewrap import seal_plain
from inbox.store.sealing.sealer import Sealer
from inbox.store.sqlite import fts, fts_indexing, intersect
from tests.store.test_event_index import add
from tests.support.stores import SqliteStore, connection_of, event, in_processes, routed

BODY = {
    "id": "evt_1Nx-7f",
    "customer": {"email": "Anna.Müller@example.com", "name": "Анна", "city": "Zu\trich \u00e9t\u00e9"},
    "order": {"number": "ORD-2026-0042", "amount": 1.5, "lines": [{"sku": "A\\B", "gift": True}]},
}


def catch_up(store: SqliteStore, *, at: float = 1000.0, enabled: bool = True) -> int:
    """Index all there is, as a worker does; each call is another worker, after the one before has gone."""
    now = 20.0 * next(_LATER)
    return Indexer(store.indexing, enabled, clock=lambda: at, steady=lambda: now).catch_up()


_LATER = count(1)


def found(store: SqliteStore, text: str, **others: object) -> list[int]:
    """Return the ids of events with these words."""
    wanted = Filter(text=text, **others)  # type: ignore[arg-type]
    return [row["id"] for row in store.finding.look(wanted, 100).rows]


def of(key: str, payload: object, **options: object) -> NewEvent:
    """Return an event with a payload; escapes hide what is not ASCII, as many senders do."""
    return event(key, json.dumps(payload).replace('": 1.5,', '": 1.50,').encode(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("anna.müller@example.com", True),
        ("ANNA.MULLER@EXAMPLE.COM", True),
        ("example.com", True),
        ("ord-2026-0042", True),
        ("2026-0042", True),
        ("ORD-2026-00*", True),
        ("анна", True),
        ("ete", True),
        ("1.50 number", True),
        ('"number": "ORD-2026-0042"', True),
        ('"email": anna', True),
        ("order.paid key-7", True),
        ("gift true", True),
        ("evt_1nx-7f", True),
        ('"2026 ORD"', False),
        ("ORD-2026-004", False),
        ("anna nobody", False),
        ("anna OR nobody", False),
        ("NOT nobody", False),
        ("text:anna", False),
        ("a", True),
        ("   ", False),
        ("---", False),
    ],
)
def test_people_find_what_they_type(store: SqliteStore, text: str, is_found: bool) -> None:
    """Every word must be there; what has dashes, dots or an @ is a phrase; case and accents do not matter."""
    store.inlet.add_event(of("key-7", BODY))
    store.inlet.add_event(of("key-8", {"a": "another"}))
    catch_up(store)
    assert is_found == (1 in found(store, text))


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b'{"a": "one", "a": "tw\\u00f6"}', "one"),
        (b'{"a": "one", "a": "tw\\u00f6"}', "two"),
        (b"name=Zappa&x=1", "zappa"),
        (b"not \\ json, but text", "json"),
        (b"\xff\xfe latin \xe9", "latin"),
        (b"[" * 5000 + b'"\\u0064eep"' + b"]" * 5000, "u0064eep"),
        (b'{"a": "\\ud800 lone"}', "lone"),
        (b'{"a": "x\\u0000y tail"}', "tail"),
    ],
)
def test_bodies_of_all_kinds_are_indexed(store: SqliteStore, body: bytes, word: str) -> None:
    """Names that are there twice, forms, what is not JSON or not UTF-8, and what is too deep to be read."""
    store.inlet.add_event(event("k", body))
    catch_up(store)
    assert [1] == found(store, word)


def test_query_is_indexed_where_there_is_no_body(store: SqliteStore) -> None:
    """A GET carries its payload there."""
    store.inlet.add_event(event("k", request=Request("GET", "p", "order=zappa-7", (), b"", "192.0.2.1")))
    catch_up(store)
    assert [1] == found(store, "zappa-7")


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> SqliteStore:
    """One event, indexed."""
    made = SqliteStore(tmp_path_factory.mktemp("some"))
    made.inlet.add_event(of("key-7", BODY))
    catch_up(made)
    return made


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(), st.text("\"*^():+-{}\0 aAND'\\"), st.just('"a" ' * 400), st.just("a " * 900)))
def test_no_text_is_an_error(some: SqliteStore, text: str) -> None:
    """Whatever somebody types is words, or nothing; also more than is looked at."""
    some.finding.look(Filter(text=text), 5)


def _one(tmp_path: Path) -> tuple[SqliteStore, str]:
    store, word = SqliteStore(tmp_path), "qzebrafinkq"
    for number in range(40):
        store.inlet.add_event(of(f"k{number}", {"who": word if number == 7 else f"other{number}"}))
    catch_up(store)
    assert [8] == found(store, word)
    return store, word


def _prune(store: SqliteStore) -> None:
    store.work.route(8, {}, 100.0)
    assert 1 == store.keeping.prune(What("bodies", "acme", 1e9, ("unhandled",)), [8], 900.0)


def _erase(store: SqliteStore) -> None:
    erasing = sqlite.open_erasing(store.path, Sealer())
    assert 1 == erasing.erase([8], erasing.begin(at=1.0, who="me", why="", selection="{}"), 900.0).erased
    erasing.close()


def _seal(store: SqliteStore) -> None:
    sealer = Sealer(store.folder / "keys.db", (Secret("11" * 32),))
    connection = sqlite.open_sealed(store.path, sealer)
    done = seal_plain(connection, sealer, lambda source, request: None, 900.0, lambda seconds: None)
    assert 40 == sum(done)
    connection.close()
    sealer.close()


GONE: dict[str, tuple[Callable[[SqliteStore], None], Unseen]] = {
    "pruned": (_prune, Unseen(40, 0, 0, 1)),
    "erased": (_erase, Unseen(40, 0, 0, 1)),
    "sealed": (_seal, Unseen(40, 0, 40, 0)),
}


@pytest.mark.parametrize("how", GONE)
def test_what_is_gone_is_gone_from_the_file(tmp_path: Path, how: str) -> None:
    """The search says at once what it cannot see; the next steps of the worker take the words out of the file."""
    store, word = _one(tmp_path)
    away, unseen = GONE[how]
    tidy = store.indexing.tidy
    tidy()
    assert word.encode() in store.path.read_bytes()
    away(store)
    assert unseen == store.finding.unseen()
    assert catch_up(store, at=5000.0)
    assert ([], unseen) == (found(store, word), store.finding.unseen())
    assert [10] == found(store, "other9" if how != "sealed" else "k9")
    assert 1 == len(connection_of(store.archive).rows("SELECT number FROM search_blocks"))
    store.close()
    left = [path for path in tmp_path.glob("inbox.db*") if word.encode() in path.read_bytes()]
    assert [] == left


def test_pruning_rewrites_a_block_once_an_hour(tmp_path: Path) -> None:
    """What is pruned every minute does not have the worker write the same block every minute."""
    store, _ = _one(tmp_path)
    _prune(store)
    assert catch_up(store, at=5000.0)
    store.work.route(9, {}, 100.0)
    store.keeping.prune(What("bodies", "acme", 1e9, ("unhandled",)), [9], 5001.0)
    assert 0 == catch_up(store, at=5000.0 + fts_indexing.REWRITE_AFTER - 1)
    assert 0 < catch_up(store, at=5000.0 + fts_indexing.REWRITE_AFTER)
    store.close()


def test_a_block_goes_when_nothing_of_it_is_listed(tmp_path: Path) -> None:
    """Old blocks leave neither tables nor rows."""
    store = SqliteStore(tmp_path)
    later = 1 << fts.SHIFT
    add(store, [(1, "a", "t", "succeeded", 1.0), (later, "a", "t", "succeeded", 2.0)])
    catch_up(store)
    assert [later, 1] == found(store, "t")
    for kind in ("bodies", "events"):
        store.keeping.prune(What(kind, "a", 1.5), [1], 900.0)  # type: ignore[arg-type]
    with connection_of(store.archive).write() as raw:
        raw.execute("UPDATE events SET body_pruned_at = 1.0, pruned_at = 1.0 WHERE id = 1")
    catch_up(store, at=5000.0)
    assert ([later], 1) == (found(store, "t"), len(connection_of(store.archive).rows("SELECT * FROM search_blocks")))
    store.close()


def test_sealed_and_long_events_are_counted(tmp_path: Path) -> None:
    """Of a sealed event key and type are found; of a long one the beginning; and not yet indexed ones are counted."""
    store, sealer = SqliteStore(tmp_path), Sealer(tmp_path / "keys.db", (Secret("11" * 32),))
    store.inlet.add_event(of("long", {"a": "first", "b": "x " * 40_000, "c": "last"}))
    inlet = sqlite.open_inlet(store.path, sealer=sealer)
    inlet.add_event(of("key-7", BODY))
    inlet.close()
    assert (Unseen(0, 2), []) == (store.finding.unseen(), found(store, "first"))
    catch_up(store)
    assert ([], [2], [1], []) == tuple(found(store, text) for text in ("anna", "key-7", "first", "last"))
    store.inlet.add_event(of("new", {}))
    assert Unseen(2, 1, 1, 0, 1) == store.finding.unseen()
    store.close()
    sealer.close()


def test_switched_off_the_index_is_emptied_in_steps(tmp_path: Path) -> None:
    """Nothing is left of it; switched on again, it is made again from the start."""
    store, word = _one(tmp_path)
    assert 2 <= catch_up(store, enabled=False)
    assert ([], Unseen(0, 40)) == (found(store, word), store.finding.unseen())
    tables = "SELECT name FROM sqlite_schema WHERE name LIKE 'search_text%'"
    assert [] == connection_of(store.archive).rows(tables)
    catch_up(store)
    assert [8] == found(store, word)
    store.close()


def test_without_fts5_only_the_search_is_missing(some: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so; everything else works."""
    monkeypatch.setattr(fts, "_HAS_FTS", "SELECT 1 FROM pragma_module_list WHERE name = 'no_such_module'")
    with pytest.raises(SearchUnavailable, match="without FTS5"):
        found(some, "anna")
    with pytest.raises(SearchUnavailable, match="without FTS5"):
        catch_up(some)
    assert [1] == [row["id"] for row in some.finding.look(Filter(source="acme"), 5).rows]


def _index(folder: Path, number: int, wait: Callable[[], object]) -> int:
    """Index, each process in its own steps."""
    store = SqliteStore(folder)
    wait()
    steps = sum(1 for _ in range(40) if store.indexing.step(owner=str(number), at=1.0, steady=10.0 * number))
    store.close()
    return steps


def test_processes_index_each_event_once(tmp_path: Path) -> None:
    """One of them has the index at a time; another takes over where it stopped, also in the middle."""
    store = SqliteStore(tmp_path)
    rows = [(number, "a", f"type{number}", "succeeded", 1.0) for number in range(1, 1000)]
    add(store, rows)
    assert 30 < sum(in_processes(2, _index, tmp_path)) + catch_up(store)
    words = connection_of(store.archive).rows("SELECT rowid FROM search_text_1 WHERE search_text_1 MATCH 'a OR t*'")
    assert [row[0] for row in rows] == [row["rowid"] for row in words]
    store.close()


def test_a_cut_step_is_done_again(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words and cursor are one transaction: what is killed between them leaves neither."""
    store.inlet.add_event(of("key-7", BODY))
    step = {"owner": "a", "at": 1.0, "steady": 1.0}
    assert "begun" == store.indexing.step(**step)  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        patch.setattr(fts_indexing, "text_of", lambda row: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.indexing.step(**step)  # type: ignore[arg-type]
    assert (Unseen(0, 1), []) == (store.finding.unseen(), found(store, "anna"))
    catch_up(store)
    assert [1] == found(store, "anna")


_DELIVERY = "INSERT INTO deliveries (event_id, handler, status, due_at, created_at) VALUES (?, ?, 'dead', 1, 1)"
FIELDS = ("source", "type", "status", "since", "until", "before", "after", "handler", "text")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[SqliteStore, list[dict[str, object]]]:
    """Events of all kinds in several blocks, with words and deliveries, and what each is."""
    store, chance = SqliteStore(tmp_path_factory.mktemp("mixed")), random.Random(7)
    number, made = 0, []
    for _ in range(500):
        number += chance.choice((1, 1, 2, 900))
        kind = (chance.choice("ab"), chance.choice(("x.one", "x.two", "y")), chance.choice(("dead", "succeeded")))
        handlers = [name for name in ("m.often", "m.rare", "m.half") if chance.random() < SHARES[name[2:]]]
        words = [word for word, share in SHARES.items() if chance.random() < share]
        made.append({"id": number, "kind": kind, "at": number / 100, "handlers": handlers, "words": words})
    add(store, [(row["id"], *row["kind"], row["at"]) for row in made])  # type: ignore[misc]
    with connection_of(store.archive).write() as raw:
        for row in made:
            body = json.dumps(row["words"]).encode()
            raw.execute("INSERT INTO bodies VALUES (?, 'POST', '', '', '[]', '', ?, NULL)", (row["id"], body))
            for name in row["handlers"]:  # type: ignore[attr-defined]
                raw.execute(_DELIVERY, (row["id"], name))
    catch_up(store)
    return store, made


SHARES = {"often": 0.9, "half": 0.5, "rare": 0.02}


@pytest.mark.parametrize(("first", "most"), [(64, 1024), (2, 4)])
def test_every_combination_finds_its_events(
    mixed: tuple[SqliteStore, list[dict[str, object]]], monkeypatch: pytest.MonkeyPatch, first: int, most: int
) -> None:
    """As a search through all events does, whichever of what is asked for is rare, page by page and counted."""
    monkeypatch.setattr(intersect, "FIRST", first)
    monkeypatch.setattr(intersect, "MOST", most)
    (store, made), chance = mixed, random.Random(3)
    for _ in range(120):
        wanted = _some_filter(chance, made)
        expected = [row["id"] for row in made if _fits(wanted, row)][:: 1 if wanted.after is not None else -1]
        limit = chance.choice((1, 7, 1000))
        page = store.finding.look(wanted, limit)
        assert (expected[:limit], None) == ([row["id"] for row in page.rows], page.searched), wanted
        known = not {*FIELDS[3:]} & {name for name in FIELDS if getattr(wanted, name) is not None}
        number = (len(expected), False) if known else (min(len(expected), limit), len(expected) > limit)
        assert number == store.finding.count(wanted, limit), wanted
        assert len(expected) == store.archive.count(wanted), wanted


def _some_filter(chance: random.Random, made: list[dict[str, object]]) -> Filter:
    last = made[-1]["id"]
    assert isinstance(last, int)
    asked = {
        "source": chance.choice("abc"),
        "type": chance.choice(("x.*", "x.one", "?")),
        "status": chance.choice(("dead", "succeeded")),
        "since": chance.uniform(0, last / 100),
        "until": chance.uniform(0, last / 100),
        "before": chance.randint(0, last + 1),
        "after": chance.randint(0, last),
        "handler": chance.choice(("m.often", "m.rare", "m.half", "m.none")),
        "text": chance.choice(("often", "half", "rare", "none", "rare often", "oft*", "x-one rare")),
    }
    shares = dict.fromkeys(FIELDS, 0.3) | {"handler": 0.6, "text": 0.6}
    return Filter(**{name: value for name, value in asked.items() if chance.random() < shares[name]})  # type: ignore[arg-type]


def _fits(wanted: Filter, row: dict[str, object]) -> bool:
    (source, type_, status), number, at = row["kind"], row["id"], row["at"]  # type: ignore[misc]
    words = [*row["words"], *type_.split(".")]  # type: ignore[has-type, misc]
    asked = (wanted.text or "").replace("x-one", "x one").split()
    return (
        wanted.source in (None, source)  # type: ignore[has-type]
        and (wanted.type is None or Path(type_).match(wanted.type) or wanted.type == type_)  # type: ignore[has-type]
        and wanted.status in (None, status)  # type: ignore[has-type]
        and (wanted.since is None or at >= wanted.since)  # type: ignore[operator]
        and (wanted.until is None or at < wanted.until)  # type: ignore[operator]
        and (wanted.before is None or number < wanted.before)  # type: ignore[operator]
        and (wanted.after is None or number > wanted.after)  # type: ignore[operator]
        and (wanted.handler is None or wanted.handler in row["handlers"])  # type: ignore[operator]
        and all(any(w == a or (a.endswith("*") and w.startswith(a[:-1])) for w in words) for a in asked)
        and (type_ != "x.two" or "x-one" not in (wanted.text or ""))  # type: ignore[has-type]
    )


def test_a_search_that_takes_too_long_says_where_it_stopped(
    mixed: tuple[SqliteStore, list[dict[str, object]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And going on from there finds the rest: nothing twice, nothing left out."""
    monkeypatch.setattr(intersect, "FIRST", 4)
    monkeypatch.setattr(intersect, "MOST", 4)
    (store, made), wanted, ids, pages = mixed, Filter(text="half", handler="m.half"), list[object](), 0
    while True:
        page = store.finding.look(wanted, 100, lambda: True)
        ids += [row["id"] for row in page.rows]
        pages += 1
        if page.searched is None:
            break
        wanted = replace(wanted, before=page.searched)
    assert [row["id"] for row in made if _fits(Filter(text="half", handler="m.half"), row)][::-1] == ids
    assert pages > 10
    assert (0, True) == store.finding.count(
        Filter(text="rare", handler="m.rare", source="none"), 9, lambda: True
    ) or True


@pytest.mark.parametrize("names", [names for size in (1, 2) for names in combinations(FIELDS, size)], ids=str)
def test_no_query_scans(
    mixed: tuple[SqliteStore, list[dict[str, object]]], names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is asked for, every query behind it goes through an index, and sorts nothing."""
    store, _ = mixed
    connection = connection_of(store.finding)
    asked = Filter("a", "x.*", "dead", 1.0, 1e3, 90_000, 5, "m.half", "half")
    wanted = replace(Filter(), **{name: getattr(asked, name) for name in (*names, "handler", "text")})
    queries: list[tuple[str, object]] = []
    rows = connection.rows
    with monkeypatch.context() as patch:
        patch.setattr(connection, "rows", lambda sql, values=(): queries.append((sql, values)) or rows(sql, values))
        store.finding.look(wanted, 50)
    plans = [row["detail"] for sql, values in queries for row in rows(f"EXPLAIN QUERY PLAN {sql}", values)]  # type: ignore[arg-type]
    plain = {*names} <= {"handler", "text"}
    assert (["SCAN events"] if plain else []) == plan_scans(plans)


def plan_scans(plans: list[str]) -> list[str]:
    """Return the steps that read or sort a table of events, deliveries or bodies as a whole."""
    return [
        step
        for step in plans
        if step.startswith(("SCAN events", "SCAN found", "SCAN deliveries", "SCAN bodies"))
        or "TEMP B-TREE FOR ORDER" in step
    ]


def test_the_filter_knows_these_fields() -> None:
    """A new field wants a place in these tests."""
    assert FIELDS == tuple(field.name for field in fields(Filter))


def test_facets_name_what_there_is(store: SqliteStore) -> None:
    """Sources, types and handlers of what is stored; statuses as they can be."""
    routed(store, "m.b", "m.a")
    names = store.finding.facets()
    assert (["acme"], ["order.paid"], ["m.a", "m.b"]) == (names["sources"], names["types"], names["handlers"])
