"""Logging in and out, and who may see a page: a browser with a login, or a program with a token."""

from hashlib import sha256
from ipaddress import ip_address
from threading import BoundedSemaphore
from urllib.parse import urlsplit

import structlog
from flask import Response, abort, current_app, g, make_response, redirect, render_template, request, session, url_for
from flask.sessions import NullSession
from limits import RateLimitItemPerMinute
from limits.strategies import MovingWindowRateLimiter
from werkzeug import Response as AnyResponse

from inbox.core.errors import StoreUnavailable
from inbox.receive.health import is_local
from inbox.receive.statuses import RETRY_AFTER
from inbox.ui.pages.blueprint import csrf, pages, runtime
from inbox.ui.pages.sessions import on_this_machine
from inbox.ui.services import accounts

log = structlog.get_logger("inbox.ui.pages")

TRIES = RateLimitItemPerMinute(10, 5)
"""Wrong passwords from one address, in five minutes."""

_TURNS = BoundedSemaphore(3)
"""Passwords that are looked at or wait for that, each for a tenth of a second: more would keep threads from others."""

_LOGIN = "login"
_OPEN = ("pages.login", "pages.log_in")


@pages.before_request
def guard() -> AnyResponse | None:
    """Let nobody see a page who may not; and nobody change anything by a form that is not ours."""
    if request.endpoint == "pages.static":
        return None
    if not accounts.is_on(runtime()):
        return make_response(render_template("off.html", local=is_local()), 404)
    if not (request.is_secure or on_this_machine(request)):
        return make_response(render_template("insecure.html"), 403)
    if request.headers.get("Authorization", "").startswith("Bearer "):
        abort(403, "Tokens are for the JSON endpoints under /inbox/api/.")
    g.who = logged_in()
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        csrf.protect()
    if request.endpoint in _OPEN or g.who:
        return None
    if request.method not in ("GET", "HEAD"):
        abort(403, "The login is over: log in, and do it again.")
    return redirect(url_for("pages.login", next=request.full_path.rstrip("?")))


@pages.get("/login")
def login() -> str | AnyResponse:
    """Show the form."""
    return redirect(_next()) if g.who else render_template("login.html", next=_next(), user=accounts.USER)


@pages.post("/login", endpoint="log_in")
def log_in() -> str | AnyResponse:
    """Begin a login, or say no; who tries too often has to wait."""
    user, address = request.form.get("user", ""), network(request.remote_addr or "")
    tries: MovingWindowRateLimiter = current_app.extensions["inbox_tries"]
    if not tries.test(TRIES, address):
        log.warning("login.limited", user=_named(user), remote=request.remote_addr)
        return _again(user, "Too many wrong passwords from your address. Wait five minutes.", 429)
    if not _TURNS.acquire(blocking=False):
        log.warning("login.crowded", user=_named(user), remote=request.remote_addr)
        return _again(user, "Many try to log in at this moment. Try again in a few seconds.", 503)
    try:
        started = accounts.log_in(runtime(), user, request.form.get("password", ""))
        if started is None:
            tries.hit(TRIES, address)
    finally:
        _TURNS.release()
    if started is None:
        log.warning("login.refused", user=_named(user), remote=request.remote_addr)
        return _again(user, "User or password are wrong.", 403)
    session.clear()  # nothing from before, so that nobody can have prepared it
    session[_LOGIN] = started.secret
    log.info("login.begun", user=user, remote=request.remote_addr)
    return redirect(_next())


@pages.post("/logout")
def logout() -> AnyResponse:
    """End the login, wherever a copy of its cookie is."""
    accounts.log_out(runtime(), session.get(_LOGIN, ""))
    log.info("login.ended", user=g.who, remote=request.remote_addr)
    session.clear()
    return redirect(url_for("pages.login"))


def _named(user: str) -> str:
    """Return a user as the log may have it: who is none could be a password, typed into the wrong field."""
    return user if any(row["user"] == user for row in runtime().access.users()) else "unknown"


def _again(user: str, problem: str, status: int) -> Response:
    page = render_template("login.html", next=_next(), user=user, problem=problem)
    response = make_response(page, status)
    if status in (429, 503):
        response.headers["Retry-After"] = str(TRIES.get_expiry() if status == 429 else RETRY_AFTER)
    return response


def logged_in() -> str:
    """Return who has logged in with this browser, "" if nobody has. Raises StoreUnavailable if that cannot be told."""
    if isinstance(session, NullSession):
        raise StoreUnavailable("the secret that signs cookies cannot be read")
    secret = session.get(_LOGIN, "")
    found = accounts.login(runtime(), secret) if secret else None
    return found.user if found is not None else ""


def _next() -> str:
    """Return where somebody wanted to go: a page of ours, never another site."""
    wanted = request.values.get("next", "")
    try:
        parts = urlsplit(wanted)
    except ValueError:  # such as //[
        return url_for("pages.overview")
    ours = not parts.scheme and not parts.netloc and parts.path.startswith("/inbox/") and "\\" not in wanted
    return wanted if ours and wanted.isprintable() else url_for("pages.overview")


def network(address: str) -> str:
    """Return what one person has: an IPv4 address, or the first half of an IPv6 address."""
    try:
        found = ip_address(address)
    except ValueError:
        return sha256(address.encode("utf-8", "replace")).hexdigest()
    if found.version == 6 and found.ipv4_mapped is not None:  # a server on [::] sees IPv4 so
        found = found.ipv4_mapped
    return str(found) if found.version == 4 else found.exploded[:19]
