"""The receiver process: granian around the Flask application."""

import os
import signal
from wsgiref.types import WSGIApplication

import structlog
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels

from inbox.errors import ConfigError
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
    return create_app(runtime.receiver, trusted_proxies=runtime.settings.server.trusted_proxies)


def serve(runtime: Runtime) -> None:
    """Answer requests until SIGTERM or SIGINT; requests that are being worked on are answered first.

    Raises ConfigError or StoreError before it listens.
    """
    server, folder = runtime.settings.server, runtime.settings.folder
    cert, key = (folder / server.tls_cert, folder / server.tls_key) if server.tls_cert else (None, None)
    for name, path in (("tls_cert", cert), ("tls_key", key)):
        if path is not None and not path.is_file():
            raise ConfigError(f"inbox.toml: server.{name}", f"{path} is not a file")
    check(runtime)
    os.environ[_PARENT] = str(os.getpid())
    log.info(
        "receiver.starting",
        address=f"{'https' if cert else 'http'}://{server.host}:{server.port}",
        sources=",".join(runtime.sources),
        pid=os.getpid(),
    )
    Granian(
        "inbox.server:application",
        factory=True,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        address=server.host,
        port=server.port,
        workers=1,
        blocking_threads=server.threads,
        log_level=LogLevels.error,
        ssl_cert=cert,
        ssl_key=key,
        websockets=False,
    ).serve()


def check(runtime: Runtime) -> None:
    """Raise ConfigError or StoreError if a receiver with these settings could not work."""
    _ = runtime.sources, runtime.schemas
    try:
        runtime.inlet.probe()
    finally:
        runtime.inlet.close()
