"""The receiver process: granian around the Flask application."""

import errno
import multiprocessing
import os
import signal
import socket
import ssl
import time
from ipaddress import ip_address
from pathlib import Path
from wsgiref.types import WSGIApplication

import structlog
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels

from inbox import drain
from inbox.config import ServerSettings
from inbox.errors import ConfigError, StoreUnavailable
from inbox.log import configure
from inbox.runtime import Runtime
from inbox.web import create_app
from inbox.worker import on_orphaned

log = structlog.get_logger("inbox.server")

_PARENT = "INBOX_SERVER_PID"


def application() -> WSGIApplication:
    """Return the WSGI application of the inbox that the environment names; granian calls this in its own process."""
    configure(os.environ.get("INBOX_LOG_LEVEL", "info"))
    runtime = Runtime.from_environment()
    if _PARENT in os.environ:
        on_orphaned(int(os.environ[_PARENT]), lambda: os.kill(os.getpid(), signal.SIGTERM))
    return drain.draining(create_app(runtime.receiver, runtime.settings.server))


class _Server(Granian):  # type: ignore[misc, valid-type]
    def shutdown(self, exit_code: int = 0) -> None:
        """Have the process that answers take the last connections before it is told to stop."""
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, drain.SIGNAL)
        time.sleep(drain.SECONDS)
        super().shutdown(exit_code)


def serve(runtime: Runtime) -> None:
    """Answer requests until SIGTERM or SIGINT; requests that are being worked on are answered first.

    Raises ConfigError or StoreError before it listens.
    """
    check_start(runtime)
    server, (cert, key) = runtime.settings.server, _tls_files(runtime)
    os.environ[_PARENT] = str(os.getpid())
    log.info(
        "receiver.starting",
        address=f"{'https' if cert else 'http'}://{server.host}:{server.port}",
        sources=",".join(runtime.sources),
        pid=os.getpid(),
    )
    _Server(
        "inbox.server:application",
        factory=True,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        address=server.host,
        port=server.port,
        workers=1,
        blocking_threads=max(server.threads, server.connections),
        log_level=LogLevels.error,
        ssl_cert=cert,
        ssl_key=key,
        websockets=False,
        workers_kill_timeout=int(server.patience) + 5,  # one was seen that did not notice SIGTERM
    ).serve()


def check(runtime: Runtime) -> None:
    """Raise ConfigError or StoreError if a receiver with these settings could not work."""
    check_settings(runtime)
    try:
        runtime.inlet.probe()
    finally:
        runtime.inlet.close()


def check_start(runtime: Runtime) -> None:
    """Raise ConfigError or StoreError if a receiver with these settings could not even answer.

    A store that opens but is locked or full is no reason not to start: senders get a 503, and the worker makes room.
    """
    check_settings(runtime)
    _ = runtime.inlet
    try:
        check(runtime)
    except StoreUnavailable as error:
        log.error("store.unavailable", error=str(error), then="503 until it is")


def check_settings(runtime: Runtime) -> None:
    """Raise ConfigError if the settings are wrong, without opening the store."""
    _ = runtime.sources, runtime.schemas
    _check_tls(*_tls_files(runtime))
    _check_address(runtime.settings.server)


def wait_for_port(runtime: Runtime, seconds: float = 2.0) -> None:
    """Raise ConfigError if another process still listens on the port after so many seconds.

    The kernel would let two receivers of one user share it, and give each a part of the requests.
    """
    end = time.monotonic() + seconds
    while _check_address(runtime.settings.server):
        if time.monotonic() >= end:
            server = runtime.settings.server
            raise ConfigError("inbox.toml: server.port", f"{server.host}:{server.port} is in use by another process")
        time.sleep(0.1)


def _check_address(server: ServerSettings) -> bool:
    """Raise ConfigError if nobody could listen there; return whether somebody does already."""
    try:
        version = ip_address(server.host).version
    except ValueError:
        problem = f"{server.host!r} is not an IP address; allowed: 127.0.0.1, ::1, 0.0.0.0 or one of this machine"
        raise ConfigError("inbox.toml: server.host", problem) from None
    with socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((server.host, server.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            where = "inbox.toml: server.host, server.port"
            raise ConfigError(where, f"cannot listen on {server.host}:{server.port}: {error.strerror}") from None
    return False


def _tls_files(runtime: Runtime) -> tuple[Path | None, Path | None]:
    server, folder = runtime.settings.server, runtime.settings.folder
    return (folder / server.tls_cert, folder / server.tls_key) if server.tls_cert else (None, None)


def _check_tls(cert: Path | None, key: Path | None) -> None:
    """Raise ConfigError unless the two can be read, belong together and need no passphrase."""
    if cert is None or key is None:
        return
    for name, path in (("tls_cert", cert), ("tls_key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigError(f"inbox.toml: server.{name}", f"{path} cannot be read: {error.strerror}") from None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: b"")
    except (ssl.SSLError, ValueError):
        problem = f"{cert} and {key} do not go together; allowed: PEM, with the chain, and its key without a passphrase"
        raise ConfigError("inbox.toml: server.tls_cert, server.tls_key", problem) from None
