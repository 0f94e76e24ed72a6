"""Somebody has the disk, a backup, or writes to the database, but has no master key: what he gets, what is noticed."""

import os
import random
import shutil
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox.core.errors import Erased, Invalid, StoreUnavailable, StoreUnusable, Unreadable, Violation
from inbox.core.models import NewEvent
from inbox.store import sqlite
from inbox.store.protocols import Filter
from inbox.store.sealing import cipher
from inbox.store.sealing.key_file import KeyFile
from inbox.store.sealing.rewrap import rewrap, seal_plain
from inbox.store.sql import erasure
from inbox.store.sqlite import Sealer
from tests.store.test_sealer import NEW, OLD, PRIVATE, Make, Store, found, make, private
from tests.store.test_sqlite_schema import run
from tests.support.stores import event, held, refusal

__all__ = ["make"]

_FORGE = """
INSERT INTO events (source, key, type, status, received_at, size, body_digest, content_digest, verified_by)
VALUES ('acme', 'forged', 'unknown', 'received', 100.0, 2, x'00', x'00', 'me')
"""
_FORGE_BODY = "INSERT INTO bodies SELECT max(id), 'POST', '', '', '[]', '', CAST('{}' AS BLOB), NULL FROM events"
_UNSEAL = "UPDATE bodies SET seal = NULL, headers = '[]', body = CAST('{}' AS BLOB)"


def seal_all(store: Store) -> int:
    """Seal what is plain, as `inbox reseal --plain` does."""
    connection = sqlite.open_sealed(store.path, store.sealer)
    try:
        return sum(seal_plain(connection, store.sealer, lambda source, request: None, 9.0, lambda seconds: None))
    finally:
        connection.close()


def back(store: Store, copy: Path) -> sqlite.backup.Contents:
    """Put a copy in the place of the database."""
    store.close()
    for path in store.folder.glob("inbox.db*"):
        path.unlink()
    return sqlite.restore(copy, store.path, at=600.0, tell=lambda *_: None, sealer=store.sealer)


@pytest.mark.parametrize("forged", [(_UNSEAL,), (_FORGE, _FORGE_BODY)], ids=["replaced", "added"])
def test_unsealed_row_is_not_taken_where_everything_is_sealed(make: Make, forged: tuple[str, ...]) -> None:
    """No handler sees it, nothing shows it, a backup fails, and `reseal --plain` does not launder it."""
    store = make(OLD)
    store.inlet.add_event(private())
    run(store.path, *forged)
    ((event_id,),) = run(store.path, "SELECT max(event_id) FROM bodies")
    (delivery,) = store.work.route(event_id, {"m.f": True}, 100.0)
    assert store.work.claim(delivery, token="t", worker="w", at=100.0, lease=30.0) is None
    shown = store.archive.event(event_id)
    assert "somebody else has put it there" in shown["unreadable"]
    assert "dead" == shown["status"]
    with pytest.raises(Unreadable, match=f"bodies {event_id} is not sealed"):
        seal_all(store)
    with pytest.raises(StoreUnusable, match="is not sealed"):
        sqlite.back_up(store.path, store.folder / "copy.db", tell=lambda *_: None, sealer=store.sealer)


def test_unsealed_held_request_is_not_taken_either(make: Make) -> None:
    """It is not verified again."""
    store = make(OLD)
    store.inlet.add_refusal(replace(held(), held=replace(held().held, request=PRIVATE)))  # type: ignore[arg-type]
    run(store.path, "UPDATE held SET seal = NULL, headers = '[]'")
    with pytest.raises(Unreadable, match="held request 1 is not sealed"):
        store.archive.held("acme", 0, 9)


def test_forgetting_that_everything_was_sealed_is_noticed(make: Make) -> None:
    """Who clears the database's note, or its mark, and adds what is plain, is found out: the file of keys knows."""
    make(OLD).inlet.add_event(private())
    store = make(OLD)
    store.close()
    run(store.path, "UPDATE seal SET sealed_only = 0", _UNSEAL)
    with pytest.raises(Unreadable, match="somebody else"):
        make(OLD).archive.request(1)
    run(store.path, "DELETE FROM seal")
    with pytest.raises(StoreUnusable, match="the database has what is not sealed"):
        _ = make(OLD).inlet


def test_inbox_that_was_not_sealed_takes_both_until_all_of_it_is(make: Make) -> None:
    """What was plain stays readable; after `reseal --plain` only what is sealed is, and older writers are refused."""
    plain = make()
    plain.inlet.add_event(private("a"))
    store = make(OLD)
    assert (PRIVATE, False) == (store.archive.request(1), store.sealer.only)
    assert "accepted" == plain.inlet.add_event(private("b")).outcome  # a receiver that was not restarted yet
    assert (2, True) == (seal_all(store), store.sealer.only)
    with pytest.raises(StoreUnavailable, match="restart or reload"):
        plain.inlet.add_event(private("c"))
    assert [PRIVATE, PRIVATE] == [store.archive.request(number) for number in (1, 2)]
    both = make(NEW, OLD)
    assert 3 == sum(rewrap(both.sealer, lambda seconds: None))
    run(store.path, _UNSEAL)
    with pytest.raises(Unreadable):
        make(NEW).archive.request(1)


