"""Requests ↔ sealed rows: AES-256-GCM under a key per event, which a master key wraps (RFC 3394) in a file of its own.

A sealed body has all of the request but its method; it opens only in the row that it was made for. Held requests and
refusals, which strangers send in any number and which soon go, share one key. Without a master key nothing is sealed.
Next: `cipher` does the cryptography, `key_file` is the file, `erasure` destroys keys in it.
"""

import json
import os
import sqlite3
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inbox.core.errors import (
    ConfigError,
    Erased,
    InTheWay,
    KeyMissing,
    KeyNotSet,
    StoreUnavailable,
    StoreUnusable,
    Unreadable,
)
from inbox.core.models import Request, Secret, iso
from inbox.store.sealing.key_file import WHERE, KeyFile, KeyFileDamaged
from inbox.store.sealing.rows import HIDDEN, MARK, Plain, Seal, Sealed, bound_to, stored_request, unpacked
from inbox.store.sqlite.connection import Connection
from inbox.store.sqlite.placement import BESIDE, named_when_done, refuse_to_overwrite

if TYPE_CHECKING:
    from inbox.store.sealing.cipher import Master

PLAIN = Plain()
SECRET, ONLY = 32, b"all only"
"""How long the secret of an inbox is, and what follows it, under the same wrapping, if nothing in it is unsealed."""

_EMPTY = "SELECT NOT EXISTS (SELECT 1 FROM bodies UNION ALL SELECT 1 FROM held)"
_ADOPT = "INSERT INTO seal (one, id, sealed_only) VALUES (1, ?, ?) ON CONFLICT (one) DO NOTHING"
_FENCE = "UPDATE seal SET sealed_only = 1"


