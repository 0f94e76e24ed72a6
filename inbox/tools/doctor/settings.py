"""The settings: everything that `inbox check` finds, and what is allowed but not safe."""

import socket
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address

from inbox.core.config.settings import FILE, ServerSettings
from inbox.core.errors import ConfigError, StoreError
from inbox.deliver.queue_file import pipe_at, problem_with
from inbox.process import startup_checks
from inbox.runtime import Runtime
from inbox.store.sqlite import Sealer
from inbox.tools.doctor.finding import Finding, ok, problem, warning
from inbox.verify.providers import build


def problems(runtime: Runtime, *, store: bool = True) -> list[str]:
    """Return what would not work, a line each. Unless `store` is False, the database is made, and written to."""
    found: list[str] = []
    looks: list[Callable[[], object]] = [partial(build, source) for source in runtime.settings.sources.values()]
    looks += [
        lambda: runtime.schemas,
        partial(startup_checks.check if store else startup_checks.check_settings, runtime),
    ]
    for look in looks:
        try:
            look()
        except (ConfigError, StoreError) as error:
            if str(error) not in found:
                found.append(str(error))
    if trouble := problem_with(runtime.settings.path(runtime.settings.inbox.queue)):
        found.append(f"{FILE}: inbox.queue: {trouble}; events are handled up to a second later until it can be used")
    try:
        found += [f".env: {name!r} has a null character: handlers would not find it" for name in runtime.unset]
        for module, failure in runtime.registry.failures.items():
            found.append(f"handlers: {module} does not import: {failure.strip().splitlines()[-1]}")
    except ConfigError as error:
        found.append(str(error))
    return found


def look(runtime: Runtime) -> Iterator[Finding]:
    """Yield findings; a database that is not there is not made."""
    found = problems(runtime, store=runtime.settings.database.exists())
    for text in found:
        yield problem("settings", text, "repair that; `inbox check` tells whether it is right")
    if not found:
        handlers, sources = len(runtime.registry.handlers), len(runtime.settings.sources)
        yield ok("settings", f"{sources} sources and {handlers} handlers: nothing is wrong")
    for name, provider in runtime.__dict__.get("sources", {}).items():
        for text in provider.warnings():
            yield warning("settings", f"sources.{name}: {text}", f"change [sources.{name}] in {FILE}, if you can")
    if schemas := runtime.__dict__.get("schemas"):
        for name, text in schemas.warnings:
            yield warning("settings", f"{name}: {text}", "write it without, if you can")
    if trouble := pipe_at(runtime.settings.path(runtime.settings.inbox.queue)).problem():
        yield warning("queue", f"{trouble}: idle workers look every half second instead", "move it away")
    if not found and runtime.sealer.keys is not None and runtime.sealer.keys.path.exists():
        yield from sealing(runtime.sealer)
    yield from exposure(runtime.settings.server)
    yield listening(runtime.settings.server)


def sealing(sealer: Sealer) -> Iterator[Finding]:
    """Yield with how many keys what is stored is sealed, and whether an old one is needed still."""
    assert sealer.keys is not None
    by_master, first = sealer.keys.masters(), sealer.masters[0].name
    old = {name: number for name, number in by_master.items() if name != first}
    if old:
        text = ", ".join(f"{number} data keys still need the old key {name}" for name, number in old.items())
        yield warning("sealing", text, "`inbox reseal` wraps them with the first key of seal_key")
    else:
        yield ok("sealing", f"{by_master[first] - 1} data keys, all under the first key of seal_key")


def exposure(settings: ServerSettings) -> Iterator[Finding]:
    """Yield what the address lets others do."""
    try:
        address = ip_address(settings.host)
    except ValueError:
        return
    if address.is_loopback:
        return
    if not settings.tls_cert:
        yield warning(
            "address",
            f"the receiver listens on {settings.host} without TLS: secrets and events can be read on their way",
            'set server.host = "127.0.0.1" behind a proxy with HTTPS, or tls_cert and tls_key',
        )
    if settings.trusted_proxies:
        yield warning(
            "address",
            f"the port can be reached past the proxy, and trusted_proxies = {settings.trusted_proxies} believes "
            "whatever address a client writes into X-Forwarded-For",
            'set server.host = "127.0.0.1", or let a firewall keep everybody but the proxy away',
        )


def listening(settings: ServerSettings) -> Finding:
    """Return whether something takes connections at the receiver's address."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    try:
        socket.create_connection((host, settings.port), timeout=2.0).close()
    except OSError as error:
        text = f"nothing answers on {host}:{settings.port} ({error.strerror or error})"
        return warning("receiver", text, "start `inbox run`, or look at its log")
    return ok("receiver", f"something answers on {host}:{settings.port}")
