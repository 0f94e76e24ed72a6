"""With a key nothing that a request said can be read in the files; without it, or with another one, nothing starts."""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.core.errors import ConfigError, Erased, InboxError, NotFound, StoreUnusable, Unreadable
from inbox.core.models import NewEvent, Refusal, Request, Secret
from inbox.store import sqlite
from inbox.store.protocols import Filter, Outcome
from inbox.store.sealing import cipher
from inbox.store.sealing.key_file import KeyFile
from inbox.store.sealing.rewrap import rewrap, seal_plain, sweep, tidy
from inbox.store.sql.erasure import Erasure
from inbox.store.sqlite import Sealer
from tests.store.test_sqlite_schema import run
from tests.support.stores import SqliteStore, event, held, invalid, refusal

OLD, NEW = Secret("11" * 32), Secret("22" * 32)
PRIVATE = Request("POST", "p-Zappa", "q=Zappa", (("x-who", "Zappa"),), b'{"who": "Zappa"}', "192.0.2.77")


class Store(SqliteStore):
    """A store with keys; `wait` is not slept."""

    def __init__(self, folder: Path, *secrets: Secret) -> None:
        super().__init__(folder)
        self.sealer = Sealer(folder / "keys.db", secrets)

    def open_inlet(self):  # type: ignore[no-untyped-def]
        return self._closing(sqlite.open_inlet(self.path, sealer=self.sealer))

    def open_work(self):  # type: ignore[no-untyped-def]
        return self._closing(sqlite.open_work(self.path, sealer=self.sealer))

    @property
    def archive(self):  # type: ignore[no-untyped-def]
        return self._closing(sqlite.open_archive(self.path, sealer=self.sealer))

    @property
    def erasing(self):  # type: ignore[no-untyped-def]
        return self._closing(sqlite.open_erasing(self.path, self.sealer))

    def erase(self, *ids: int) -> Erasure:
        """Erase events as the command does."""
        erasing = self.erasing
        done = erasing.erase(ids, erasing.begin(at=500.0, who="me", why="asked", selection="{}"), 500.0)
        erasing.tidy()
        return done

    def close(self) -> None:
        super().close()
        self.sealer.close()


Make = Callable[..., Store]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return what opens the store of this folder with these keys, the first of which seals."""
    made: list[Store] = []

    def open_one(*secrets: Secret) -> Store:
        made.append(Store(tmp_path, *secrets))
        return made[-1]

    yield open_one
    for store in made:
        store.close()


def private(key: str = "k1", subject: str | None = "zappa@example.com") -> NewEvent:
    """Return an event that says something about somebody."""
    return replace(event(key, request=PRIVATE), subject=subject)


def found(folder: Path, *texts: bytes) -> list[str]:
    """Return which files have one of the texts, in whatever case."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(text.lower() in path.read_bytes().lower() for text in texts)
    ]


def test_nothing_that_was_said_is_in_the_files(make: Make, tmp_path: Path) -> None:
    """Bodies, paths, queries, headers, subjects, messages, held requests, refusals: database, log, keys and backup."""
    store = make(OLD)
    store.inlet.add_event(private())
    store.inlet.add_event(replace(invalid("k2", request=PRIVATE), subject="zappa@example.com"))
    conflict = store.inlet.add_event(event(request=replace(PRIVATE, body=b"Zappa again")))
    secret = replace(refusal(), remote="192.0.2.77", headers=(("x", "Zappa"),))
    store.inlet.add_refusal(secret)
    kept = held()
    assert kept.held is not None
    store.inlet.add_refusal(replace(secret, held=replace(kept.held, request=PRIVATE)))
    sqlite.back_up(store.path, tmp_path / "copy.db", tell=lambda *_: None, sealer=store.sealer)
    sqlite.back_up(store.path, tmp_path / "unopened.db", tell=lambda *_: None)
    assert (tmp_path / "inbox.db-wal").stat().st_size > 0
    assert [] == found(tmp_path, b"zappa", b"192.0.2.77", b"is not text")
    assert (PRIVATE, b"Zappa again") == (store.archive.request(1), store.archive.request(conflict.id).body)
    assert [["x-who", "Zappa"]] == store.archive.event(1)["request"]["headers"]
    assert ["192.0.2.77"] * 2 == [row["remote"] for row in store.archive.refusals(None, 9)]
    assert ((("x", "Zappa"),),) == tuple(tuple(map(tuple, row["headers"])) for row in store.archive.refusals(None, 1))
    assert [(1, PRIVATE)] == [(number, request) for number, _, request in store.archive.held("acme", 0, 9)]
    assert [len(PRIVATE.body)] == [row["size"] for row in store.archive.list_held(None)]