class Sealer:
    """Seals and opens with master keys, of which the first seals, and the file of data keys at `path`."""

    def __init__(self, path: Path | None = None, secrets: Sequence[Secret] = ()) -> None:
        self.masters: tuple[Master, ...] = ()
        if secrets:  # cryptography takes its time to load
            from inbox.store.sealing import cipher

            self.masters = tuple(map(cipher.Master.of, secrets))
        self.keys = KeyFile(path) if path is not None and secrets else None
        self._derived: tuple[bytes, bytes] | None = None

    @property
    def on(self) -> bool:
        """Tell whether what is stored from now on is sealed."""
        return self.keys is not None

    def check(self, connection: Connection) -> None:
        """Get ready to seal what goes into this database. Raises ConfigError and StoreUnusable if that would not open.

        The file of keys is made only for a database that never knew one.
        """
        rows = connection.rows("SELECT id FROM seal")
        if self.keys is None:
            if rows:
                raise ConfigError(WHERE, "missing: what is stored is sealed, and cannot be opened without its key")
            return
        if not rows:
            first = self.masters[0]
            self.keys.make(os.urandom(16), first.name, first.wrap(os.urandom(SECRET)))
        store, _, _ = self.keys.store()
        self.check_masters()
        _ = self.secrets()
        if not rows:
            self._adopt(connection, store)
        (known,) = connection.rows("SELECT id, sealed_only FROM seal")
        if known["id"] != store:
            raise StoreUnusable(f"{self.keys.path} belongs to another inbox: put the file of this one's keys there")
        if self.only and not known["sealed_only"]:
            self.fence(connection)

    def _adopt(self, connection: Connection, store: bytes) -> None:
        """Note in a database whose keys these are; one that is empty has only what is sealed from now on."""
        with connection.write() as raw:
            empty = bool(raw.execute(_EMPTY).fetchone()[0])
            if raw.execute(_ADOPT, (store, empty)).rowcount < 1:
                return
            if self.only and not empty:
                assert self.keys is not None
                raise StoreUnusable(
                    f"the database has what is not sealed, and {self.keys.path} is of an inbox in which everything is: "
                    "put an older copy back with `inbox restore`; of another inbox, set inbox.key_file to another name"
                )
            if empty:
                self.keep_only(True)

    @property
    def only(self) -> bool:
        """Tell whether everything in this inbox is sealed, so that what is not was put there by somebody else."""
        return self.keys is not None and self.keys.path.exists() and self._secret()[SECRET:] == ONLY

    def keep_only(self, only: bool) -> None:
        """Note whether everything is sealed, where nobody can change it who has no master key."""
        assert self.keys is not None
        first = self.masters[0]
        self.keys.rewrap_store(first.name, first.wrap(self._secret()[:SECRET] + (ONLY if only else b"")))

    def fence(self, connection: Connection) -> None:
        """Let no process write anything that is not sealed, not even one that runs since before there was a key."""
        with connection.write() as raw:
            raw.execute(_FENCE)

    def check_masters(self) -> None:
        """Raise ConfigError if a master key is not set that something is sealed with."""
        assert self.keys is not None
        have = {master.name for master in self.masters}
        lacking = [f"{name} ({number} data keys)" for name, number in self.keys.masters().items() if name not in have]
        if lacking:
            raise ConfigError(
                WHERE,
                f"what is stored is sealed with the key {', '.join(lacking)}, which is not set (set: "
                f"{', '.join(sorted(have))}); list it after the new one until `inbox reseal` has ended",
            )

    @contextmanager
    def batch(self, raw: sqlite3.Connection) -> Iterator[Seal]:
        """Yield what seals in one transaction; its keys are on disk when the block has ended.

        Raises StoreUnavailable where everything is sealed, and there is no key.
        """
        if self.keys is None:
            if raw.execute("SELECT 1 FROM seal WHERE sealed_only").fetchone() is not None:
                raise StoreUnavailable("the inbox has been sealed since this process started: restart or reload it")
            yield PLAIN
            return
        rows, subjects = self.secrets()
        with self.keys.adding() as (last, new):
            yield Sealed(self.masters[0], rows, subjects, last, new)

    def open(self, event_id: int, row: sqlite3.Row, *, plain: bool = False) -> Request:
        """Return the request of a row of bodies with source and key of its event. Raises Erased and Unreadable.

        `plain` is to take what is not sealed also where everything should be.
        """
        from inbox.store.sealing import cipher

        if row["seal"] is None:
            if not plain:
                self._refuse_plain(f"the body of event {event_id}")
            return stored_request(row)
        bound = bound_to("bodies", event_id, row["seal"], row["source"], row["key"])
        try:
            content = cipher.open_sealed(self._data_key(event_id, row["seal"]), bytes(row["body"]), bound)
        except KeyFileDamaged:
            raise Unreadable(
                f"the body of event {event_id} is not what was sealed there, or not with this key"
            ) from None
        return unpacked(row["method"], content)

    def open_held(self, row: sqlite3.Row) -> Request:
        """Return the request of a row of held. Raises Unreadable."""
        if row["seal"] is None:
            self._refuse_plain(f"held request {row['id']}")
            return stored_request(row)
        bound = bound_to("held", row["source"], row["at"], row["method"])
        return unpacked(row["method"], self._open_row(bytes(row["body"]), bound, f"held request {row['id']}"))

    def open_refusal(self, row: sqlite3.Row) -> dict[str, Any]:
        """Return headers, address and diagnosis of a row of refusals; the address may say why they do not open."""
        if not row["headers"].startswith(MARK):
            return {"headers": json.loads(row["headers"]), "remote": row["remote"], "diagnosis": row["diagnosis"]}
        bound = bound_to("refusals", row["source"], row["at"], row["method"])
        try:
            text = self._open_row(b64decode(row["headers"][len(MARK) :]), bound, f"refusal {row['id']}")
        except Unreadable as error:
            return {"headers": [], "remote": f"({error})", "diagnosis": ""}
        return dict(zip(("headers", "remote", "diagnosis"), json.loads(text), strict=True))

    def masked(self, violations: str | None) -> str | None:
        """Return JSON text of violations as it may be kept."""
        if self.keys is None or not violations:
            return violations
        return json.dumps([{**item, "message": HIDDEN} for item in json.loads(violations)])

    def subject(self, source: str, value: str) -> bytes:
        """Return the keyed hash by which events about a subject are found. Raises ConfigError."""
        from inbox.store.sealing import cipher

        return cipher.subject(self.secrets()[1], source, value)

    def destroy(self, events: Sequence[int], at: float) -> int:
        """Destroy the data keys of events, and return how many there were. Raises ConfigError."""
        if self.keys is None:
            raise ConfigError(WHERE, "missing: without it the keys of what is sealed cannot be destroyed")
        return self.keys.destroy(events, at)

    def copy_keys(self, target: Path, *, force: bool) -> int:
        """Write a copy of the file of data keys, and return how many it has. Raises InTheWay and ConfigError."""
        if self.keys is None:
            raise ConfigError(WHERE, "missing: there is no file of data keys")
        if target.exists() and target.samefile(self.keys.path):
            raise InTheWay(f"{target} is the file of data keys itself")
        refuse_to_overwrite(target, *(BESIDE if force else ("", *BESIDE)), hint="choose another name, or use --force")
        with named_when_done(target, replace=force) as made:
            self.keys.copy(made)
        return sum(self.keys.masters().values()) - 1

    def close(self) -> None:
        """Let go of the file of keys."""
        if self.keys is not None:
            self.keys.close()

    def unwrapped(self, master: str, wrapped: bytes) -> bytes:
        """Return a data key. Raises Unreadable."""
        for known in self.masters:
            if known.name == master:
                try:
                    return known.unwrap(wrapped)
                except KeyFileDamaged:
                    raise Unreadable(f"a key in the file of keys is damaged (wrapped by {master})") from None
        raise KeyNotSet(f"it is sealed with the key {master}, which is not in inbox.seal_key")

    def _data_key(self, event_id: int, key_id: int) -> bytes:
        if self.keys is None:
            raise KeyNotSet(f"the body of event {event_id} is sealed, and inbox.seal_key is not set")
        kept = self.keys.find(key_id)
        if kept is not None and kept.event_id != event_id:
            raise Unreadable(f"the body of event {event_id} is not what was sealed there: its key is another event's")
        if kept is None:
            raise KeyMissing(f"the file of keys has no key of event {event_id}: is it older than the database?")
        if kept.wrapped is None:
            raise Erased(f"event {event_id} was erased at {iso(kept.erased_at or 0.0)}")
        return self.unwrapped(kept.master, kept.wrapped)

    def _open_row(self, sealed: bytes, bound: bytes, what: str) -> bytes:
        from inbox.store.sealing import cipher

        if self.keys is None:
            raise Unreadable(f"{what} is sealed, and inbox.seal_key is not set")
        try:
            return cipher.open_row(self.secrets()[0], sealed, bound)
        except KeyFileDamaged:
            raise Unreadable(f"{what} is not what was sealed there") from None

    def secrets(self) -> tuple[bytes, bytes]:
        """Return the keys for rows that share one, and for subjects."""
        from inbox.store.sealing import cipher

        if self.keys is None:
            raise ConfigError(WHERE, "missing: without it nothing is sealed, and subjects are not noted")
        if self._derived is None:
            secret = self._secret()[:SECRET]
            self._derived = cipher.derived(secret, b"rows"), cipher.derived(secret, b"subjects")
        return self._derived

    def _secret(self) -> bytes:
        """Return the secret of this inbox, and what follows it."""
        assert self.keys is not None
        _, master, wrapped = self.keys.store()
        return self.unwrapped(master, wrapped)

    def _refuse_plain(self, what: str) -> None:
        if self.only:
            raise Unreadable(f"{what} is not sealed, and everything in this inbox was: somebody else has put it there")


UNSEALED = Sealer()
