"""Requests → the values of rows, as they are or sealed, and back. What is sealed is bound to the row that it is for.

It has no key of its own and opens no file. Next: `seal` has the keys.
"""

import json
import sqlite3
from base64 import b64encode
from typing import TYPE_CHECKING, Protocol, TypeAlias

from inbox.core.models import NewEvent, Refusal, Request
from inbox.store.sealing.key_file import Kept

if TYPE_CHECKING:
    from inbox.store.sealing.cipher import Master

TABLES = """
ALTER TABLE bodies ADD COLUMN seal INTEGER;
ALTER TABLE held ADD COLUMN seal INTEGER;
ALTER TABLE events ADD COLUMN subject BLOB;
ALTER TABLE events ADD COLUMN erased_at REAL;
CREATE INDEX events_subject ON events (subject) WHERE subject IS NOT NULL;
CREATE TABLE seal (one INTEGER PRIMARY KEY CHECK (one = 1), id BLOB NOT NULL) STRICT;
CREATE TABLE erasures (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    at        REAL NOT NULL,
    who       TEXT NOT NULL,
    why       TEXT NOT NULL,
    selection TEXT NOT NULL,
    events    INTEGER NOT NULL
) STRICT
"""
ONLY = """
ALTER TABLE seal ADD COLUMN sealed_only INTEGER NOT NULL DEFAULT 0;
CREATE INDEX events_erased ON events (id) WHERE erased_at IS NOT NULL
"""

HELD_NETWORKS = """
ALTER TABLE held ADD COLUMN network BLOB NOT NULL DEFAULT x'';
UPDATE held SET network = CAST(remote AS BLOB);
CREATE INDEX held_network ON held (source, network, bytes)
"""

HIDDEN = "(sealed: what was found there is not kept)"
MARK = "sealed:"
"""What a sealed text begins with; JSON never does."""

BodyRow: TypeAlias = tuple[str, str, str, str, str, bytes, int | None]
"""method, path, query, headers, remote, body, and what opens it: None where nothing is sealed."""


class Seal(Protocol):
    """What writes requests into rows, for as long as one transaction lasts."""

    def body(self, event_id: int, event: NewEvent) -> BodyRow: ...  # noqa: D102 – see Plain
    def held(self, refusal: Refusal, request: Request) -> BodyRow: ...  # noqa: D102
    def refusal(self, refusal: Refusal) -> tuple[str, str, str]: ...  # noqa: D102
    def subject(self, event: NewEvent) -> bytes | None: ...  # noqa: D102
    def network(self, source: str, network: str) -> bytes: ...  # noqa: D102
    def message(self, text: str) -> str: ...  # noqa: D102


class Plain:
    """Writes requests as they are."""

    def body(self, event_id: int, event: NewEvent) -> BodyRow:
        """Return the row of an event's body."""
        return plain_row(event.request)

    def held(self, refusal: Refusal, request: Request) -> BodyRow:
        """Return the row of a held request; what opens it is the length of its body."""
        return plain_row(request)

    def refusal(self, refusal: Refusal) -> tuple[str, str, str]:
        """Return headers, remote address and diagnosis of a refusal."""
        return json.dumps(refusal.headers), refusal.remote, refusal.diagnosis

    def subject(self, event: NewEvent) -> bytes | None:
        """Return the keyed hash of whom an event is about; there is no key."""
        return None

    def network(self, source: str, network: str) -> bytes:
        """Return what tells whether two held requests of a source came from the same address."""
        return network.encode()

    def message(self, text: str) -> str:
        """Return what may be kept in the clear of what was found wrong in a payload."""
        return text


class Sealed:
    """Seals requests, each event's under a new key, which `new` collects."""

    def __init__(self, master: "Master", rows: bytes, subjects: bytes, last: int, new: list[Kept]) -> None:
        self._master, self._rows, self._subjects = master, rows, subjects
        self._last, self._new = last, new

    def body(self, event_id: int, event: NewEvent) -> BodyRow:
        """See Plain."""
        from inbox.store.sealing import cipher

        self._last += 1
        bound = bound_to("bodies", event_id, self._last, event.source, event.key)
        key, sealed = cipher.seal(packed(event.request), bound)
        self._new.append(Kept(self._last, event_id, event.received_at, self._master.name, self._master.wrap(key)))
        return event.request.method, "", "", "", "", sealed, self._last

    def held(self, refusal: Refusal, request: Request) -> BodyRow:
        """See Plain."""
        from inbox.store.sealing import cipher

        sealed = cipher.seal_row(
            self._rows, packed(request), bound_to("held", refusal.source, refusal.at, request.method)
        )
        return request.method, "", "", "", "", sealed, len(request.body)

    def refusal(self, refusal: Refusal) -> tuple[str, str, str]:
        """See Plain. A diagnosis may quote what it is about."""
        from inbox.store.sealing import cipher

        text = json.dumps([refusal.headers, refusal.remote, refusal.diagnosis]).encode()
        bound = bound_to("refusals", refusal.source, refusal.at, refusal.method)
        return MARK + b64encode(cipher.seal_row(self._rows, text, bound)).decode(), "", ""

    def subject(self, event: NewEvent) -> bytes | None:
        """See Plain."""
        from inbox.store.sealing import cipher

        return cipher.subject(self._subjects, event.source, event.subject) if event.subject else None

    def network(self, source: str, network: str) -> bytes:
        """See Plain; a keyed hash."""
        from inbox.store.sealing import cipher

        return cipher.subject(self._subjects, f"held\0{source}", network)

    def message(self, text: str) -> str:
        """See Plain."""
        return HIDDEN


def stored_request(row: sqlite3.Row) -> Request:
    """Return the request of a row that is not sealed."""
    headers = tuple((name, value) for name, value in json.loads(row["headers"]))
    return Request(row["method"], row["path"], row["query"], headers, bytes(row["body"]), row["remote"])


def plain_row(request: Request) -> BodyRow:
    """Return the row of a request as it is."""
    headers = json.dumps(request.headers)
    return request.method, request.path, request.query, headers, request.remote, request.body, None


def packed(request: Request) -> bytes:
    """Return a request but its method as bytes."""
    head = json.dumps([request.path, request.query, request.headers, request.remote]).encode()
    return len(head).to_bytes(4, "big") + head + request.body


def unpacked(method: str, plain: bytes) -> Request:
    """Return the request that was packed."""
    end = 4 + int.from_bytes(plain[:4], "big")
    path, query, headers, remote = json.loads(plain[4:end])
    return Request(method, path, query, tuple((name, value) for name, value in headers), plain[end:], remote)


def bound_to(*parts: object) -> bytes:
    """Return what a row is bound to: its table, and what no command ever changes in it."""
    return json.dumps(parts).encode()
