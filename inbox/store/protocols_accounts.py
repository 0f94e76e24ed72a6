"""What a store keeps of those who may see the pages: users, their logins, and tokens for programs.

Of a login and of a token it has the digest only, so that nobody who reads the database can use them.
"""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody who has logged in: who, until when (Unix seconds), and the digest that names the login."""

    user: str
    expires_at: float
    digest: bytes


class Access(Protocol):
    """Who may see the pages."""

    def secret(self) -> bytes:
        """Return 32 bytes that sign cookies; made by the first who asks, the same for ever."""
        ...

    def users(self) -> list[dict[str, Any]]:
        """Return a row per user: user, set_at, last_login_at."""
        ...

    def password(self, user: str) -> str | None:
        """Return the hash of a user's password, None if there is no such user."""
        ...

    def set_password(self, user: str, hashed: str, at: float) -> None:
        """Make a user, or give one a new password, which ends all their logins."""
        ...

    def remove_user(self, user: str) -> bool:
        """Remove a user with all their logins; False if there is none."""
        ...

    def log_in(self, user: str, hashed: str, digest: bytes, *, at: float, expires_at: float) -> bool:
        """Begin a login, and forget those that are over; False if `hashed` is not the user's password any more."""
        ...

    def login(self, digest: bytes, at: float) -> Login | None:
        """Return a login that is not over."""
        ...

    def log_out(self, digest: bytes) -> None:
        """End a login."""
        ...

    def tokens(self) -> list[dict[str, Any]]:
        """Return a row per token: name, made_at, last_used_at (to the hour)."""
        ...

    def add_token(self, name: str, digest: bytes, at: float) -> bool:
        """Add a token; False if the name is taken."""
        ...

    def remove_token(self, name: str) -> bool:
        """Remove a token; False if there is none."""
        ...

    def token(self, digest: bytes, at: float) -> str | None:
        """Return the name of the token with this digest, and remember that it was used."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...
