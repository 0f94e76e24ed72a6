"""What became of a request → what its sender is told: status, JSON, headers. Never why a signature failed."""

import json
from typing import Any, NamedTuple

from inbox.core.errors import InboxError, Invalid, MethodNotAllowed, Refused, StoreError, TooSlow
from inbox.receive.receiver import Answer
from inbox.receive.statuses import RETRY_AFTER, STATUSES

REQUEST_ID = "Inbox-Request-Id"
"""The header of each answer that leads to the log, and to what was stored."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Response(NamedTuple):
    """An answer in the terms of HTTP; `body` is JSON, `headers` are those beside its type and length."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


WELL = Response(200, b'{"status":"ok"}\n')
"""What `/healthz` says."""


def accepted(answer: Answer) -> Response:
    """Return what is said of an event that is on disk."""
    return Response(answer.http_status, b'{"status":"%s","id":%d}\n' % (answer.status.encode(), answer.id))


def refused(error: InboxError) -> Response:
    """Return what is said of a request that was not stored."""
    status = STATUSES[type(error)]
    if isinstance(error, StoreError):
        return _json(status, {"error": "unavailable"}, ("Retry-After", str(RETRY_AFTER)))
    assert isinstance(error, Refused)
    content: dict[str, Any] = {"error": error.code}
    if isinstance(error, Invalid):
        content["violations"] = [{"pointer": item.pointer, "message": item.message} for item in error.violations]
    if isinstance(error, MethodNotAllowed):
        return _json(status, content, ("Allow", ", ".join(error.allowed)))
    if isinstance(
        error, TooSlow
    ):  # what else comes is not waited for, https://www.rfc-editor.org/rfc/rfc9110#section-15.5.9
        return _json(status, content, ("Connection", "close"))
    return _json(status, content)


def explained(error: InboxError) -> Response:
    """Return the same for the owner, who is told why."""
    made = refused(error)
    return made._replace(body=json.dumps({**json.loads(made.body), "message": str(error)}).encode() + b"\n")


def failed() -> Response:
    """Return what is said when nobody thought of it."""
    return _json(500, {"error": "internal_error"})


def _json(status: int, content: dict[str, Any], *headers: tuple[str, str]) -> Response:
    return Response(status, _encode(content).encode() + b"\n", headers)
