"""[alarms] of inbox.toml: who is told, how, and from when on.

Read by `inbox.core.config.settings`, used by `inbox.operate.alarms`.

The defaults are meant to stay quiet unless a person has to do something.
"""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from inbox.core.models import Secret

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, kw_only=True)
class AlarmSettings:
    """[alarms]: times are in seconds, shares from 0 to 1. Nobody is told unless email, webhook or command is set."""

    email: tuple[str, ...] = ()
    sender: str = ""
    smtp: str = ""
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: str = ""
    smtp_password: Secret | None = None
    webhook: str = ""
    webhook_secret: Secret | None = None
    command: tuple[str, ...] = ()
    send_timeout: float = 10.0
    silence_after: float = 7200.0
    refused_share: float = 0.5
    quarantined_share: float = 0.2
    backlog_age: float = 300.0
    disk_headroom: int = 268_435_456
    deadline: float = 10.0
    deadline_share: float = 0.5
    process_gone: float = 60.0

    @property
    def ways(self) -> tuple[str, ...]:
        """Return the ways by which somebody is told."""
        chosen = {"email": self.email, "webhook": self.webhook, "command": self.command}
        return tuple(way for way, value in chosen.items() if value)

    @property
    def server(self) -> tuple[str, int]:
        """Return host and port of the mail server. Raises ValueError."""
        parts = urlsplit(f"//{self.smtp}")
        if not parts.hostname or parts.path or parts.username is not None:
            raise ValueError(self.smtp)
        return parts.hostname, parts.port or (465 if self.smtp_security == "tls" else 587)

    def problem(self) -> tuple[str, str] | None:
        """Return what does not fit, as (key, what is allowed), or None."""
        return self._numbers() or self._mail() or self._webhook()

    def _numbers(self) -> tuple[str, str] | None:
        for key, low, high in (
            ("send_timeout", 1, 60),
            ("silence_after", 0, 31 * 86_400),
            ("refused_share", 0.01, 1),
            ("quarantined_share", 0.01, 1),
            ("backlog_age", 10, 7 * 86_400),
            ("disk_headroom", 0, 2**50),
            ("deadline", 0.1, 3600),
            ("deadline_share", 0.01, 1),
            ("process_gone", 15, 86_400),
        ):
            value = getattr(self, key)
            if not low <= value <= high:
                return key, f"{value} is out of range; allowed: {low} to {high}"
        return None

    def _mail(self) -> tuple[str, str] | None:
        if not self.email:
            return None
        for key in ("sender", "smtp"):
            if not getattr(self, key):
                return key, "missing; email needs sender and smtp"
        for address in (*self.email, self.sender):
            if not address.isprintable() or " " in address or address.count("@") != 1:
                return "email, sender", f"{address!r} is no address; allowed: NAME@HOST"
        try:
            host, _ = self.server
        except ValueError:
            return "smtp", f"{self.smtp!r} is no server; allowed: HOST or HOST:PORT"
        if self.smtp_security == "none" and host not in LOOPBACK:
            return "smtp_security", '"none" is for a mail server on this machine; allowed elsewhere: "starttls", "tls"'
        if bool(self.smtp_user) != (self.smtp_password is not None):
            return "smtp_user, smtp_password", "both or neither"
        return None

    def _webhook(self) -> tuple[str, str] | None:
        if not self.webhook:
            return None
        try:
            parts = urlsplit(self.webhook)
            port_is_one = parts.port is None or parts.port > 0
        except ValueError:
            port_is_one = False
        if not port_is_one or parts.scheme not in ("https", "http") or not parts.hostname:
            return "webhook", "no address; allowed: https://HOST/PATH, or http:// on this machine"
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            return "webhook", "http:// is for this machine; allowed elsewhere: https://HOST/PATH"
        if self.webhook_secret is None:
            return "webhook_secret", 'missing; the message is signed: "env:NAME" of a whsec_… secret'
        return None
