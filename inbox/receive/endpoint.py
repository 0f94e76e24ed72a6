"""The ASGI application: `/in/…` on the event loop, so that no sender, however slow, keeps a thread from another.

It goes the way that `Receiver.flow` describes, as the Flask endpoint does in threads; every other path is Flask's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from wsgiref.types import WSGIApplication

import structlog

from inbox.core.config.settings import ServerSettings
from inbox.core.errors import InboxError
from inbox.core.models import NewEvent, Refusal, Request
from inbox.receive.access_log import AccessLog
from inbox.receive.admission import LARGE, AdmissionControl, Reservation
from inbox.receive.body import Body
from inbox.receive.completions import CompletionQueue
from inbox.receive.deadlines import TICK, SharedDeadline
from inbox.receive.fair_thread import Lane
from inbox.receive.paths import address
from inbox.receive.receiver import Answer, Aside, Flow, ReadBody, Receiver
from inbox.receive.responses import REQUEST_ID, WELL, Response, accepted, failed, refused
from inbox.receive.wsgi_bridge import (
    BufferedWsgi,
    Message,
    Receive,
    Scope,
    Send,
    headers_of,
    is_question,
    request_of,
    respond,
)
from inbox.store.protocols import Inlet

log = structlog.get_logger("inbox.receive")

_REQUEST_ID = REQUEST_ID.lower().encode()


class Endpoint:
    """Takes requests for the Receiver, and hands the others to `pages`.

    `closing` tells whether connections are to be closed after their answer, `answered` is told how long one took.
    """

    def __init__(
        self,
        receiver: Receiver,
        inlet: Inlet,
        server: ServerSettings,
        pages: WSGIApplication,
        room: AdmissionControl,
        *,
        closing: Callable[[], bool] = lambda: False,
        answered: Callable[[str, float], None] = lambda source, seconds: None,
    ) -> None:
        self._receiver = receiver
        self._inlet = inlet
        self._server = server
        self._room = room
        self._closing = closing
        self._answered = answered
        self._lines = AccessLog()
        self._patience = SharedDeadline(server.body_timeout)
        self._beside = BufferedWsgi(pages, server, room)
        self._threads = ThreadPoolExecutor(server.threads, "large")
        self._lane = Lane()
        self._written: CompletionQueue | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or begin and end with the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif found := address(scope["path"]):
            begun = time.perf_counter()
            identity = self._receiver.request_id()
            response = await self._answer(*found, scope, receive, identity=identity, begun=begun)
            await respond(response, self._politely(send), (_REQUEST_ID, identity.encode()))
            self._answered(found[0], time.perf_counter() - begun)
        elif is_question(scope):
            await respond(WELL, self._politely(send))
        else:
            await self._beside(scope, receive, self._politely(send))

    async def _live(self, receive: Receive, send: Send) -> None:
        self._written = CompletionQueue(asyncio.get_running_loop())
        watch = asyncio.create_task(self._watch())
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        watch.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            try:
                self._inlet.give_up_late()
                self._lines.look()
            except Exception as error:  # or nobody would be told any more that his time is up
                log.error("watch.failed", error=repr(error))

    async def _answer(
        self, name: str, path: str, scope: Scope, receive: Receive, *, identity: str, begun: float
    ) -> Response:
        body, request = Body(receive, self._patience), Request(id=identity)
        try:
            headers = headers_of(scope)
            request = request_of(scope, headers, path, self._server.trusted_proxies, identity)
            body.announced(headers)
            answer = await self._go(self._receiver.flow(name, request), body, Reservation(self._room, request.remote))
            self._lines.accepted(name, request, answer, begun)
            return accepted(answer)
        except InboxError as error:
            response = refused(error)
            self._lines.refused(name, request, error, response.status, begun)
        except Exception as error:
            response = failed()
            self._lines.failed(request, error, scope["path"], begun)
        await body.forget()
        return response

    async def _go(self, flow: Flow, body: Body, stay: Reservation) -> Answer:
        """Go the way of a request to its end. Raises Refused and StoreError."""
        try:
            need = next(flow)
            while True:
                try:
                    if isinstance(need, ReadBody):
                        stay.proven = need.proven
                        reply: Any = await body.read(need.limit, stay)
                    else:
                        if isinstance(need, NewEvent):
                            stay.enter(proven=need.secret is not None)
                        reply = await self._put(need)
                except InboxError as error:
                    need = flow.throw(error)
                    continue
                if isinstance(reply, bytes) and len(reply) > LARGE:
                    need = await self._in_thread(partial(_parse, flow, reply, stay))
                else:
                    need = flow.send(reply)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            stay.end()

    def _put(self, item: NewEvent | Refusal | Aside) -> Awaitable[Any]:
        assert self._written is not None, "the server has not sent lifespan.startup"
        return self._written.expect(self._lane.submit if isinstance(item, Aside) else self._inlet.submit, item)

    async def _in_thread(self, step: Callable[[], Any]) -> Any:
        """Take a step in a thread; the first after the body never ends the flow, for it asks for the store."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, step)

    def _politely(self, send: Send) -> Send:
        """Return `send`; while the receiver ends, one that announces the end of the connection."""
        if not self._closing():
            return send

        async def last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
            await send(message)

        return last


def _parse(flow: Flow, body: bytes, stay: Reservation) -> NewEvent | Refusal | Aside | ReadBody:
    """Hand a large body over when it may be parsed, and return what is needed next."""
    stay.parse()
    try:
        return flow.send(body)
    finally:
        stay.parsed()
