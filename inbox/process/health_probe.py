"""Whether the receiver answers: the supervisor asks its `/healthz` now and then, as any client could.

The same connection is kept, so that asking costs next to nothing and a flood of other connections takes its place from
it: a receiver that has no room for one more is not taken for one that hangs.
"""

import os
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address

from inbox.core.config.settings import ServerSettings

INTERVAL = 2.0
"""Seconds between two questions."""

START = 120.0
"""Seconds until the first answer on a new connection, as while the receiver starts."""

TICK = 1.0
"""Seconds that count at most between two looks: a machine that was asleep, or stopped, has not been silent."""


class HealthProbe:
    """Asks in a thread of its own; `look` tells when it is enough. `after` is in seconds."""

    def __init__(self, connect: Callable[[], socket.socket], after: float, *, interval: float = INTERVAL) -> None:
        self._connect = connect
        self._after = after
        self._interval = interval
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: HTTPConnection | None = None
        self._established = False
        self._answers = 0
        self._seen = 0
        self._looked = 0.0
        self._silent = 0.0

    def begin(self, now: float) -> None:
        """Watch a receiver that was just started."""
        self._looked, self._silent = now, 0.0
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
            self._thread.start()

    def look(self, now: float) -> str:
        """Return why the receiver is to be replaced, "" if it is not. `now` is steady.

        One that never answered is left alone: something may keep the question from it.
        """
        self._silent += min(now - self._looked, TICK)
        self._looked = now
        if self._seen != (seen := self._answers):
            self._seen, self._silent = seen, 0.0
        if not self._seen or self._silent <= (self._after if self._established else max(START, self._after)):
            return ""
        return f"no answer to /healthz for {self._silent:.0f} s"

    def close(self) -> None:
        """Ask no more, and let go of the connection, for which the receiver would wait."""
        self._stopping.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            try:
                self._ask()
            except (OSError, HTTPException, ValueError):
                self._drop()
        self._drop()

    def _ask(self) -> None:
        if self._connection is None:
            self._connection = HTTPConnection("localhost")
            self._connection.sock = self._connect()
        self._connection.request("GET", "/healthz")
        answer = self._connection.getresponse()
        answer.read()
        if answer.status == 200:
            self._established = True
            self._answers += 1
        if self._connection.sock is None or answer.will_close:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection, self._established = self._connection, None, False
        if connection is not None:
            connection.close()


def connector(server: ServerSettings, inherited: int | None) -> Callable[[], socket.socket]:
    """Return what connects to the receiver: at its address, or at that of the socket that it inherits."""
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    address: object = (server.host, server.port)
    if inherited is not None:
        with socket.socket(fileno=os.dup(inherited)) as listening:
            family, address = listening.family, listening.getsockname()
    if isinstance(address, tuple) and ip_address(address[0]).is_unspecified:
        address = ("::1" if family == socket.AF_INET6 else "127.0.0.1", *address[1:])

    def connect() -> socket.socket:
        made = socket.socket(family)
        try:
            made.settimeout(START)
            made.connect(address)  # type: ignore[arg-type]
            return _secured(made) if server.tls_cert else made
        except BaseException:
            made.close()
            raise

    return connect


def _secured(plain: socket.socket) -> socket.socket:
    """Return the connection under TLS; whose certificate it is does not matter to a program on the same machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(plain)
