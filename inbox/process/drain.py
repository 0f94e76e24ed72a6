"""The end of a receiver: no connection that was taken is dropped without an answer.

Closing a listening socket resets the connections that the kernel completed and nobody accepted yet; closing an idle
keep-alive connection resets the request that is on its way on it. So before the server stops, the kernel is told to
take no new connections (a sender tries again, or finds the port closed: nothing was sent), those that wait are still
accepted, and every answer says `Connection: close`. Used in the process that answers; `inbox.process.receiver` stops it
then. Where the listening socket outlives the process, it only lets go of it: the next one takes what waits there.
"""

import ctypes
import os
import signal
import socket
import stat
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

SIGNAL = signal.SIGUSR1
"""What tells the process to begin."""

SECONDS = 0.3
"""How long it goes on answering before it is stopped."""

RETIRE = signal.SIGUSR2
"""What tells the process that another one takes the connections from now on, on the same socket."""

LAST = 3.0
"""How long it then goes on answering: as long as a new connection, with TLS, takes to send its request."""

_SO_ATTACH_FILTER = 26
_NO_SYN = struct.pack(
    "HBBI" * 4,
    *(0x30, 0, 0, 13),  # load the flags of the TCP header
    *(0x45, 0, 1, 0x02),  # SYN?
    *(0x06, 0, 0, 0),  # drop it
    *(0x06, 0, 0, 0xFFFFFFFF),  # let everything else pass: connections that are being made can be completed
)
"""A socket filter, https://www.kernel.org/doc/html/latest/networking/filter.html."""


def begin_on_signal() -> Callable[[], bool]:
    """Take the last connections after SIGNAL, and none after RETIRE; return what tells whether that has begun.

    From then on each answer is the last of its connection.
    """
    begun = threading.Event()

    def begin(signum: int, frame: object) -> None:
        begun.set()
        (let_go if signum == RETIRE else take_no_more)()

    signal.signal(SIGNAL, begin)
    signal.signal(RETIRE, begin)
    return begun.is_set


def take_no_more() -> None:
    """Have the kernel ignore new connections to every port on which this process listens, where it can (Linux)."""
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(_NO_SYN)
    pointer = struct.pack("HP", len(_NO_SYN) // 8, ctypes.addressof(program))
    for number in _listening("/proc/self/fd"):
        with suppress(OSError), socket.socket(fileno=os.dup(number)) as found:
            found.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)


def let_go() -> None:
    """Have this process alone take no more connections: nothing ever comes to the socket that it has from now on."""
    with socket.create_server(("127.0.0.1", 0)) as quiet:
        quiet.setblocking(False)
        for number in _listening("/dev/fd"):
            if number != quiet.fileno():
                os.dup2(quiet.fileno(), number)


def _listening(folder: str) -> Iterator[int]:
    """Yield the numbers of this process's sockets that listen.

    No other file is duplicated: to close the duplicate would let go of the locks that SQLite has on a database.
    """
    for name in os.listdir(folder):  # noqa: PTH208 – names, not paths
        with suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as found:
                listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            if listens:
                yield int(name)
