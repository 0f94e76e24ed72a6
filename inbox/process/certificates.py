"""The receiver's certificate and key: whether they work, and noticing that they were replaced."""

import os
import ssl
import threading
from collections.abc import Callable
from pathlib import Path, PosixPath

import structlog

from inbox.core.config import snapshot
from inbox.core.config.settings import Settings
from inbox.core.errors import ConfigError

log = structlog.get_logger("inbox.process.certificates")

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
    if not _fit(cert, key):
        problem = f"{cert} and {key} do not go together; allowed: PEM, with the chain, and its key without a passphrase"
        raise ConfigError("inbox.toml: server.tls_cert, server.tls_key", problem)


def _fit(cert: Path, key: Path) -> bool:
    """Tell whether the two belong together and need no passphrase."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: b"")
    except (ssl.SSLError, ValueError):
        return False
    return True


def usable(settings: Settings) -> tuple[Path | None, Path | None]:
    """Return a certificate and its key that work, or neither: those on disk, else those of the snapshot.

    Those on disk are newer when the two differ, as they are replaced without a reload. Raises ConfigError.
    """
    cert, key = files(settings)
    try:
        check(settings)
    except ConfigError as error:
        contents = [snapshot.kept(path) for path in (cert, key) if path is not None]
        if None in contents or not hasattr(os, "memfd_create"):
            raise
        cert, key = (_InMemory(content) for content in contents if content is not None)
        if not _fit(cert, key):
            raise
        log.error("certificate.not_usable", error=str(error), then="the one that was read before is used")
    return cert, key


class _InMemory(PosixPath):
    """The path of a file in this process's memory, which exists under this name alone."""

    def __new__(cls, content: bytes) -> "_InMemory":
        number = os.memfd_create("inbox-certificate")
        os.pwrite(number, content, 0)
        return super().__new__(cls, f"/proc/{os.getpid()}/fd/{number}")

    def resolve(self, strict: bool = False) -> "_InMemory":
        """Return itself: the link leads to no name."""
        return self


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
