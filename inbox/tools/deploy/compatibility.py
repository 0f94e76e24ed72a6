"""Settings that do not fit what is deployed: a sentence each, with the setting to change."""

from collections.abc import Iterator
from ipaddress import ip_address

from inbox.core.config.settings import FILE, ServerSettings


def behind_proxy(server: ServerSettings, ports: tuple[int, ...]) -> Iterator[str]:
    """Yield what does not fit behind one proxy on this machine that takes connections on these ports."""
    if server.tls_cert:
        yield _setting("tls_cert, server.tls_key", "the proxy speaks plain HTTP to the receiver; remove both")
    if server.trusted_proxies == 0:
        why = "0 takes the proxy's address for the sender's; set trusted_proxies = 1"
        yield _setting("trusted_proxies", why)
    if server.trusted_proxies > 1:
        why = f"{server.trusted_proxies} is one proxy behind another, and this is one alone; set trusted_proxies = 1"
        yield _setting("trusted_proxies", why)
    if not _loopback(server.host):
        why = f'{server.host} lets others go past the proxy and write their own address; set host = "127.0.0.1"'
        yield _setting("host", why)
    if server.port in ports:
        yield _setting("port", f"{server.port} is the proxy's own port; set another, such as 8000")


def alone(server: ServerSettings) -> Iterator[str]:
    """Yield what does not fit a receiver of which nothing is known but that it runs."""
    if not _loopback(server.host) and not server.tls_cert:
        why = (
            f'{server.host} without TLS sends secrets in the clear; set host = "127.0.0.1" behind a proxy, or tls_cert'
        )
        yield _setting("host", why)
    if server.tls_cert and server.trusted_proxies:
        why = f"{server.trusted_proxies} believes addresses that senders write themselves; set 0 without a proxy"
        yield _setting("trusted_proxies", why)


def _setting(name: str, problem: str) -> str:
    return f"{FILE}: server.{name}: {problem}"


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return True  # told elsewhere
