"""Where the receiver listens: an address that is checked, and the socket, made here or inherited from systemd.

The process that answers gets the socket from its parent, so that the next one can take it over while connections come.
"""

import errno
import os
import resource
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address

from inbox.core.config.settings import ServerSettings
from inbox.core.errors import ConfigError

BACKLOG = 1024
"""Connections that wait in the kernel until they are taken."""

GIVEN = "INBOX_LISTEN_FD"
"""Environment variable by which the supervisor passes the socket that it inherited on to the receiver."""

_FIRST = 3
"""The first inherited socket, https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html."""


def inherited(environ: Mapping[str, str], pid: int) -> int | None:
    """Return the number of the socket that systemd or the supervisor opened for the process `pid`, if one did."""
    if environ.get(GIVEN):
        return int(environ[GIVEN])
    if environ.get("LISTEN_PID") == str(pid) and environ.get("LISTEN_FDS", "0") != "0":
        return _FIRST
    return None


def bind(server: ServerSettings, setting: str = "server.host, server.port") -> socket.socket:
    """Return a socket at the address, which does not listen yet. Raises ConfigError if another process has the port."""
    family = socket.AF_INET6 if ip_address(server.host).version == 6 else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _answer_at_once(listening)
    try:
        listening.bind((server.host, server.port))
    except OSError as error:
        listening.close()
        raise _cannot(server, setting, error) from None
    listening.setblocking(False)
    return listening


def listen(number: int) -> None:
    """Take connections from now on; done by the process that can answer them, on the socket that it got."""
    with socket.socket(fileno=os.dup(number)) as listening:
        listening.listen(BACKLOG)


def adopt(number: int) -> socket.socket:
    """Return the inherited socket. Raises ConfigError if it is none."""
    try:
        listening = socket.socket(fileno=number)
    except OSError as error:
        raise ConfigError("LISTEN_FDS", f"file {number} is no socket: {error.strerror}") from None
    if not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listening.close()
        raise ConfigError("LISTEN_FDS", f"the socket {number} does not listen; Accept=yes does not work here")
    _answer_at_once(listening)
    listening.setblocking(False)
    return listening


def _answer_at_once(listening: socket.socket) -> None:
    """Have no answer wait for the sender's acknowledgement of the one before; connections inherit this (Linux)."""
    if listening.family in (socket.AF_INET, socket.AF_INET6):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def files(server: ServerSettings) -> int:
    """Return how many files a receiver may have open: the connections, the store, and some more."""
    return server.max_connections + 256


def allow_files(number: int) -> None:
    """Have this process and its children open so many files, as far as the machine lets them; the usual limit is 1,024.

    A receiver that cannot open another takes no connection until one ends.
    """
    with suppress(ValueError, OSError):  # macOS has a limit of its own, and a sandbox may forbid it
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def wait_for_port(server: ServerSettings, seconds: float = 2.0) -> None:
    """Raise ConfigError if another process still listens on the port after so many seconds."""
    end = time.monotonic() + seconds
    while check_address(server):
        if time.monotonic() >= end:
            raise ConfigError("inbox.toml: server.port", f"{server.host}:{server.port} is in use by another process")
        time.sleep(0.1)


def check_address(server: ServerSettings, setting: str = "server.host, server.port") -> bool:
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
            raise _cannot(server, setting, error) from None
    return False


def _cannot(server: ServerSettings, setting: str, error: OSError) -> ConfigError:
    return ConfigError(f"inbox.toml: {setting}", f"cannot listen on {server.host}:{server.port}: {error.strerror}")


def pass_on(number: int | None) -> dict[str, str]:
    """Return the environment that tells a child of its inherited socket."""
    return {} if number is None else {GIVEN: str(number)}


def forget() -> None:
    """Keep what this process starts from believing that it has inherited anything."""
    for name in (GIVEN, "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
