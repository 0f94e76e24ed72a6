"""The receiver process: granian around the ASGI application."""

import gc
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from wsgiref.types import WSGIApplication

import structlog
from granian import Granian
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols, TaskImpl
from granian.log import LogLevels

from inbox.core import log as logs
from inbox.core.config import snapshot
from inbox.core.config.settings import ServerSettings
from inbox.core.errors import InboxError
from inbox.process import certificates, drain, sockets
from inbox.process.startup_checks import check_settings, check_start
from inbox.process.worker import end_orphaned
from inbox.receive.admission import AdmissionControl
from inbox.receive.endpoint import Endpoint
from inbox.receive.wsgi import create_pages
from inbox.receive.wsgi_bridge import BufferedWsgi, LazyWsgi
from inbox.runtime import Runtime

log = structlog.get_logger("inbox.process.receiver")

_PARENT = "INBOX_SERVER_PID"
_SOCKET = "INBOX_SERVER_SOCKET"

READY = signal.SIGUSR1
"""What the process that answers tells its parent when it has read everything."""

GARBAGE = 10_000
"""Objects until Python looks for those that hold each other; what was made before requests came is not looked at. No
request leaves any, and a look at each few of them took a twentieth of the time."""

START = 30.0
"""Seconds that a new process has until then."""


def application() -> Endpoint:
    """Return the ASGI application of the inbox that the environment names; granian calls this in its own process."""
    runtime = _begin("receiver")
    runtime.watching.replace = _ask_for_another
    made = front(runtime, closing=drain.begin_on_signal())
    runtime.watching.lookout.start()
    _ready(runtime.settings.server)
    return made


def front(runtime: Runtime, *, closing: Callable[[], bool] = lambda: False) -> Endpoint:
    """Return the ASGI application of an inbox."""
    server, room = runtime.settings.server, AdmissionControl(runtime.settings.server)
    lookout = runtime.watching.lookout
    health = create_pages(server, lookout, room)
    beside = health if runtime.settings.admin.bind else LazyWsgi(health, lambda: _pages(runtime))
    return Endpoint(runtime.receiver, runtime.inlet, server, beside, room, closing=closing, answered=lookout.answered)


def pages_application() -> BufferedWsgi:
    """Return the ASGI application of the pages alone; granian calls this in its own process."""
    runtime = _begin("pages")
    server = runtime.settings.server
    made = BufferedWsgi(_pages(runtime), server, AdmissionControl(server))
    _ready(server)
    return made


def _pages(runtime: Runtime) -> WSGIApplication:
    from inbox.ui.app import alone

    return alone(runtime)


def _begin(name: str) -> Runtime:
    logs.configure(os.environ.get(logs.LEVEL, "info"), os.environ.get(logs.FORMAT, "text"), collect=True)
    logs.label(name)
    return Runtime.from_environment()


def _ready(server: ServerSettings) -> None:
    """Take connections from now on, and tell the parent, with whom this process ends."""
    gc.freeze()  # see GARBAGE
    gc.set_threshold(GARBAGE, *gc.get_threshold()[1:])
    if _PARENT in os.environ:
        end_orphaned(int(os.environ[_PARENT]), server.store_timeout + 10)
        sockets.listen(int(os.environ[_SOCKET]))
        os.kill(int(os.environ[_PARENT]), READY)


_LOGGING = {"formatters": {}, "handlers": {}, "loggers": {"_granian": {"handlers": [], "propagate": True}}}
"""What granian logs goes the way of all lines; by itself it would wait for the reader of standard output."""


def _ask_for_another() -> None:
    """Have the parent start another process, as `inbox reload` does; this one answers until that one is ready."""
    os.kill(int(os.environ[_PARENT]), signal.SIGHUP)


