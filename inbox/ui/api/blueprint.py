"""The JSON endpoints' frame: who may ask, what every answer has, how a mistake is told. Next: `inbox.ui.api.views`.

A program has a token, a browser its login. Whatever is sent, the answer is JSON as `openapi.toml` describes it.
"""

from typing import Any

import structlog
from flask import Blueprint, Response, current_app, g, jsonify, request
from flask.blueprints import BlueprintSetupState
from flask_wtf.csrf import CSRFError
from limits.strategies import MovingWindowRateLimiter
from werkzeug.exceptions import (
    Forbidden,
    HTTPException,
    MethodNotAllowed,
    TooManyRequests,
    Unauthorized,
    UnsupportedMediaType,
)
from werkzeug.exceptions import NotFound as Nowhere
from werkzeug.routing import IntegerConverter, PathConverter

from inbox.core.errors import InboxError, Invalid, Malformed, NotFound, StoreError
from inbox.receive.health import is_local
from inbox.receive.statuses import RETRY_AFTER
from inbox.receive.wsgi_bridge import FORMS
from inbox.ui.api.document import contract
from inbox.ui.pages.blueprint import HEADERS, csrf, runtime
from inbox.ui.pages.login import TRIES, logged_in, network
from inbox.ui.pages.sessions import on_this_machine
from inbox.ui.services import accounts

log = structlog.get_logger("inbox.ui.pages")

api = Blueprint("api", __name__, url_prefix=f"{FORMS}/api")

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY")

ERRORS = {
    400: "invalid",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "impossible",
    429: "too_many_tries",
    500: "internal_error",
    503: "unavailable",
}
"""The word for each status; 408 and errors of a body on its way come from `inbox.receive.wsgi_bridge`."""


class Id(IntegerConverter):
    """The number of a row, which SQLite can hold."""

    regex = "[0-9]{1,18}"


class Anything(PathConverter):
    """The rest of an address, whatever is in it; that of `path` has no line breaks and does not begin with a slash."""

    regex = "(?s:.+?)"
    part_isolating = False


@api.record_once
def _convert(state: BlueprintSetupState) -> None:
    state.app.url_map.converters |= {"id": Id, "anything": Anything}


@api.before_request
def guard() -> None:
    """Let nobody in who may not; and no other site's script change anything with a browser's login."""
    if not accounts.is_on_for_programs(runtime()):
        hint = "; `inbox admin add-token NAME` makes a token" if is_local() else ""
        raise Nowhere(f"The JSON endpoints are off{hint}.")
    if not (request.is_secure or on_this_machine(request)):
        raise Forbidden("HTTPS is needed, so that nobody on the way reads the token.")
    if "Authorization" in request.headers:
        g.who = f"token {_token()}"
        return
    g.who = logged_in()
    if not g.who:
        raise Unauthorized("Send a token: Authorization: Bearer wit_…")
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        csrf.protect()


def _token() -> str:
    """Return the name of the token that was sent; a right one never has to wait because others sent wrong ones."""
    scheme, _, given = request.headers["Authorization"].partition(" ")
    name = accounts.token(runtime(), given.strip()) if scheme.lower() == "bearer" else None
    if name is not None:
        return name
    tries: MovingWindowRateLimiter = current_app.extensions["inbox_tries"]
    if not tries.hit(TRIES, "token", network(request.remote_addr or "")):
        raise TooManyRequests("Too many wrong tokens from your address. Wait five minutes.")
    log.warning("token.refused", remote=request.remote_addr)
    raise Unauthorized("This is no token of this inbox. Send one: Authorization: Bearer wit_…")


@api.before_request
def check() -> Response | None:
    """Compare the address with the document, before anything is done. Raises Invalid."""
    if request.method == "OPTIONS":
        return Response(status=204, headers={"Allow": ", ".join(_methods())})
    if _operation() in contract().operations:
        g.query = contract().query(_operation(), request.args.items(multi=True))
    return None


def query() -> dict[str, Any]:
    """Return what the address asks for, as the document says it."""
    found: dict[str, Any] = g.query
    return found


def body() -> Any:
    """Return the payload of the body, as the document says it. Raises Malformed, Invalid."""
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("The body has to be JSON, and its header Content-Type: application/json.")
    return contract().body(_operation(), request.get_data())


def _operation() -> str:
    return (request.endpoint or "").removeprefix(f"{api.name}.")


@api.route("/", defaults={"rest": ""}, methods=METHODS)
@api.route("/<anything:rest>", methods=METHODS)
def nowhere(rest: str) -> Response:
    """Say that nothing is there, or that what is there does not take this method."""
    if allowed := _methods():
        raise MethodNotAllowed(allowed, f"{request.method} is not allowed here; allowed: {', '.join(allowed)}.")
    raise Nowhere("There is nothing at this address; /inbox/api/openapi.json says what there is.")


def _methods() -> list[str]:
    """Return the methods that something at this address takes."""
    addresses = current_app.create_url_adapter(request)
    assert addresses is not None
    return [method for method in METHODS if addresses.match(method=method)[0] != f"{api.name}.{nowhere.__name__}"]


@api.after_request
def _protect(response: Response) -> Response:
    response.headers.update(HEADERS)
    response.headers["Cache-Control"] = "no-store"
    return response


@api.errorhandler(HTTPException)
def _refused(error: HTTPException) -> Response:
    status = 403 if isinstance(error, CSRFError) else error.code or 500
    response = _said(status, str(error.description or error.name))
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    elif status == 429:
        response.headers["Retry-After"] = str(TRIES.get_expiry())
    elif isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(error.valid_methods or ())
    return response


@api.errorhandler(InboxError)
def _failed(error: InboxError) -> Response:
    """Tell a request that is not as the document says (400) from one that cannot be done (422)."""
    if isinstance(error, StoreError):
        log.error("api.unavailable", path=request.path, error=str(error))
        response = _said(503, str(error))
        response.headers["Retry-After"] = str(RETRY_AFTER)
        return response
    if isinstance(error, NotFound):
        return _said(404, str(error))
    return _said(400 if isinstance(error, Invalid | Malformed) else 422, str(error))


@api.errorhandler(Exception)
def _broken(error: Exception) -> Response:
    log.exception("api.failed", path=request.path)
    return _said(500, "This is a mistake in webhook-inbox; its log has more.")


def _said(status: int, message: str) -> Response:
    response = jsonify(error=ERRORS.get(status, "invalid"), message=message)
    response.status_code = status
    return response
