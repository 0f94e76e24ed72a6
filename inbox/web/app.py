"""The Flask application around a Receiver."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import structlog
from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from inbox.config import ServerSettings
from inbox.errors import (
    BodyTooLarge,
    InboxError,
    Incomplete,
    Invalid,
    MethodNotAllowed,
    Refused,
    StoreError,
    StoreUnavailable,
)
from inbox.ingest import Receiver
from inbox.models import Request, header_name
from inbox.web.health import Lookout, Probe, add_pages
from inbox.web.room import Room
from inbox.web.statuses import RETRY_AFTER, STATUSES

log = structlog.get_logger("inbox.web")

CHUNK = 65_536
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def create_app(
    receiver: Receiver,
    server: ServerSettings = ServerSettings(),  # noqa: B008 (frozen)
    lookout: Lookout | None = None,
) -> Flask:
    """Return the WSGI application.

    `lookout` tells how the inbox is, and is told how long answers take; without one `/readyz` only tells whether an
    event could be taken.

    At most `server.threads` requests are worked on at once, see Room; a request counts from when its body is there, so
    that slow senders only take up the server's threads, of which there are more.
    """
    app = Flask("inbox", static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    proxies = server.trusted_proxies
    if proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=0)  # type: ignore[method-assign]
    room = Room(server)
    lookout = lookout or Probe(receiver.probe)
    endpoint = _receive(receiver, room, lookout)
    for rule in ("/in/<source>", "/in/<source>/<path:path>"):
        app.add_url_rule(rule, rule, endpoint, provide_automatic_options=False, methods=METHODS)
    add_pages(app, lookout, room, server.metrics)
    app.register_error_handler(InboxError, _refused)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _bug)
    return app


def _receive(receiver: Receiver, room: Room, lookout: Lookout) -> Callable[..., Response]:
    """Return the view of `/in/…`; a request enters the room when its body is to be read."""

    def receive(source: str, path: str = "") -> Response:
        begun = time.perf_counter()
        try:
            with ExitStack() as stay:
                answer = receiver.accept(source, _request(path), partial(_read, room, stay))
        finally:
            lookout.answered(source, time.perf_counter() - begun)
        return _json({"status": answer.status, "id": answer.id}, answer.http_status)

    return receive


def _request(path: str) -> Request:
    """Return the request without its body, which stays on the wire until the Receiver asks for it."""
    environ = request.environ
    return Request(
        method=request.method,
        path=path,
        query=environ.get("QUERY_STRING", ""),
        headers=tuple((header_name(name), value) for name, value in request.headers.items()),
        remote=environ.get("REMOTE_ADDR") or "",
    )


def _read(room: Room, stay: ExitStack, limit: int) -> bytes:
    """Return the body when there is room for it and it is its turn.

    Raises BodyTooLarge before reading if Content-Length says so, else one byte after the limit; StoreUnavailable.
    """
    length = request.content_length
    if length is not None and length > limit:
        raise BodyTooLarge(limit)
    try:
        return room.enter(stay, limit if length is None else length, partial(_body, limit, length or 0))
    except StoreUnavailable:
        _discard(limit)
        raise


def _body(limit: int, length: int) -> bytes:
    """Return the body, of which `length` bytes are announced. Raises BodyTooLarge one byte after the limit.

    Raises Incomplete if less came than Content-Length says: granian hands over what there is when a connection breaks.
    """
    body = request.stream.read(limit + 1)
    if len(body) > limit:
        raise BodyTooLarge(limit)
    if len(body) < length:
        raise Incomplete(f"Content-Length says {length} bytes, {len(body)} came before the connection ended")
    return body


def _discard(limit: int) -> None:
    """Read the body and forget it: a connection that is closed before may be reset, and the answer lost with it."""
    while limit > 0 and (chunk := request.stream.read(min(limit, CHUNK))):
        limit -= len(chunk)


def _refused(error: Exception) -> Response:
    assert isinstance(error, InboxError)
    status = STATUSES[type(error)]
    if isinstance(error, StoreError):
        log.error("store.unavailable", error=str(error), path=request.path)
        response = _json({"error": "unavailable"}, status)
        response.headers["Retry-After"] = str(RETRY_AFTER)
        return response
    assert isinstance(error, Refused)
    body: dict[str, object] = {"error": error.code}
    if isinstance(error, Invalid):
        body["violations"] = [{"pointer": item.pointer, "message": item.message} for item in error.violations]
    response = _json(body, status)
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(error.allowed)
    return response


def _http_error(error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": (error.name or "error").lower().replace(" ", "_")}, error.code or 500)


def _bug(error: Exception) -> Response:
    """Answer 500 for what nobody thought of; nothing was acknowledged, and the log has the traceback."""
    log.error("request.failed", path=request.path, exc_info=error)
    return _json({"error": "internal_error"}, 500)


def _json(body: dict[str, object], status: int) -> Response:
    response = jsonify(body)
    response.status_code = status
    return response
