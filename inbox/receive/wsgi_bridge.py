"""What stands beside the endpoint: a WSGI application whose requests are read on the event loop before it sees them.

A thread works on a request only when all of it is there, so that a slow sender keeps none from another.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from threading import Lock
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from a2wsgi import WSGIMiddleware

from inbox.core.config.settings import ServerSettings
from inbox.core.errors import InboxError
from inbox.core.models import Request, header_name
from inbox.receive.admission import AdmissionControl, Reservation
from inbox.receive.body import Body
from inbox.receive.deadlines import SharedDeadline
from inbox.receive.paths import forwarded
from inbox.receive.responses import Response, explained

FORMS = "/inbox"
"""Where requests have a body that is read; elsewhere nobody asks for one."""

MAX_FORM = 1_048_576
"""Bytes: a selection of some thousand events."""

USUAL = 40
"""Bytes of a header's name up to which its spelling is remembered."""

Scope = Mapping[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class LazyWsgi:
    """A WSGI application whose pages are made when somebody first asks for one.

    They bring their own libraries, which most receivers never need, and no process needs in order to start.
    """

    def __init__(self, application: WSGIApplication, make: Callable[[], WSGIApplication]) -> None:
        self._application = application
        self._make = make
        self._made: WSGIApplication | None = None
        self._making = Lock()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        if not is_page(environ["PATH_INFO"]):
            return self._application(environ, start_response)
        with self._making:
            made = self._made = self._made or self._make()
        return made(environ, start_response)


class BufferedWsgi:
    """An ASGI application that lets a WSGI application answer."""

    def __init__(self, application: WSGIApplication, server: ServerSettings, room: AdmissionControl) -> None:
        self._application = WSGIMiddleware(application, workers=server.threads)  # type: ignore[arg-type]
        self._patience = SharedDeadline(server.body_timeout)
        self._room = room
        self._proxies = server.trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or begin and end with the server."""
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif is_page(scope["path"]):
            await self._read(scope, receive, send)
        else:
            body = Body(receive, self._patience)
            body.announced(headers_of(scope))
            await body.forget()
            await self._show({**scope, "query_string": b""}, b"", send)

    async def _read(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, body = headers_of(scope), Body(receive, self._patience)
        stay = Reservation(self._room, remote_of(scope, headers, self._proxies))
        try:
            body.announced(headers)
            content = await body.read(MAX_FORM, stay)
            await self._show(scope, content, send)
        except InboxError as error:
            await respond(explained(error), send)
            await body.forget()
        finally:
            stay.end()

    async def _show(self, scope: Scope, content: bytes, send: Send) -> None:
        headers = [pair for pair in scope["headers"] if pair[0] not in (b"content-length", b"transfer-encoding")]
        whole = {**scope, "headers": [*headers, (b"content-length", b"%d" % len(content))]}

        async def receive() -> Message:
            return {"type": "http.request", "body": content}

        await self._application(whole, receive, send)  # type: ignore[arg-type]


def is_page(path: str) -> bool:
    """Tell whether one of the pages is there. Slashes at the front count as one, as Flask has them."""
    path = "/" + path.lstrip("/")
    return path == FORMS or path.startswith(FORMS + "/")


def is_question(scope: Scope) -> bool:
    """Tell whether it is asked how the receiver is, with nothing that would have to be read first."""
    return (
        scope["path"] == "/healthz"
        and scope["method"] == "GET"
        and not any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
    )


async def respond(response: Response, send: Send, *more: tuple[bytes, bytes]) -> None:
    """Send an answer in JSON."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(response.body))]
    headers += [(name.lower().encode(), value.encode()) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": [*headers, *more]})
    await send({"type": "http.response.body", "body": response.body})


@lru_cache(maxsize=256)
def _usual(name: bytes) -> str:
    """Return the spelling of a name that is short, as those are that come again and again."""
    return header_name(str(name, "latin-1"))


def headers_of(scope: Scope) -> dict[str, str]:
    """Return the headers. One that came twice is one, with a comma between, as in WSGI."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name = _usual(raw_name) if len(raw_name) <= USUAL else header_name(str(raw_name, "latin-1"))
        value = str(raw_value, "latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def remote_of(scope: Scope, headers: Mapping[str, str], proxies: int) -> str:
    """Return the client's address, as the first of so many believed proxies saw it."""
    client = scope.get("client")
    remote: str = client[0] if client else ""
    return (forwarded(headers.get("x-forwarded-for", ""), proxies) or remote) if proxies else remote


def request_of(scope: Scope, headers: Mapping[str, str], path: str, proxies: int, identity: str) -> Request:
    """Return the request without its body."""
    query = scope["query_string"].decode("latin-1")
    remote = remote_of(scope, headers, proxies)
    return Request(scope["method"].upper(), path, query, tuple(headers.items()), remote=remote, id=identity)