def test_handlers_get_what_came(make: Make) -> None:
    """A claimed delivery has the request."""
    store = make(OLD)
    stored = store.inlet.add_event(private())
    (delivery,) = store.work.route(stored.id, {"m.f": True}, 100.0)
    claimed = store.work.claim(delivery, token="t", worker="w", at=100.0, lease=30.0)
    assert claimed is not None
    assert PRIVATE == claimed.request


def test_copies_of_a_sealed_event_are_recognised(make: Make) -> None:
    """A copy is a duplicate and leaves no key; other content is a conflict."""
    store = make(OLD)
    outcomes = [store.inlet.add_event(item).outcome for item in (private(), private(), event("k1", b"other"))]
    assert ["accepted", "duplicate", "conflict"] == outcomes
    assert [(2,)] == run(store.path.with_name("keys.db"), "SELECT count(*) FROM keys")


@given(
    plain=st.binary(),
    bound=st.binary(max_size=9),
    other=st.binary(max_size=9),
    at=st.integers(0),
    bit=st.integers(0, 7),
)
def test_what_is_sealed_opens_only_as_it_was(plain: bytes, bound: bytes, other: bytes, at: int, bit: int) -> None:
    """Both ways of sealing give back what they got; one bit changed, or bound to something else, opens nothing."""
    key, sealed = cipher.seal(plain, bound)
    row = cipher.seal_row(key, plain, bound)
    assert (plain, plain) == (cipher.open_sealed(key, sealed, bound), cipher.open_row(key, row, bound))
    for text, opened in ((sealed, cipher.open_sealed), (row, cipher.open_row)):
        place = at % len(text)
        changed = text[:place] + bytes([text[place] ^ 1 << bit]) + text[place + 1 :]
        with pytest.raises(cipher.KeyFileDamaged):
            opened(key, changed, bound)
        if other != bound:
            with pytest.raises(cipher.KeyFileDamaged):
                opened(key, text, other)


@pytest.mark.parametrize("columns", ["body", "body, seal"], ids=["body", "with its key"])
def test_swapped_rows_are_detected(make: Make, columns: str) -> None:
    """A body that was put into another row does not open there, whether its key comes along or not."""
    store = make(OLD)
    for key in ("a", "b"):
        store.inlet.add_event(private(key))
    store.close()
    run(
        store.path,
        "CREATE TEMP TABLE other AS SELECT * FROM bodies",
        f"UPDATE bodies SET ({columns}) = (SELECT {columns} FROM other WHERE other.event_id = 3 - bodies.event_id)",
    )
    for event_id in (1, 2):
        with pytest.raises(Unreadable, match=f"event {event_id}"):
            store.archive.request(event_id)
    assert "unreadable" in store.archive.event(1)
    with pytest.raises(StoreUnusable, match="event 1"):
        sqlite.back_up(store.path, store.folder / "copy.db", tell=lambda *_: None, sealer=store.sealer)


def test_a_delivery_that_does_not_open_is_dead_and_says_why(make: Make) -> None:
    """The handler never sees garbage, and the event is not forgotten."""
    store = make(OLD)
    stored = store.inlet.add_event(private())
    (delivery,) = store.work.route(stored.id, {"m.f": True}, 100.0)
    run(store.path, "UPDATE bodies SET body = x'00112233445566778899aabbccddeeff'")
    assert store.work.claim(delivery, token="t", worker="w", at=100.0, lease=30.0) is None
    shown = store.archive.event(1)
    assert ("dead", "dead") == (shown["status"], shown["deliveries"][0]["status"])
    assert "is not what was sealed there" in shown["deliveries"][0]["error"]


