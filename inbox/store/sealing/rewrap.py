"""Data keys → under the first master key, without a body being read or written; on demand, plain rows → sealed ones.

In short transactions with pauses, so that it can run beside everything else. What is done is done: ended early, it goes
on the next time where it was.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from inbox.core.errors import KeyMissing, Unreadable
from inbox.core.models import NewEvent, Refusal, Request
from inbox.store.sealing.key_file import Kept, KeyFile
from inbox.store.sealing.rows import MARK, Seal, stored_request
from inbox.store.sealing.sealer import Sealer
from inbox.store.sql.elapsed import until_mark
from inbox.store.sqlite.connection import Connection
from inbox.verify.event_key import network

STEP = 200
SubjectOf = Callable[[str, Request], str | None]
"""Returns whom a request to a source is about."""

_PLAIN = {
    "bodies": "SELECT event_id AS id FROM bodies WHERE seal IS NULL AND event_id > ? ORDER BY event_id LIMIT ?",
    "held": "SELECT id FROM held WHERE seal IS NULL AND id > ? ORDER BY id LIMIT ?",
    "refusals": f"SELECT id FROM refusals WHERE headers NOT LIKE '{MARK}%' AND id > ? ORDER BY id LIMIT ?",
}
_BODIES = """
SELECT events.id, source, key, type, violations, method, path, query, headers, remote, body
FROM bodies JOIN events ON events.id = event_id
WHERE bodies.seal IS NULL AND event_id IN (SELECT value FROM json_each(?))
"""
_ROWS = "SELECT * FROM {table} WHERE id IN (SELECT value FROM json_each(?))"
_SEAL_REFUSAL = "UPDATE refusals SET headers = ?, remote = ?, diagnosis = ? WHERE id = ?"
_SEAL = "SET method = ?, path = ?, query = ?, headers = ?, remote = ?, body = ?, seal = ?"


def rewrap(sealer: Sealer, pause: Callable[[float], None] = time.sleep) -> Iterator[int]:
    """Wrap every data key that is there with the first master key, and yield how many were done at each step.

    Those that a process which was not restarted makes meanwhile are left to the next time.
    """
    keys, first = _keys(sealer), sealer.masters[0]
    last = keys.last()
    _, master, wrapped = keys.store()
    if master != first.name:
        keys.rewrap_store(first.name, first.wrap(sealer.unwrapped(master, wrapped)))
        yield 1
    for old in [name for name in keys.masters() if name != first.name]:
        after = 0
        while page := keys.of_master(old, after, last, STEP):
            after, begun = page[-1].id, time.monotonic()
            new = [again for key in page if (again := _wrapped_again(sealer, key)) is not None]
            keys.rewrap(new, old)
            yield len(new)
            pause(3 * (time.monotonic() - begun))


def _wrapped_again(sealer: Sealer, key: Kept) -> Kept | None:
    """Return a key wrapped with the first master key; None of one that is damaged, which keeps no other waiting."""
    first = sealer.masters[0]
    assert key.wrapped is not None
    try:
        return key._replace(master=first.name, wrapped=first.wrap(sealer.unwrapped(key.master, key.wrapped)))
    except KeyMissing:
        raise
    except Unreadable:
        return None


def seal_plain(
    connection: Connection,
    sealer: Sealer,
    subject_of: SubjectOf,
    at: float,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[int]:
    """Seal what was stored before there was a key, and yield how many rows were done at each step.

    From then on nothing is taken that is not sealed. Raises Unreadable for what is not and was put there since.
    """
    sealer.fence(connection)
    for table, sql in _PLAIN.items():
        after = 0
        while ids := [row["id"] for row in connection.rows(sql, (after, STEP // 4))]:
            if table != "refusals" and sealer.only:
                raise Unreadable(
                    f"{table} {ids[0]} is not sealed, and everything in this inbox was: somebody else has put it there"
                )
            after, begun = ids[-1], time.monotonic()
            with connection.write() as raw, sealer.batch(raw) as seal:
                _SEALING[table](raw, seal, json.dumps(ids), subject_of, at)
            yield len(ids)
            pause(3 * (time.monotonic() - begun))
    sealer.keep_only(True)


def sweep(connection: Connection, sealer: Sealer, before: float) -> int:
    """Forget data keys made before a known time whose body is no longer in the database; return how many.

    While nobody writes to the database, so that no body is on its way whose key is there already.
    """
    keys, after, number = _keys(sealer), 0, 0
    while page := keys.made(before, after, STEP):
        after = page[-1].id
        sql = "SELECT seal FROM bodies WHERE event_id IN (SELECT value FROM json_each(?))"
        with connection.write() as raw:
            used = {row["seal"] for row in raw.execute(sql, (json.dumps([key.event_id for key in page]),))}
            ((last,),) = raw.execute(f"SELECT {until_mark('events', '?1')}", (before,))
            number += keys.forget([key.id for key in page if key.id not in used and key.event_id <= last])
    return number


def tidy(connection: Connection, sealer: Sealer) -> bool:
    """Empty the logs, which have what was overwritten; tell whether that was done."""
    return _keys(sealer).settle() and connection.empty_log()


def _keys(sealer: Sealer) -> KeyFile:
    sealer.secrets()
    assert sealer.keys is not None
    return sealer.keys


def _seal_bodies(raw: sqlite3.Connection, seal: Seal, ids: str, subject_of: SubjectOf, at: float) -> None:
    for row in raw.execute(_BODIES, (ids,)).fetchall():
        request = stored_request(row)
        event = NewEvent(row["source"], row["key"], row["type"], at, request, b"", b"", "")
        event = replace(event, subject=subject_of(event.source, request))
        raw.execute(f"UPDATE bodies {_SEAL} WHERE event_id = ?", (*seal.body(row["id"], event), row["id"]))
        found = row["violations"] and [
            {**item, "message": seal.message(item["message"])} for item in json.loads(row["violations"])
        ]
        values = (seal.subject(event), json.dumps(found) if found else row["violations"], row["id"])
        raw.execute("UPDATE events SET subject = ?, violations = ? WHERE id = ?", values)


def _seal_held(raw: sqlite3.Connection, seal: Seal, ids: str, subject_of: SubjectOf, at: float) -> None:
    for row in raw.execute(_ROWS.format(table="held"), (ids,)).fetchall():
        if row["seal"] is None:
            request = stored_request(row)
            refusal = Refusal(row["source"], row["at"], "", "", "", request.method, "", (), None)
            raw.execute(f"UPDATE held {_SEAL} WHERE id = ?", (*seal.held(refusal, request), row["id"]))
            shared = seal.network(row["source"], network(request.remote))
            raw.execute("UPDATE held SET network = ? WHERE id = ?", (shared, row["id"]))


def _seal_refusals(raw: sqlite3.Connection, seal: Seal, ids: str, subject_of: SubjectOf, at: float) -> None:
    for row in raw.execute(_ROWS.format(table="refusals"), (ids,)).fetchall():
        if not row["headers"].startswith(MARK):
            headers = tuple((name, value) for name, value in json.loads(row["headers"]))
            refusal = Refusal(row["source"], row["at"], "", "", "", row["method"], row["remote"], headers, None)
            refusal = replace(refusal, diagnosis=row["diagnosis"])
            raw.execute(_SEAL_REFUSAL, (*seal.refusal(refusal), row["id"]))


_SEALING = {"bodies": _seal_bodies, "held": _seal_held, "refusals": _seal_refusals}