def test_copy_from_before_everything_was_sealed_can_be_put_back(make: Make, tmp_path: Path) -> None:
    """By `inbox restore`, which says how much is plain; a copy that says that all of it is sealed must be."""
    plain = make()
    plain.inlet.add_event(private())
    sqlite.back_up(plain.path, tmp_path / "copy.db", tell=lambda *_: None)
    plain.close()
    store = make(OLD)
    assert 1 == seal_all(store)
    sqlite.back_up(store.path, tmp_path / "sealed.db", tell=lambda *_: None, sealer=store.sealer)
    assert 1 == back(store, tmp_path / "copy.db").plain
    after = make(OLD)
    assert (PRIVATE, 1, True) == (after.archive.request(1), seal_all(after), after.sealer.only)
    run(tmp_path / "sealed.db", _UNSEAL)
    with pytest.raises(StoreUnusable, match="somebody else has put it there"):
        back(after, tmp_path / "sealed.db")


@pytest.mark.parametrize("column", ["source", "key"])
def test_event_that_got_another_source_or_key_does_not_open(make: Make, column: str) -> None:
    """What one sender said is not given to the handlers of another, nor under another key."""
    store = make(OLD)
    store.inlet.add_event(private())
    run(store.path, f"UPDATE events SET {column} = 'other'")
    with pytest.raises(Unreadable, match="is not what was sealed there"):
        store.archive.request(1)


def test_rows_of_another_inbox_do_not_open(make: Make, tmp_path: Path) -> None:
    """Same master key, same ids, same source and key; each inbox has its own data keys."""
    (tmp_path / "other").mkdir()
    other = Store(tmp_path / "other", OLD)
    for store in (make(OLD), other):
        store.inlet.add_event(private())
        store.inlet.add_refusal(replace(held(), held=replace(held().held, request=PRIVATE)))  # type: ignore[arg-type]
        store.close()
    run(
        tmp_path / "inbox.db",
        f"ATTACH '{other.path}' AS other",
        "UPDATE bodies SET body = (SELECT body FROM other.bodies)",
        "UPDATE held SET body = (SELECT body FROM other.held)",
    )
    with pytest.raises(Unreadable, match="is not what was sealed there"):
        make(OLD).archive.request(1)
    with pytest.raises(Unreadable, match="is not what was sealed there"):
        make(OLD).archive.held("acme", 0, 9)


def test_diagnosis_of_a_refusal_does_not_quote_in_the_clear(make: Make, tmp_path: Path) -> None:
    """A schema's complaint quotes the payload, an unknown address is a path: both open with the key only."""
    told = Invalid([Violation("/who", "'Zappa' is not of type 'integer'")]).diagnosis
    plain = make()
    plain.inlet.add_refusal(replace(refusal(), diagnosis=told))
    plain.close()
    store = make(OLD)
    store.inlet.add_refusal(replace(refusal(), diagnosis=told))
    assert 1 == seal_all(store)
    assert [told, told] == [row["diagnosis"] for row in store.archive.refusals(None, 9)]
    store.close()
    assert [] == found(tmp_path, b"zappa")


def test_erasing_says_when_a_reader_keeps_the_key_in_the_log(make: Make, tmp_path: Path) -> None:
    """Not "erased" while the wrapped key can be had from the log; when the reader has ended, it is gone."""
    store = make(OLD)
    store.inlet.add_event(private())
    ((wrapped,),) = run(tmp_path / "keys.db", "SELECT wrapped FROM keys")
    reader = sqlite3.connect(tmp_path / "keys.db")
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM keys").fetchone()
    erasing = store.erasing
    store.sealer.keys._connection._patience = 0.05  # type: ignore[union-attr]
    erasing.erase([1], erasing.begin(at=5.0, who="me", why="", selection="{}"), 5.0)
    assert (False, ["keys.db-wal"]) == (erasing.tidy(), [name for name in found(tmp_path, wrapped) if "wal" in name])
    reader.close()
    assert (True, []) == (erasing.tidy(), found(tmp_path, wrapped))


def test_what_a_hold_covers_is_not_erased(make: Make) -> None:
    """Also what came after the hold was made."""
    store = make(OLD)
    store.keeping.hold(Filter(source="acme"), at=1.0, who="me", why="court")
    store.inlet.add_event(private())
    assert erasure.Erasure(0, 0, 1) == store.erase(1)
    assert PRIVATE == store.archive.request(1)