@pytest.mark.parametrize("secrets", [(), (NEW,)], ids=["none", "another"])
def test_wrong_key_is_an_error_at_start(make: Make, secrets: tuple[Secret, ...]) -> None:
    """Receiver and worker name the setting and what is missing; lists work, and a body says why it is not shown."""
    make(OLD).inlet.add_event(private())
    store = make(*secrets)
    for role in ("inlet", "work"):
        with pytest.raises(ConfigError, match=r"inbox\.seal_key") as error:
            getattr(store, role)
        assert not secrets or "(2 data keys), which is not set" in str(error.value)
    assert 1 == store.archive.count(Filter())
    with pytest.raises(Unreadable, match="seal"):
        store.archive.request(1)


@pytest.mark.parametrize("text", ["", "short", "zz" * 32, "11" * 31, "1" * 63])
def test_key_that_is_none_is_an_error(text: str) -> None:
    """It says what is allowed, and never shows the key."""
    with pytest.raises(ConfigError, match="32 bytes") as error:
        Sealer(Path("keys.db"), [Secret(text)])
    assert not text or text not in str(error.value)


def test_key_is_hex_or_base64_and_never_shown() -> None:
    """Both spell the same key; no repr has it."""
    hexed, based = (Sealer(Path("k"), [Secret(text)]).masters[0] for text in ("00" * 32, "A" * 43 + "="))
    assert hexed == based
    assert repr(hexed) == f"Master(name='{hexed.name}')"


def test_missing_or_other_file_of_keys_is_an_error(make: Make, tmp_path: Path) -> None:
    """It is not made anew beside a database that had one, and one of another inbox is not taken."""
    first = make(OLD)
    first.inlet.add_event(private())
    first.close()
    for path in tmp_path.glob("keys.db*"):
        path.rename(tmp_path / f"moved-{path.name}")
    with pytest.raises(StoreUnusable, match=r"keys\.db is missing"):
        _ = make(OLD).inlet
    (tmp_path / "other").mkdir()
    other = Store(tmp_path / "other", OLD)
    _ = other.inlet
    other.close()
    shutil.copy(tmp_path / "other" / "keys.db", tmp_path / "keys.db")
    with pytest.raises(StoreUnusable, match="belongs to another inbox"):
        _ = make(OLD).inlet


def test_rotation_wraps_keys_and_leaves_bodies(make: Make) -> None:
    """With both keys everything opens; after resealing the new one is enough, and no body has changed."""
    store = make(OLD)
    for number in range(3):
        store.inlet.add_event(private(f"k{number}"))
    bodies = "SELECT event_id, body, seal FROM bodies"
    before = run(store.path, bodies)
    both = make(NEW, OLD)
    both.inlet.add_event(private("k3"))
    assert PRIVATE == both.archive.request(1) == both.archive.request(4)
    assert [4] == sorted(set(both.sealer.keys.masters().values()) - {1})  # three keys and the store's secret
    assert 4 == sum(rewrap(both.sealer, lambda seconds: None))
    assert before == run(store.path, bodies)[:3]
    new = make(NEW)
    assert [PRIVATE] * 4 == [new.archive.request(number) for number in range(1, 5)]
    assert [1, 2, 3, 4] == new.erasing.about("acme", "ZAPPA@example.com ")
    assert "accepted" == new.inlet.add_event(private("k4")).outcome


