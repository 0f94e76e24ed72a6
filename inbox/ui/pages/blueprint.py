"""What every page has: where it is, who sees it, its headers, how things are written in it."""

import re
from typing import Any

import structlog
from flask import Blueprint, Flask, Response, current_app, g, render_template, request
from flask_wtf.csrf import CSRFProtect
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from werkzeug.exceptions import BadRequest, HTTPException, InternalServerError, ServiceUnavailable
from werkzeug.exceptions import NotFound as NoSuchPage

from inbox.core.errors import InboxError, NotFound, StoreError
from inbox.receive.wsgi_bridge import FORMS, MAX_FORM
from inbox.runtime import Runtime
from inbox.ui.pages.chart import chart
from inbox.ui.pages.formatting import FILTERS
from inbox.ui.pages.sessions import Sessions

log = structlog.get_logger("inbox.ui.pages")

pages = Blueprint(
    "pages",
    __name__,
    url_prefix=FORMS,
    template_folder="templates",
    static_folder="static",
    static_url_path="/static",
)
csrf = CSRFProtect()

PLACES = (
    ("overview", "Overview"),
    ("events", "Events"),
    ("refusals", "Refusals"),
    ("handlers", "Handlers"),
    ("actions", "Actions"),
)
"""What the bar at the top leads to: endpoint and name."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""What is sent with every answer under `/inbox/`."""


_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that turn the text after them round."""


class _Page(Response):
    """A page: what turns text round, and half a character, which UTF-8 cannot have, are written as JSON writes them."""

    def set_data(self, value: bytes | str) -> None:
        if isinstance(value, str):
            value = _TURNS.sub(lambda found: f"\\u{ord(found[0]):04x}", value).encode("utf-8", "backslashreplace")
        super().set_data(value)


def furnish(app: Flask, runtime: Runtime) -> None:
    """Give an application what the pages need."""
    app.extensions["inbox"] = runtime
    app.extensions["inbox_tries"] = MovingWindowRateLimiter(MemoryStorage())
    app.session_interface = Sessions(runtime)
    app.response_class = _Page
    app.config.update(
        SESSION_COOKIE_NAME="inbox_session",
        SESSION_COOKIE_PATH=FORMS,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        MAX_CONTENT_LENGTH=MAX_FORM,
        MAX_FORM_MEMORY_SIZE=MAX_FORM,
        WTF_CSRF_CHECK_DEFAULT=False,  # `login.guard` decides: programs with a token have no cookie to steal
        WTF_CSRF_TIME_LIMIT=None,  # as long as the login
        WTF_CSRF_SSL_STRICT=False,  # a Referer is not needed beside the token
    )
    csrf.init_app(app)
    app.jinja_env.filters.update(FILTERS, chart=chart)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def runtime() -> Runtime:
    """Return the inbox whose pages these are."""
    found: Runtime = current_app.extensions["inbox"]
    return found


def who() -> str:
    """Return who asks, as it is recorded with what they do."""
    return str(g.get("who", ""))


@pages.context_processor
def _everywhere() -> dict[str, Any]:
    return {"places": PLACES, "now": runtime().clock(), "who": who()}


@pages.after_request
def _protect(response: Response) -> Response:
    """Let nothing run that is not ours, nobody frame the page, and no cache keep it."""
    response.headers.update(HEADERS)
    if request.endpoint != f"{pages.name}.static":
        response.headers["Cache-Control"] = "no-store"
    return response


@pages.errorhandler(HTTPException)
@pages.errorhandler(InboxError)
def _error(error: Exception) -> tuple[str, int]:
    found = error if isinstance(error, HTTPException) else _as_http(error)
    return render_template("error.html", error=found, reason=str(error)), found.code or 500


def _as_http(error: Exception) -> HTTPException:
    if isinstance(error, NotFound):
        return NoSuchPage(str(error))
    if isinstance(error, StoreError):
        log.error("page.unavailable", path=request.path, error=str(error))
        return ServiceUnavailable(str(error))
    return BadRequest(str(error))


@pages.errorhandler(Exception)
def _failed(error: Exception) -> tuple[str, int]:
    log.exception("page.failed", path=request.path)
    found = InternalServerError("This is a mistake in webhook-inbox; its log has more.")
    return render_template("error.html", error=found, reason=found.description), 500


@pages.get("/<path:rest>")
def nowhere(rest: str) -> str:
    """Say that nothing is there, to somebody who has logged in."""
    raise NoSuchPage("There is no such page.")
