"""Users, logins and tokens in the SQLite store; see `inbox.store.protocols_accounts`."""

import secrets
from typing import Any

from inbox.store.protocols_accounts import Login
from inbox.store.sqlite.connection import Connection

TABLES = """
CREATE TABLE users (
    user          TEXT PRIMARY KEY,
    password      TEXT NOT NULL,
    set_at        REAL NOT NULL,
    last_login_at REAL
) STRICT;
CREATE TABLE logins (
    digest     BLOB PRIMARY KEY,
    user       TEXT NOT NULL REFERENCES users (user) ON DELETE CASCADE,
    at         REAL NOT NULL,
    expires_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE tokens (
    name         TEXT PRIMARY KEY,
    digest       BLOB NOT NULL UNIQUE,
    made_at      REAL NOT NULL,
    last_used_at REAL
) STRICT;
CREATE TABLE cookie_secret (id INTEGER PRIMARY KEY CHECK (id = 1), secret BLOB NOT NULL) STRICT
"""
_SET = """
INSERT INTO users (user, password, set_at) VALUES (?, ?, ?)
ON CONFLICT (user) DO UPDATE SET password = excluded.password, set_at = excluded.set_at
"""
_LOG_IN = "INSERT INTO logins SELECT ?, user, ?, ? FROM users WHERE user = ? AND password = ?"
_LOGIN = "SELECT user, expires_at FROM logins WHERE digest = ? AND expires_at > ?"
_HOUR = 3600.0


class SqliteAccess:
    """See `inbox.store.protocols_accounts.Access`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def secret(self) -> bytes:
        """See Access."""
        sql = "SELECT secret FROM cookie_secret"
        if not self._connection.rows(sql):
            with self._connection.write() as connection:  # the first of several makes it
                made = "INSERT INTO cookie_secret (id, secret) VALUES (1, ?) ON CONFLICT DO NOTHING"
                connection.execute(made, (secrets.token_bytes(32),))
        return bytes(self._connection.rows(sql)[0]["secret"])

    def users(self) -> list[dict[str, Any]]:
        """See Access."""
        sql = "SELECT user, set_at, last_login_at FROM users ORDER BY user"
        return [dict(row) for row in self._connection.rows(sql)]

    def password(self, user: str) -> str | None:
        """See Access."""
        rows = self._connection.rows("SELECT password FROM users WHERE user = ?", (user,))
        return rows[0]["password"] if rows else None

    def set_password(self, user: str, hashed: str, at: float) -> None:
        """See Access. Atomic: one transaction."""
        with self._connection.write() as connection:
            connection.execute(_SET, (user, hashed, at))
            connection.execute("DELETE FROM logins WHERE user = ?", (user,))

    def remove_user(self, user: str) -> bool:
        """See Access. Atomic: one DELETE, which the logins follow."""
        with self._connection.write() as connection:
            return connection.execute("DELETE FROM users WHERE user = ?", (user,)).rowcount > 0

    def log_in(self, user: str, hashed: str, digest: bytes, *, at: float, expires_at: float) -> bool:
        """See Access. Atomic: one transaction, so that a new password ends also the login that begins meanwhile."""
        with self._connection.write() as connection:
            connection.execute("DELETE FROM logins WHERE expires_at <= ?", (at,))
            begun = connection.execute(_LOG_IN, (digest, at, expires_at, user, hashed)).rowcount > 0
            if begun:
                connection.execute("UPDATE users SET last_login_at = ? WHERE user = ?", (at, user))
        return begun

    def login(self, digest: bytes, at: float) -> Login | None:
        """See Access."""
        rows = self._connection.rows(_LOGIN, (digest, at))
        return Login(rows[0]["user"], rows[0]["expires_at"], digest) if rows else None

    def log_out(self, digest: bytes) -> None:
        """See Access."""
        with self._connection.write() as connection:
            connection.execute("DELETE FROM logins WHERE digest = ?", (digest,))

    def tokens(self) -> list[dict[str, Any]]:
        """See Access."""
        sql = "SELECT name, made_at, last_used_at FROM tokens ORDER BY name"
        return [dict(row) for row in self._connection.rows(sql)]

    def add_token(self, name: str, digest: bytes, at: float) -> bool:
        """See Access. Atomic: one INSERT."""
        sql = "INSERT INTO tokens (name, digest, made_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING"
        with self._connection.write() as connection:
            return connection.execute(sql, (name, digest, at)).rowcount > 0

    def remove_token(self, name: str) -> bool:
        """See Access."""
        with self._connection.write() as connection:
            return connection.execute("DELETE FROM tokens WHERE name = ?", (name,)).rowcount > 0

    def token(self, digest: bytes, at: float) -> str | None:
        """See Access."""
        rows = self._connection.rows("SELECT name, last_used_at FROM tokens WHERE digest = ?", (digest,))
        if not rows:
            return None
        used = rows[0]["last_used_at"]
        if used is None or at - used >= _HOUR:
            with self._connection.write() as connection:
                connection.execute("UPDATE tokens SET last_used_at = ? WHERE digest = ?", (at, digest))
        return str(rows[0]["name"])

    def close(self) -> None:
        """See Access."""
        self._connection.close()