def test_no_page_keeps_remains_of_destroyed_keys(make: Make, tmp_path: Path) -> None:
    """SQLite moves rows from page to page as others shrink; no copy of a destroyed one stays behind."""
    store = make(OLD)
    for batch in range(5):
        store.inlet._write([private(f"{batch}-{number}") for number in range(100)])
    wrapped = dict(run(tmp_path / "keys.db", "SELECT event_id, wrapped FROM keys"))
    order = random.Random(5).sample(sorted(wrapped), 400)
    for start in range(0, 400, 80):
        store.erase(*order[start : start + 80])
    kept = (tmp_path / "keys.db").read_bytes() + (tmp_path / "keys.db-wal").read_bytes()
    assert 100 == sum(key in kept for key in wrapped.values())
    assert [] == [event_id for event_id in order if wrapped[event_id] in kept]


def test_older_file_of_keys_that_was_put_back_loses_what_was_erased(make: Make, tmp_path: Path) -> None:
    """The worker's start destroys the keys again, so that copies of the database do not open after all."""
    store = make(OLD)
    store.inlet.add_event(private())
    store.inlet.add_event(private("k2"))
    sqlite.back_up(store.path, tmp_path / "copy.db", tell=lambda *_: None, sealer=store.sealer)
    store.sealer.copy_keys(tmp_path / "older.db", force=False)
    store.erase(1)
    store.close()
    for path in tmp_path.glob("keys.db*"):
        path.unlink()
    shutil.copy(tmp_path / "older.db", tmp_path / "keys.db")
    after = make(OLD)
    assert (1, 0) == (after.erasing.reapply(700.0, "worker"), after.erasing.reapply(800.0, "worker"))
    assert [(1,)] == run(tmp_path / "keys.db", "SELECT event_id FROM keys WHERE wrapped IS NULL")
    assert PRIVATE == after.archive.request(2)


def test_delivery_waits_for_a_master_key_that_is_not_set(make: Make) -> None:
    """As when `inbox reseal` runs before the worker was restarted: parked, not dead; with the key it runs."""
    store = make(OLD)
    stored = store.inlet.add_event(private())
    (delivery,) = store.work.route(stored.id, {"m.f": True}, 100.0)
    work = store.work
    both = make(NEW, OLD)
    assert 2 == sum(rewrap(both.sealer, lambda seconds: None))
    assert work.claim(delivery, token="t", worker="w", at=100.0, lease=30.0) is None
    shown = store.archive.event(1)["deliveries"][0]
    assert ("parked", 0, True) == (shown["status"], shown["attempts"], "not in inbox.seal_key" in shown["error"])
    assert "expedited" == both.archive.replay(1, "m.f", can_run=True, replay_id=1, at=100.0)[0]
    claimed = both.work.claim(delivery, token="u", worker="w", at=100.0, lease=30.0)
    assert claimed is not None
    assert (PRIVATE, 1) == (claimed.request, claimed.attempt)


def killed(owner: type, method: str, after: bool, action: Callable[[], object]) -> None:
    """Run the action in a forked process, which is killed before or after a method is called there."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert signal.SIGKILL == os.WTERMSIG(status)
        return
    original = getattr(owner, method)

    def deadly(*arguments: Any, **options: Any) -> None:
        if after:
            original(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, method, deadly)
    try:
        action()
    finally:
        os._exit(9)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("owner", "method"),
    [(KeyFile, "destroy"), (erasure.SqliteErasing, "_erase_rows"), (erasure.SqliteErasing, "tidy")],
    ids=["keys", "rows", "logs"],
)
def test_killed_while_erasing(make: Make, tmp_path: Path, owner: type, method: str, after: bool) -> None:
    """Either nothing was done, or the worker's start ends it; asked again, nothing of the event is in any file."""
    store = make(OLD)
    store.inlet.add_event(private())
    ((wrapped,),) = run(tmp_path / "keys.db", "SELECT wrapped FROM keys")
    store.close()
    killed(owner, method, after, lambda: Store(tmp_path, OLD).erase(1))
    store = make(OLD)
    if (method, after) == ("destroy", False):
        assert PRIVATE == store.archive.request(1)
    store.erasing.reapply(700.0, "worker")
    store.erase(1)
    with pytest.raises(Erased):
        store.archive.request(1)
    store.close()
    assert [] == found(tmp_path, b"zappa", wrapped)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("owner", "method"), [(KeyFile, "rewrap"), (KeyFile, "rewrap_store")], ids=["data keys", "secret"]
)
def test_killed_while_rotating(make: Make, tmp_path: Path, owner: type, method: str, after: bool) -> None:
    """Everything opens with both keys; done again, with the new one alone."""
    store = make(OLD)
    for number in range(3):
        store.inlet.add_event(private(f"k{number}"))
    store.close()
    killed(owner, method, after, lambda: list(rewrap(Store(tmp_path, NEW, OLD).sealer, lambda seconds: None)))
    assert [PRIVATE] * 3 == [make(NEW, OLD).archive.request(number) for number in (1, 2, 3)]
    list(rewrap(make(NEW, OLD).sealer, lambda seconds: None))
    new = make(NEW)
    assert [PRIVATE] * 3 == [new.archive.request(number) for number in (1, 2, 3)]
    assert new.sealer.only


