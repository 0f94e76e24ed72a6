"""A receiver as a proxy sees it: its address, its limits, and which of its pages are for everybody."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from inbox.core.config.settings import ServerSettings
from inbox.tools.deploy import render

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 – what listens everywhere is asked on loopback

LARGEST = 64 * 1024 * 1024
"""The largest max_body that a source may have, for an inbox without sources."""

RETRY_AFTER = 5
"""Seconds in the Retry-After of what the proxy says for a receiver that does not answer."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """What the templates are filled with.

    domain, http_port, https_port  where senders come in
    cert, key    files of the certificate; Caddy gets its own if there are none
    upstream     host:port of the receiver
    max_body     bytes: the largest body that any source takes
    answer_in    seconds until the receiver has answered, or never will: longer than it waits for its turn and the store
    pages        further addresses that go public, such as /readyz
    """

    domain: str
    upstream: str
    max_body: int
    answer_in: int
    cert: Path | None = None
    key: Path | None = None
    http_port: int = 80
    https_port: int = 443
    pages: tuple[str, ...] = ()
    retry_after: int = RETRY_AFTER


def upstream(server: ServerSettings) -> str:
    """Return where a proxy on this machine finds the receiver."""
    host = EVERYWHERE.get(server.host, server.host)
    return f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"


def answer_in(server: ServerSettings) -> int:
    """Return the seconds after which no answer comes: twice `store_timeout`, for its turn and for the store."""
    return math.ceil(2 * server.store_timeout) + 10


def nginx(site: Site) -> str:
    """Return a file for nginx's conf.d; it names its certificate."""
    assert site.cert is not None
    assert site.key is not None
    return render("nginx.conf", asdict(site))


def caddy(site: Site, *, version: tuple[int, ...] = (2, 11)) -> str:
    """Return a Caddyfile. Before 2.6.3 buffering has other names, and Debian 12 and 13 have 2.6.2."""
    return render("Caddyfile", {**asdict(site), "old": version < (2, 6, 3)})
