"""One request, brought to the ASGI application and to its WSGI twin as servers bring it, and what each makes of it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from werkzeug.test import run_wsgi_app

from inbox.core.config.settings import ServerSettings
from inbox.core.models import Request
from inbox.receive.admission import AdmissionControl
from inbox.receive.endpoint import Endpoint
from inbox.receive.health import Probe
from inbox.receive.wsgi import create_app, create_pages
from inbox.testing import Inbox

WELL_FORMED = (b"Roomz-Signature", b"A" * 86 + b"==")
"""A header that could be a signature, of a stranger."""

LONG = 10.0
"""Seconds after which what hangs fails."""


@dataclass(frozen=True)
class Sent:
    """What a sender writes. `parts` is its body as it comes, None stands for the end of the connection."""

    method: str = "POST"
    target: bytes = b"/in/roomz"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    parts: tuple[bytes | None, ...] = (b"",)
    chunked: bool = False
    length: int | None = None

    @property
    def body(self) -> bytes:
        return b"".join(part or b"" for part in self.parts)

    def head(self) -> list[tuple[bytes, bytes]]:
        """Return all headers, in lower case as servers have them."""
        framed = (b"transfer-encoding", b"chunked")
        if not self.chunked:
            framed = (b"content-length", b"%d" % (len(self.body) if self.length is None else self.length))
        return [*((name.lower(), value) for name, value in self.headers), framed]


def sent(source: str, request: Request, *parts: bytes | None, path: str = "", **changes: Any) -> Sent:
    """Return what the sender of a signed request writes."""
    headers = tuple((name.encode(), value.encode("latin-1")) for name, value in request.headers)
    target = f"/in/{source}{path}" + (f"?{request.query}" if request.query else "")
    return Sent(**{"method": request.method, "target": target.encode(), "headers": headers, **changes},
                parts=parts or (request.body,))  # fmt: skip


@dataclass
class Told:
    """What the sender is told; nothing at all is status 0."""

    status: int
    headers: dict[str, str]
    body: bytes


class Line:
    """A connection with one request on it."""

    def __init__(self, sent: Sent, *, pause: float = 0.0, more: bool = False, client: str = "192.0.2.1") -> None:
        path, _, query = sent.target.partition(b"?")
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": sent.method,
            "scheme": "http",
            "path": unquote_to_bytes(path).decode(errors="replace"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": sent.head(),
            "client": (client, 4711),
            "server": ("127.0.0.1", 8000),
        }
        self.taken = 0
        self.gone = asyncio.Event()
        self.messages: list[dict[str, Any]] = []
        self._parts = list(sent.parts)
        self._pause = pause
        self._stalls = more  # after its last part there is more to come, which does not

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(self._pause)
        if not self._parts:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        part = self._parts.pop(0)
        if part is None:
            return {"type": "http.disconnect"}
        self.taken += len(part)
        return {"type": "http.request", "body": part, "more_body": bool(self._parts) or self._stalls}

    async def send(self, message: dict[str, Any]) -> None:
        if not self.gone.is_set():
            self.messages.append(message)

    @property
    def told(self) -> Told:
        if not self.messages:
            return Told(0, {}, b"")
        start, *rest = self.messages
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Told(start["status"], headers, b"".join(message.get("body", b"") for message in rest))


class Site:
    """The ASGI application of an inbox, and its room."""

    def __init__(self, inbox: Inbox, server: ServerSettings | None = None, *, closing: bool = False) -> None:
        server = server or ServerSettings()
        self.room = AdmissionControl(server)
        pages = create_pages(server, Probe(inbox.runtime.receiver.probe), self.room)
        self.front = Endpoint(
            inbox.runtime.receiver, inbox.runtime.inlet, server, pages, self.room, closing=lambda: closing
        )

    @asynccontextmanager
    async def open(self) -> Any:
        """Begin and end as a server does."""
        to, come = asyncio.Queue[dict[str, Any]](), asyncio.Queue[str]()

        async def send(message: dict[str, Any]) -> None:
            come.put_nowait(message["type"])

        living = asyncio.create_task(self.front({"type": "lifespan"}, to.get, send))
        to.put_nowait({"type": "lifespan.startup"})
        assert "lifespan.startup.complete" == await asyncio.wait_for(come.get(), LONG)
        yield self
        to.put_nowait({"type": "lifespan.shutdown"})
        assert "lifespan.shutdown.complete" == await asyncio.wait_for(come.get(), LONG)
        await asyncio.wait_for(living, LONG)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        assert (0, 0) == (self.room._requests, self.room._bytes)
        assert {asyncio.current_task()} == asyncio.all_tasks()

    async def take(self, line: Line) -> Told:
        await asyncio.wait_for(self.front(line.scope, line.receive, line.send), LONG)
        return line.told


def drive(site: Site, story: Callable[[Site], Awaitable[Any]]) -> Any:
    """Run a story in which the application is up, and return what it does."""

    async def run() -> Any:
        async with site.open():
            return await story(site)

    return asyncio.run(run())


def by_front(site: Site, what: Sent) -> Told:
    return drive(site, lambda site: site.take(Line(what)))


def by_twin(inbox: Inbox, server: ServerSettings, what: Sent) -> Told:
    path, _, query = what.target.partition(b"?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": what.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": _Input(what.parts),
        "wsgi.input_terminated": what.chunked,
    }
    for name, value in what.head():
        key = name.decode().upper().replace("-", "_")
        key = key if key in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value.decode('latin-1')}" if key in environ else value.decode("latin-1")
    body, status, headers = run_wsgi_app(create_app(inbox.runtime.receiver, server), environ, buffered=True)
    return Told(int(status.split()[0]), {key.lower(): value for key, value in headers}, b"".join(body))


class _Input:
    def __init__(self, parts: Sequence[bytes | None]) -> None:
        self._rest = b"".join(part or b"" for part in parts)

    def read(self, size: int = -1) -> bytes:
        size = len(self._rest) if size < 0 else size
        part, self._rest = self._rest[:size], self._rest[size:]
        return part
