"""The end of a receiver: no connection that was taken is dropped without an answer.

Closing a listening socket resets the connections that the kernel completed and nobody accepted yet; closing an idle
keep-alive connection resets the request that is on its way on it. So before the server stops, the kernel is told to
take no new connections (a sender tries again, or finds the port closed: nothing was sent), those that wait are still
accepted, and every answer says `Connection: close`. Used in the process that answers; `inbox.server` stops it then.
"""

import ctypes
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

SIGNAL = signal.SIGUSR1
"""What tells the process to begin."""

SECONDS = 0.3
"""How long it goes on answering before it is stopped."""

_SO_ATTACH_FILTER = 26
_NO_SYN = struct.pack(
    "HBBI" * 4,
    *(0x30, 0, 0, 13),  # load the flags of the TCP header
    *(0x45, 0, 1, 0x02),  # SYN?
    *(0x06, 0, 0, 0),  # drop it
    *(0x06, 0, 0, 0xFFFFFFFF),  # let everything else pass: connections that are being made can be completed
)
"""A socket filter, https://www.kernel.org/doc/html/latest/networking/filter.html."""


def draining(application: WSGIApplication) -> WSGIApplication:
    """Return the application, which after SIGNAL takes the last connections and closes each after its answer."""
    begun = threading.Event()

    def begin(signum: int, frame: object) -> None:
        begun.set()
        take_no_more()

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, ("Connection", "close")] if begun.is_set() else headers, *more)

        return application(environ, start)

    signal.signal(SIGNAL, begin)
    return answer


def take_no_more() -> None:
    """Have the kernel ignore new connections to every port on which this process listens, where it can (Linux)."""
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(_NO_SYN)
    pointer = struct.pack("HP", len(_NO_SYN) // 8, ctypes.addressof(program))
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 – names, not paths
        with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as found:
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