class _Server(Granian):  # type: ignore[misc, valid-type]
    """Granian with one process that answers, on a socket that outlives it."""

    def __init__(self, target: str, listening: socket.socket, *, inherited: bool, **options: Any) -> None:
        super().__init__(f"inbox.process.receiver:{target}", factory=True, workers=1, **options)
        self._listening = listening
        self._inherited = inherited
        self._ready = False

    def startup(self, spawn_target: Any, target_loader: Any) -> None:
        """Start the process that answers."""
        signal.signal(READY, self._note)
        super().startup(spawn_target, target_loader)

    def _note(self, signum: int, frame: object) -> None:
        self._ready = True

    def _init_shared_socket(self) -> None:
        number = self._listening.fileno()
        self._ssp, self._sso, self._sfd = None, self._listening, number
        self._shd = SocketHolder(number, False, sockets.BACKLOG)  # type: ignore[call-arg]

    def reload(self) -> None:
        """Have the main thread replace the process that answers."""
        self.reload_signal = True
        self.main_loop_interrupt.set()

    def _reload(self, spawn_target: Any, target_loader: Any) -> None:
        """Start a process with what the files say now; when it is ready, retire the old one. SIGHUP does the same."""
        self.reload_signal = False
        self.main_loop_interrupt.clear()
        try:
            snapshot.renew()
            runtime = Runtime.from_environment()
            check_settings(runtime, inherited=self._inherited)
            self._use(*certificates.files(runtime.settings))
        except InboxError as error:
            log.error("receiver.not_reloaded", error=str(error), then="what was read before stays in use")
            return
        new = self._spawn_worker(idx=0, target=spawn_target, callback_loader=target_loader)
        if not self._comes_up(new):
            log.error("receiver.not_reloaded", error="the new process ended", then="what was read before stays in use")
            return
        old, self.wrks[0] = self.wrks[0], new
        self._retire(old)
        log.info("receiver.reloaded", new_pid=new._id())

    def _use(self, cert: Path | None, key: Path | None) -> None:
        """Have the processes that are started from now on read the certificate there."""
        if cert is not None:
            self.build_ssl_context(cert, key, None, SSLProtocols.tls12, None, [], False)

    def _comes_up(self, new: Any) -> bool:
        """Start a process and wait until it is ready; it is nobody's loss if it ends before."""
        self._ready, new.interrupt_by_parent = False, True
        new.start()
        self._wait(START, lambda: self._ready or not new.is_alive())
        self._wait(drain.SECONDS, lambda: not new.is_alive())  # the certificate is read after the application
        new.interrupt_by_parent = False
        if self._ready and new.is_alive():
            return True
        new.kill()
        return False

    def _retire(self, old: Any) -> None:
        """End a process politely: it takes no more connections, and answers those that it has."""
        old.interrupt_by_parent = True
        _tell(old._id(), drain.RETIRE)
        self._wait(drain.LAST, lambda: not old.is_alive())
        old.terminate()
        old.join(self.workers_kill_timeout)
        if old.is_alive():
            old.kill()
            old.join()

    def _wait(self, seconds: float, until: Callable[[], bool]) -> None:
        """Wait for something, for so many seconds, or until everything is to stop."""
        end = time.monotonic() + seconds
        while not until() and not self.interrupt_signal and time.monotonic() < end:
            time.sleep(0.02)

    def shutdown(self, exit_code: int = 0) -> None:
        """Have the process that answers take the last connections before it is told to stop."""
        for child in multiprocessing.active_children():
            _tell(child.pid, drain.RETIRE if self._inherited else drain.SIGNAL)
        time.sleep(drain.SECONDS)
        super().shutdown(exit_code)


def _tell(pid: int | None, signum: int) -> None:
    """Send a signal to a process, which may have ended, though multiprocessing has not noticed yet."""
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)


def serve(runtime: Runtime, *, inherited: int | None = None) -> None:
    """Answer requests until SIGTERM or SIGINT; requests that are being worked on are answered first.

    `inherited` is the number of a socket that listens already. Raises ConfigError or StoreError before it listens.
    """
    check_start(runtime, inherited=inherited is not None)
    server = runtime.settings.server
    listening = sockets.bind(server) if inherited is None else sockets.adopt(inherited)
    _serve(runtime, server, listening, "application", inherited=inherited is not None)


def serve_pages(runtime: Runtime) -> None:
    """Show the pages at `[admin] bind` until SIGTERM or SIGINT. Raises ConfigError or StoreError before it listens."""
    host, port = runtime.settings.admin.address
    server = replace(runtime.settings.server, host=host, port=port)
    sockets.check_address(server, "admin.bind")
    _ = runtime.access.users()  # a store that cannot be opened is told before anybody can ask
    _serve(runtime, server, sockets.bind(server, "admin.bind"), "pages_application", inherited=False)


def _serve(runtime: Runtime, server: ServerSettings, listening: socket.socket, target: str, *, inherited: bool) -> None:
    cert, key = certificates.usable(runtime.settings)
    os.environ[_PARENT], os.environ[_SOCKET] = str(os.getpid()), str(listening.fileno())
    sockets.allow_files(sockets.files(server))
    log.info(
        "receiver.starting" if target == "application" else "pages.starting",
        address=f"{'https' if cert else 'http'}://{server.host}:{server.port}",
        sources=",".join(runtime.sources) if target == "application" else None,
    )
    made = _Server(
        target,
        listening,
        inherited=inherited,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        task_impl=TaskImpl.asyncio,  # the other one cannot be cancelled, as body_timeout does
        http=HTTPModes.http1,
        backpressure=server.max_connections,
        log_level=LogLevels.error,
        log_dictconfig=_LOGGING,
        ssl_cert=cert,
        ssl_key=key,
        ssl_protocol_min=SSLProtocols.tls12,
        websockets=False,
        workers_kill_timeout=int(server.store_timeout) + 5,  # one was seen that did not notice SIGTERM
    )
    certificates.on_change(runtime.settings, made.reload)
    made.serve()