@pytest.mark.parametrize(("method", "after"), [("adding", False), ("rewrap_store", False), ("rewrap_store", True)])
def test_killed_while_sealing_what_was_plain(make: Make, tmp_path: Path, method: str, after: bool) -> None:
    """What is plain still can be read, and done again nothing is plain."""
    plain = make()
    plain.inlet.add_event(private())
    plain.close()
    killed(KeyFile, method, after, lambda: seal_all(Store(tmp_path, OLD)))
    store = make(OLD)
    assert PRIVATE == store.archive.request(1)
    seal_all(store)
    assert (PRIVATE, True) == (store.archive.request(1), store.sealer.only)


def test_processes_with_the_old_key_write_on_while_keys_are_wrapped_anew(make: Make) -> None:
    """What they seal with the old key meanwhile is found by the next `inbox reseal`; nothing is lost."""
    old, both = make(OLD), make(NEW, OLD)
    assert "accepted" == old.inlet.add_event(private("k0")).outcome
    number = 0
    for _ in rewrap(both.sealer, lambda seconds: None):
        number += 1
        assert "accepted" == old.inlet.add_event(private(f"k{number}")).outcome
    left = both.sealer.keys.masters().get(both.sealer.masters[1].name, 0)  # type: ignore[union-attr]
    assert left > 0
    assert left == sum(rewrap(both.sealer, lambda seconds: None))
    assert [PRIVATE] * (number + 1) == [make(NEW).archive.request(each) for each in range(1, number + 2)]


def test_damaged_key_does_not_stop_a_rotation(make: Make, tmp_path: Path) -> None:
    """The others are wrapped anew; it stays under its old master, and is counted there."""
    store = make(OLD)
    for number in range(3):
        store.inlet.add_event(private(f"k{number}"))
    run(tmp_path / "keys.db", "UPDATE keys SET wrapped = zeroblob(40) WHERE id = 1")
    both = make(NEW, OLD)
    assert 3 == sum(rewrap(both.sealer, lambda seconds: None))
    assert {both.sealer.masters[0].name: 3, both.sealer.masters[1].name: 1} == both.sealer.keys.masters()  # type: ignore[union-attr]


def test_file_of_keys_is_never_made_in_another_database(make: Make, tmp_path: Path) -> None:
    """The inbox itself, or another program's: it is refused and left as it was."""
    make().inlet.add_event(private())
    store = make(OLD)
    store.sealer = Sealer(tmp_path / "inbox.db", [OLD])
    with pytest.raises(StoreUnusable, match=r"name a file of its own in inbox\.key_file"):
        _ = store.inlet
    assert [] == run(tmp_path / "inbox.db", "SELECT name FROM sqlite_schema WHERE name = 'keys'")


def test_nothing_repeats() -> None:
    """The same request sealed twice has another key, another nonce and other bytes; so do rows that share a key."""
    sealed = [cipher.seal(b"same", b"same") for _ in range(100)]
    rows = [cipher.seal_row(bytes(32), b"same", b"same") for _ in range(100)]
    assert [100] * 4 == [
        len(set(values))
        for values in (
            [key for key, _ in sealed],
            [text[: cipher.NONCE] for _, text in sealed],
            [text for _, text in sealed],
            [text[: cipher.SALT] for text in rows],
        )
    ]


def test_subjects_tell_nothing_without_the_inbox_s_key(make: Make) -> None:
    """Another source, another inbox, another use of the secret: another hash. Spellings of one name: the same."""
    sealer = make(OLD).sealer
    _ = make(OLD).inlet
    rows, subjects = sealer.secrets()
    composed, apart = "Zo\u00eb@example.com", "ZOE\u0308@EXAMPLE.COM "
    assert sealer.subject("acme", composed) == sealer.subject("acme", apart)
    others = {cipher.subject(key, source, composed) for key in (rows, subjects, bytes(32)) for source in ("acme", "b")}
    assert 6 == len(others)


def test_writer_that_never_knew_a_key_is_unchanged(make: Make) -> None:
    """An inbox without a key takes what comes, batch after batch."""
    events: list[NewEvent] = [event("a"), event("b")]
    assert ["accepted", "accepted"] == [make().inlet.add_event(item).outcome for item in events]
