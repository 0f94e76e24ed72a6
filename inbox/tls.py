"""The receiver's certificate and key: whether they work, and noticing that they were replaced."""

import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from inbox.config import Settings
from inbox.errors import ConfigError

LOOK = 1.0
"""Seconds between two looks at the files."""

Stamp = tuple[tuple[int, int, int] | None, ...]


def files(settings: Settings) -> tuple[Path | None, Path | None]:
    """Return the certificate and its key, or neither."""
    server, folder = settings.server, settings.folder
    return (folder / server.tls_cert, folder / server.tls_key) if server.tls_cert else (None, None)


def check(settings: Settings) -> None:
    """Raise ConfigError unless the two can be read, belong together and need no passphrase."""
    cert, key = files(settings)
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


def on_change(settings: Settings, action: Callable[[], object], *, interval: float = LOOK) -> None:
    """Call `action` from a thread each time the files were replaced, once they have been the same for two looks.

    Certificate and key are two files, and nobody replaces them at one instant.
    """
    paths = [path for path in files(settings) if path is not None]
    if not paths:
        return

    def watch(used: Stamp) -> None:
        pause, before = threading.Event(), used
        while not pause.wait(interval):
            now = _stamp(paths)
            if now == before != used:
                used = now
                action()
            before = now

    threading.Thread(target=watch, args=(_stamp(paths),), name="certificate-watch", daemon=True).start()


def _stamp(paths: list[Path]) -> Stamp:
    """Return what changes when one of the files is replaced, written to, or linked to another one."""
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_ino, status.st_size))
    return tuple(found)
