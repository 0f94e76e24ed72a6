"""The clocks of this machine: the time since it started, which start that was, and what the kernel says of the time."""

import ctypes
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from inbox.core.elapsed import Clocks

UNSYNCHRONISED = 5
"""What adjtimex(2) returns for a clock that no time server keeps right (TIME_ERROR)."""

_NANO = 0x2000
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Kernel(NamedTuple):
    """What the kernel says: a state of adjtimex(2), -1 if it does not tell; and its Unix seconds."""

    state: int
    at: float


class _Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
        ("status", ctypes.c_int),
        *((name, ctypes.c_long) for name in ("constant", "precision", "tolerance", "seconds", "fraction")),
        ("rest", ctypes.c_char * 512),
    )


def look(wall: float) -> Clocks:
    """Return the clocks at this moment, at which the time of day is `wall` (Unix seconds)."""
    said = kernel()
    kept = 0 <= said.state < UNSYNCHRONISED and abs(said.at - wall) < 1.0  # else it speaks of another clock than this
    return Clocks(wall, since_start(), boot(), kept)


def since_start() -> float:
    """Return the seconds since the machine started, with those in which it slept, where the system counts them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@cache
def boot() -> str:
    """Return what differs after each start of the machine, "" if the system does not tell."""
    with suppress(OSError):
        return _BOOT.read_text("ascii").strip()
    return ""


def kernel() -> Kernel:
    """Return what the kernel says of the time of day; it is asked, and changes nothing."""
    if not sys.platform.startswith("linux"):
        return Kernel(-1, 0.0)
    said = _Timex()
    try:
        state = int(ctypes.CDLL(None).adjtimex(ctypes.byref(said)))
    except (OSError, AttributeError):
        return Kernel(-1, 0.0)
    return Kernel(state, said.seconds + said.fraction / (1e9 if said.status & _NANO else 1e6))
