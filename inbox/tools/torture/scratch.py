"""A folder in which an inbox is tortured: its settings, its secret, its handlers, and the senders that know them."""

import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from inbox.core.config.settings import FILE
from inbox.core.models import Secret
from inbox.verify.providers.base import Provider
from inbox.verify.providers.generic import GenericHmac

LEASE = 3.0
"""Seconds; short, so that what a killed worker held is soon rescued, and three heartbeats long."""

HANDLERS: Mapping[str, frozenset[str]] = {
    "signed": frozenset({"torture.work"}),
    "plain": frozenset({"torture.work", "torture.sibling"}),
}
"""Which handlers each source's events have to go through."""

_SEALED = """
[inbox]
seal_key = ["file:seal"]
"""
_SETTINGS = """
[server]
port = {port}
store_timeout = 2.0

[worker]
processes = 2
lease = {lease}
kill_after = 1.0
max_crashes = 100
shutdown_timeout = 10.0

[sources.signed]
provider = "hmac"
secrets = ["file:secret"]
header = "X-Signature"
event_id = "json:/id"
event_type = "json:/type"

[sources.plain]
provider = "hmac"
secrets = ["file:secret"]
header = "X-Signature"
event_id = "body"
event_type = "json:/type"
"""


@dataclass(frozen=True)
class Scratch:
    """An inbox's folder, the port it listens on, and the secret that signs what it is sent."""

    folder: Path
    port: int
    secret: Secret

    @property
    def database(self) -> Path:
        """Return the inbox's database."""
        return self.folder / "inbox.db"

    @property
    def sender(self) -> Provider:
        """Return what signs requests to either source."""
        return GenericHmac(secrets=(self.secret,), header="X-Signature")

    @property
    def forger(self) -> Provider:
        """Return what signs with another secret."""
        return GenericHmac(secrets=(Secret(secrets.token_hex(16)),), header="X-Signature")


def make(folder: Path, *, sealed: bool = False) -> Scratch:
    """Lay an inbox down in an empty folder; nothing runs yet."""
    secret, port = secrets.token_hex(16), _free_port()
    (folder / FILE).write_text((_SEALED if sealed else "") + _SETTINGS.format(port=port, lease=LEASE), "utf-8")
    if sealed:
        (folder / "seal").write_text(secrets.token_hex(32), "utf-8")
    (folder / "secret").write_text(secret, "utf-8")
    (folder / "schemas").mkdir()
    (folder / "handlers").mkdir()
    code = files("inbox.tools.torture").joinpath("handler.py").read_text("utf-8")
    (folder / "handlers" / "torture.py").write_text(code, "utf-8")
    (folder / "handlers" / "broken.py").write_text("raise KeyboardInterrupt\n", "utf-8")
    return Scratch(folder, port, Secret(secret))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
