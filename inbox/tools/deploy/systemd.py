"""Settings → systemd units: a service that may write its own data and nothing else, and a socket for it."""

from collections.abc import Mapping
from pathlib import Path

from inbox.core.config.settings import FILE, Settings
from inbox.process import sockets
from inbox.tools.deploy import render

SECRETS = Path("/etc/inbox/secrets.env")
"""Where systemd reads secrets from, as root, before it becomes the user of the service."""


def service(settings: Settings, python: Path, library: Path, *, user: str) -> str:
    """Return inbox.service for an inbox that this Python runs, whose own files lie in `library`."""
    written = _written(settings)
    needed = [library, *paths(settings, python)]
    homes = any(path.is_relative_to(home) for path in needed for home in ("/home", "/root"))
    values: Mapping[str, object] = {
        "python": python,
        "folder": settings.folder,
        "config": settings.folder / FILE,
        "user": user,
        "secrets": SECRETS,
        "written": written,
        "kept": [path for path in _code(settings) if any(path.is_relative_to(place) for place in written)],
        "homes": homes,
        "stop_in": stop_in(settings),
        "files": sockets.files(settings.server),
        "low_port": settings.server.port < 1024,
    }
    return render("inbox.service", values)


def socket(settings: Settings) -> str:
    """Return inbox.socket, which listens where the receiver would."""
    host, port = settings.server.host, settings.server.port
    return render(
        "inbox.socket",
        {"address": f"[{host}]:{port}" if ":" in host else f"{host}:{port}", "backlog": sockets.BACKLOG},
    )


def paths(settings: Settings, python: Path) -> list[Path]:
    """Return every path that stands in the units."""
    return [python, settings.folder, *_written(settings), *_code(settings)]


def stop_in(settings: Settings) -> int:
    """Return the seconds after which everything has ended: receiver and worker, one after the other."""
    return int(2 * (settings.worker.shutdown_timeout + 5)) + 10


def _written(settings: Settings) -> list[Path]:
    """Return the folders of database, queue and data keys, and the one that handlers work in."""
    keys = [settings.path(settings.inbox.key_file)] if settings.inbox.seal_key else []
    files = (settings.database, settings.path(settings.inbox.queue), *keys)
    return list(dict.fromkeys([*(file.parent for file in files), settings.folder]))


def _code(settings: Settings) -> list[Path]:
    """Return what decides which code runs: nobody who breaks into a handler is to change that."""
    inbox = settings.inbox
    return [settings.folder / FILE, settings.path(inbox.handlers), settings.path(inbox.schemas)]
