"""The Flask application around a Receiver: the endpoint for any WSGI server, and what tells how it is."""

import time
from collections.abc import Callable
from functools import partial

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as HTTPMethodNotAllowed
from werkzeug.middleware.proxy_fix import ProxyFix

from inbox.core.config.settings import ServerSettings
from inbox.core.errors import BodyTooLarge, InboxError, Incomplete
from inbox.core.models import NewEvent, Request, header_name
from inbox.receive import responses
from inbox.receive.access_log import AccessLog
from inbox.receive.admission import AdmissionControl, Reservation
from inbox.receive.body import FORGOTTEN
from inbox.receive.health import HealthSource, Probe, add_pages
from inbox.receive.paths import address
from inbox.receive.receiver import ReadBody, Receiver

CHUNK = 65_536


def create_app(
    receiver: Receiver,
    server: ServerSettings = ServerSettings(),  # noqa: B008 (frozen)
    lookout: HealthSource | None = None,
) -> Flask:
    """Return the WSGI application, endpoint and pages.

    `lookout` tells how the inbox is, and is told how long answers take; without one `/readyz` only tells whether an
    event could be taken.
    """
    room, lookout = AdmissionControl(server), lookout or Probe(receiver.probe)
    app = create_pages(server, lookout, room)
    app.before_request(_receive(receiver, room, lookout, AccessLog()))
    return app


def create_pages(server: ServerSettings, lookout: HealthSource, room: AdmissionControl) -> Flask:
    """Return the pages alone, for an endpoint that shares the room with them, as `inbox.receive.endpoint` is one."""
    app = create_bare(server)
    add_pages(app, lookout, room, server.metrics)
    return app


def create_bare(server: ServerSettings) -> Flask:
    """Return an application that knows `/healthz`, and what to say when something is not there."""
    app = Flask("inbox", static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]
    proxies = server.trusted_proxies
    if proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=0)  # type: ignore[method-assign]
    app.add_url_rule("/healthz", "healthz", lambda: jsonify(status="ok"), methods=["GET"])
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, partial(_failed, AccessLog()))
    app.after_request(_leave_nothing)
    return app


def _receive(
    receiver: Receiver, room: AdmissionControl, lookout: HealthSource, lines: AccessLog
) -> Callable[[], Response | None]:
    """Return what answers `/in/…`, with any method."""

    def receive() -> Response | None:
        found = address(request.path)
        if found is None:
            return None
        source, path = found
        begun, stay = time.perf_counter(), Reservation(room, request.environ.get("REMOTE_ADDR") or "")
        asked = Request(id=receiver.request_id())
        try:
            asked = _request(path, asked.id)
            answer = receiver.accept(source, asked, partial(_read, stay), partial(_enter, stay))
            made = responses.accepted(answer)
            lines.accepted(source, asked, answer, begun)
        except InboxError as error:
            made = responses.refused(error)
            lines.refused(source, asked, error, made.status, begun)
        except HTTPException:  # the connection is gone
            raise
        except Exception as error:
            made = responses.failed()
            lines.failed(asked, error, request.path, begun)
        finally:
            stay.end()
            lookout.answered(source, time.perf_counter() - begun)
        response = _response(made)
        response.headers[responses.REQUEST_ID] = asked.id
        return response

    return receive


def _request(path: str, identity: str) -> Request:
    """Return the request without its body, which stays on the wire until the Receiver asks for it."""
    environ = request.environ
    return Request(
        method=request.method,
        path=path,
        query=environ.get("QUERY_STRING", ""),
        headers=tuple((header_name(name), value) for name, value in request.headers.items()),
        remote=environ.get("REMOTE_ADDR") or "",
        id=identity,
    )


def _read(stay: Reservation, need: ReadBody) -> bytes:
    """Return the body, which `stay` counts as it comes.

    Raises BodyTooLarge before reading if Content-Length says so, else one byte after the limit; StoreUnavailable.
    Raises Incomplete if less came than Content-Length says: servers hand over what there is when a connection breaks.
    """
    stay.proven = need.proven
    length, body = request.content_length or 0, bytearray()
    if length > need.limit:
        raise BodyTooLarge(need.limit)
    while part := request.stream.read(min(CHUNK, need.limit + 1 - len(body))):
        if len(body) + len(part) > need.limit:
            raise BodyTooLarge(need.limit)
        stay.grow(len(part), more=True)
        body += part
    stay.grow(0, more=False)
    if len(body) < length:
        raise Incomplete(f"Content-Length says {length} bytes, {len(body)} came before the connection ended")
    stay.parse()
    return bytes(body)


def _enter(stay: Reservation, event: NewEvent) -> None:
    stay.parsed()
    stay.enter(proven=event.secret is not None)


def _leave_nothing(response: Response) -> Response:
    """Read the body that nobody asked for, so that its sender can write to the end, and then read the answer."""
    left = request.content_length or 0
    if response.status_code in (401, 404, 405, 413, 503) and left <= FORGOTTEN:
        try:
            while left > 0 and (chunk := request.stream.read(min(left, CHUNK))):
                left -= len(chunk)
        except HTTPException:  # the connection is gone
            return response
    return response


def _failed(lines: AccessLog, error: Exception) -> Response:
    lines.failed(Request(), error, request.path, time.perf_counter())
    return _response(responses.failed())


def _http_error(error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = _json({"error": (error.name or "error").lower().replace(" ", "_")}, error.code or 500)
    if isinstance(error, HTTPMethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return response


def _response(made: responses.Response) -> Response:
    response = Response(made.body, made.status, mimetype="application/json")
    response.headers.extend(made.headers)
    return response


def _json(body: dict[str, object], status: int) -> Response:
    response = jsonify(body)
    response.status_code = status
    return response
