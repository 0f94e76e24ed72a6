"""Who may see the pages: passwords for people, tokens for programs; what both are is decided here, once."""

import re
import secrets
from functools import cache
from hashlib import sha256
from typing import NamedTuple

from inbox.core.errors import BadName, BadPassword, NotFound
from inbox.runtime import Runtime
from inbox.store.protocols_accounts import Login
from inbox.ui.services import passwords

USER = "admin"
"""The user when there is one only."""

TOKEN = "wit_"
"""How each token begins, so that a scanner for leaked secrets can know it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Started(NamedTuple):
    """A login that has begun: the secret for the cookie, and the seconds it lasts."""

    secret: str
    seconds: float


def is_on(runtime: Runtime) -> bool:
    """Tell whether somebody can log in."""
    return bool(runtime.access.users())


def is_on_for_programs(runtime: Runtime) -> bool:
    """Tell whether there is a token, or somebody who can log in."""
    return bool(runtime.access.tokens()) or is_on(runtime)


def set_password(runtime: Runtime, user: str, password: str) -> None:
    """Make a user, or give one a new password, which ends all their logins. Raises BadName, BadPassword."""
    _check(user)
    if not passwords.SHORTEST <= len(password) <= passwords.LONGEST:
        raise BadPassword(f"a password has {passwords.SHORTEST} to {passwords.LONGEST} characters")
    runtime.access.set_password(user, passwords.hashed(password), runtime.clock())


def remove_user(runtime: Runtime, user: str) -> None:
    """Remove a user with all their logins. Raises NotFound."""
    if not runtime.access.remove_user(user):
        raise NotFound(f"there is no user {user}; `inbox admin list` names all")


def log_in(runtime: Runtime, user: str, password: str) -> Started | None:
    """Begin a login; None if user or password are wrong, and both take as long."""
    known = runtime.access.password(user)
    right = len(password) <= passwords.LONGEST and passwords.matches(password, known or _nobody())
    if not right or known is None:
        return None
    secret, seconds, now = secrets.token_urlsafe(32), runtime.settings.admin.session_lifetime, runtime.clock()
    begun = runtime.access.log_in(user, known, _digest(secret), at=now, expires_at=now + seconds)
    return Started(secret, seconds) if begun else None


def login(runtime: Runtime, secret: str) -> Login | None:
    """Return the login that a cookie's secret belongs to, None if there is none or it is over."""
    return runtime.access.login(_digest(secret), runtime.clock())


def log_out(runtime: Runtime, secret: str) -> None:
    """End a login."""
    runtime.access.log_out(_digest(secret))


def add_token(runtime: Runtime, name: str) -> str:
    """Make a token for the JSON endpoints and return it; only its digest is kept. Raises BadName."""
    _check(name)
    made = TOKEN + secrets.token_urlsafe(32)
    if not runtime.access.add_token(name, _digest(made), runtime.clock()):
        raise BadName(f"there is a token {name} already; `inbox admin remove-token {name}` ends it")
    return made


def remove_token(runtime: Runtime, name: str) -> None:
    """End a token. Raises NotFound."""
    if not runtime.access.remove_token(name):
        raise NotFound(f"there is no token {name}; `inbox admin list` names all")


def token(runtime: Runtime, given: str) -> str | None:
    """Return the name of a token, None if it is none."""
    return runtime.access.token(_digest(given), runtime.clock())


@cache
def _nobody() -> str:
    """Return what is compared with when there is no such user, so that the time of the answer does not tell."""
    return passwords.hashed(secrets.token_urlsafe(16))


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise BadName(f"{name!r} is no name; allowed: up to 64 letters, digits and . _ @ -, a letter or digit first")