def test_rotation_goes_on_where_it_ended(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended after the first step, the rest is done the next time."""
    monkeypatch.setattr("inbox.store.sealing.rewrap.STEP", 2)
    store = make(OLD)
    for number in range(5):
        store.inlet.add_event(private(f"k{number}"))
    both = make(NEW, OLD)
    steps = rewrap(both.sealer, lambda seconds: None)
    assert [1, 2] == [next(steps), next(steps)]
    steps.close()
    with pytest.raises(ConfigError, match=r"3 data keys"):
        _ = make(NEW).inlet
    assert 3 == sum(rewrap(both.sealer, lambda seconds: None))
    _ = make(NEW).inlet


def test_what_was_there_before_the_key_is_sealed_on_demand(make: Make, tmp_path: Path) -> None:
    """Both kinds open side by side; afterwards nothing is in the clear, subjects are noted, and messages are gone."""
    plain = make()
    plain.inlet.add_event(private())
    plain.inlet.add_event(invalid("k2", request=PRIVATE))
    secret = replace(refusal(), remote="192.0.2.77", headers=(("x", "Zappa"),))
    plain.inlet.add_refusal(replace(secret, held=replace(held().held, request=PRIVATE)))  # type: ignore[arg-type]
    plain.close()
    store = make(OLD)
    store.inlet.add_event(private("k3"))
    assert PRIVATE == store.archive.request(1) == store.archive.request(3)
    connection = sqlite.open_sealed(store.path, store.sealer)
    steps = seal_plain(connection, store.sealer, lambda source, request: "zappa@example.com", 9.0, lambda seconds: None)
    assert 4 == sum(steps)
    assert tidy(connection, store.sealer)
    connection.close()
    assert [] == found(tmp_path, b"zappa", b"192.0.2.77", b"is not text")
    assert [PRIVATE] * 3 == [store.archive.request(number) for number in (1, 2, 3)]
    assert [PRIVATE] == [request for _, _, request in store.archive.held("acme", 0, 9)]
    assert "192.0.2.77" == store.archive.refusals(None, 1)[0]["remote"]
    assert [1, 2, 3] == store.erasing.about("acme", "zappa@example.com")


def test_erased_event_is_gone_and_its_copy_is_recognised(make: Make, tmp_path: Path) -> None:
    """Body, data key, values and tracebacks go; the event key stays, an entry says who, when, why and how many."""
    store = make(OLD)
    stored = store.inlet.add_event(private())
    (delivery,) = store.work.route(stored.id, {"m.f": True}, 100.0)
    assert store.work.claim(delivery, token="t", worker="w", at=100.0, lease=30.0)
    store.work.finish(delivery, "t", Outcome("succeeded", "succeeded", value='"Zappa"', error="Zappa!"), 101.0)
    assert Erasure(1, 0, 0) == store.erase(1)
    assert Erasure(0, 0, 0) == store.erase(1)
    store.erasing.tidy()
    shown = store.archive.event(1)
    assert (500.0, None, "") == (shown["erased_at"], shown["deliveries"][0]["value"], shown["deliveries"][0]["error"])
    with pytest.raises(Erased, match="event 1 was erased at 1970-01-01T00:08:20"):
        store.archive.request(1)
    with pytest.raises(Erased, match="event 1 was erased at 1970-01-01T00:08:20"):
        store.archive.replay(1, "m.f", can_run=True, replay_id=1, at=1.0)
    assert "duplicate" == store.inlet.add_event(private()).outcome
    assert [("me", "asked", 1), ("me", "asked", 0)] == [
        (row["who"], row["why"], row["events"]) for row in reversed(store.erasing.erasures(9))
    ]
    assert [] == found(tmp_path, b"zappa")
    assert [(None, 500.0)] == run(tmp_path / "keys.db", "SELECT wrapped, erased_at FROM keys")


def test_wrapped_key_of_an_erased_event_is_in_no_file(make: Make, tmp_path: Path) -> None:
    """Not in the file of keys, nor in its log."""
    store = make(OLD)
    store.inlet.add_event(private())
    ((wrapped,),) = run(tmp_path / "keys.db", "SELECT wrapped FROM keys")
    assert found(tmp_path, wrapped)
    store.erase(1)
    assert [] == found(tmp_path, wrapped)


def test_erasing_takes_a_running_delivery_from_its_worker(make: Make) -> None:
    """What its handler returns or raises afterwards is not written down, and the event is not run again."""
    store = make(OLD)
    store.inlet.add_event(private("unrouted"))
    stored = store.inlet.add_event(private())
    (delivery,) = store.work.route(stored.id, {"m.f": True}, 100.0)
    assert store.work.claim(delivery, token="t", worker="w", at=100.0, lease=30.0)
    store.erase(1, stored.id)
    assert not store.work.finish(delivery, "t", Outcome("dead", "error", error="Zappa"), 101.0).held
    shown = store.archive.event(stored.id)
    assert ("cancelled", "", "") == (
        shown["deliveries"][0]["status"],
        shown["deliveries"][0]["error"],
        shown["deliveries"][0]["runs"][0]["error"],
    )
    assert ([], "unhandled") == (store.work.unrouted(9), store.archive.event(1)["status"])


def test_restored_older_copy_shows_erased(make: Make, tmp_path: Path) -> None:
    """A copy from before opens no more; put back, its event is erased again, with an entry."""
    store = make(OLD)
    store.inlet.add_event(private())
    store.inlet.add_event(private("k2"))
    store.work.route(1, {"m.f": True}, 100.0)
    sqlite.back_up(store.path, tmp_path / "copy.db", tell=lambda *_: None, sealer=store.sealer)
    store.erase(1)
    store.close()
    for path in tmp_path.glob("inbox.db*"):
        path.unlink()
    sqlite.restore(tmp_path / "copy.db", store.path, at=600.0, tell=lambda *_: None, sealer=store.sealer)
    after = make(OLD)
    with pytest.raises(Erased, match="event 1 was erased at 1970-01-01T00:08:20"):
        after.archive.request(1)
    assert (1, 0) == (after.erasing.reapply(700.0, "worker"), after.erasing.reapply(800.0, "worker"))
    assert 700.0 == after.archive.event(1)["erased_at"]
    assert ("unhandled", PRIVATE) == ("unhandled", after.archive.request(2))
    assert [1] == [row["events"] for row in after.erasing.erasures(9)]


def test_erasing_reaches_copies_of_what_was_pruned(make: Make, tmp_path: Path) -> None:
    """The body is gone here, its data key is not: it goes, so that the copy which has the body opens no more."""
    store = make(OLD)
    store.inlet.add_event(private())
    sqlite.back_up(store.path, tmp_path / "copy.db", tell=lambda *_: None, sealer=store.sealer)
    run(store.path, "DELETE FROM bodies", "UPDATE events SET body_pruned_at = 200.0")
    assert Erasure(1, 0, 0) == store.erase(1)
    (tmp_path / "restored").mkdir()
    restored = tmp_path / "restored" / "inbox.db"
    sqlite.restore(tmp_path / "copy.db", restored, at=9.0, tell=lambda *_: None, sealer=store.sealer)
    copy = sqlite.open_archive(restored, sealer=store.sealer)
    with pytest.raises(Erased):
        copy.request(1)
    copy.close()


def test_copy_with_a_body_without_its_key_is_restored(make: Make, tmp_path: Path) -> None:
    """As with a file of keys that is a little older: what opens is there, the rest is counted, not refused."""
    store = make(OLD)
    for key in ("a", "b"):
        store.inlet.add_event(private(key))
    run(tmp_path / "keys.db", "DELETE FROM keys WHERE event_id = 2")
    found = sqlite.back_up(store.path, tmp_path / "copy.db", tell=lambda *_: None, sealer=store.sealer)
    store.close()
    for path in tmp_path.glob("inbox.db*"):
        path.unlink()
    restored = sqlite.restore(tmp_path / "copy.db", store.path, at=9.0, tell=lambda *_: None, sealer=store.sealer)
    assert (1, 1) == (found.unopened, restored.unopened)
    assert PRIVATE == store.archive.request(1)
    with pytest.raises(Unreadable, match="has no key of event 2"):
        store.archive.request(2)


def test_batch_becomes_what_single_events_become(make: Make) -> None:
    """Events that are written together open as those do that are written alone; copies among them leave no key."""
    store = make(OLD)
    stored = store.inlet._write([private("a"), private("b"), private("a"), event("b", b"other")])
    assert ["accepted", "accepted", "duplicate", "conflict"] == [item.outcome for item in stored]
    assert [PRIVATE, PRIVATE] == [store.archive.request(item.id) for item in stored[:2]]
    assert b"other" == store.archive.request(stored[3].id).body
    assert [(3,)] == run(store.path.with_name("keys.db"), "SELECT count(*) FROM keys")


def test_forking_waits_for_database_and_keys_in_the_order_of_a_batch(make: Make) -> None:
    """A process forks while another thread stores without end; neither waits for the other for ever."""
    store = make(OLD)
    done = threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            store.inlet.add_event(private(f"k{number}"))
            number += 1

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    for _ in range(20):
        child = os.fork()
        if not child:
            os._exit(0)
        assert (child, 0) == os.waitpid(child, 0)
    done.set()
    writer.join(20)
    assert not writer.is_alive()


def test_kept_event_is_not_erased_and_plain_one_is_counted(make: Make) -> None:
    """A legal hold wins; of an event without a key the caller learns that copies have it."""
    make().inlet.add_event(private("plain"))
    store = make(OLD)
    store.inlet.add_event(private())
    store.keeping.keep(Filter(), [2], at=1.0, who="me", why="court")
    assert Erasure(1, 1, 1) == store.erase(1, 2)
    assert PRIVATE == store.archive.request(2)
    with pytest.raises(NotFound):
        store.archive.request(1)


def test_keys_without_a_body_are_swept_others_stay(make: Make, tmp_path: Path) -> None:
    """Those of pruned events go when they are old enough; a key in use never does."""
    store = make(OLD)
    for key in ("a", "b"):
        store.inlet.add_event(private(key))
    store.close()
    run(store.path, "DELETE FROM bodies WHERE event_id = 1")
    connection = sqlite.open_sealed(store.path, store.sealer)
    assert (0, 1) == (sweep(connection, store.sealer, 100.0), sweep(connection, store.sealer, 100.5))
    connection.close()
    assert PRIVATE == store.archive.request(2)
    assert [(2,)] == run(tmp_path / "keys.db", "SELECT event_id FROM keys")


def _die_between(folder: Path) -> None:
    """Store an event, and another one whose transaction never ends because the process is killed after its key is."""
    store = Store(folder, OLD)
    store.inlet.add_event(private("whole"))
    adding = KeyFile.adding

    @contextmanager
    def deadly(self: KeyFile) -> Iterator[Any]:
        with adding(self) as collected:
            yield collected
        os.kill(os.getpid(), signal.SIGKILL)

    KeyFile.adding = deadly  # type: ignore[method-assign]
    store.inlet.add_event(private("cut"))


def test_killed_between_key_and_event(make: Make, tmp_path: Path) -> None:
    """The key is there, the event is not, and everything works: the event is taken when it comes again."""
    process = multiprocessing.get_context("spawn").Process(target=_die_between, args=(tmp_path,))
    process.start()
    process.join(30)
    assert -signal.SIGKILL == process.exitcode
    count = "SELECT count(*) FROM"
    assert [(2,)] == run(tmp_path / "keys.db", f"{count} keys")
    assert [(1,)] == run(tmp_path / "inbox.db", f"{count} events")
    store = make(OLD)
    assert "accepted" == store.inlet.add_event(private("cut")).outcome
    assert PRIVATE == store.archive.request(1) == store.archive.request(2)


def test_full_disk_of_the_keys_stores_nothing(make: Make) -> None:
    """The sender gets a 503 rather than a body that nobody can open."""
    store = make(OLD)
    store.inlet.add_event(private())
    store.sealer.keys.connection.database.conn.execute("PRAGMA query_only = ON")  # type: ignore[union-attr]
    with pytest.raises(InboxError):
        store.inlet.add_event(private("k2"))
    store.sealer.keys.connection.database.conn.execute("PRAGMA query_only = OFF")  # type: ignore[union-attr]
    assert ["accepted", "duplicate"] == [store.inlet.add_event(private("k2")).outcome for _ in range(2)]


def test_without_a_key_there_is_no_file_and_no_difference(make: Make, tmp_path: Path) -> None:
    """Rows are as they were; nothing is made beside the database."""
    store = make()
    store.inlet.add_event(private())
    assert not (tmp_path / "keys.db").exists()
    assert [(PRIVATE.body, "p-Zappa", None)] == run(store.path, "SELECT body, path, seal FROM bodies")
    assert [(None,)] == run(store.path, "SELECT subject FROM events")
    with sqlite3.connect(store.path) as raw:
        assert [] == raw.execute("SELECT * FROM seal").fetchall()
    raw.close()
    assert isinstance(refusal(), Refusal)
