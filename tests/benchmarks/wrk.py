"""wrk, the load generator: one run against a port → a Load. One thread, so that the requests of a file go out once."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.letters import PATH, Letters

SCRIPT = Path(__file__).with_name("letters.lua")
WARM_UP = 1.0
"""Seconds of load before a measured run, on the same connections' settings; not counted."""

EXPECTED = {1: 8000, 2: 8000, 64: 1500}
"""Requests per second that letters are written for at first; when a run needs more, it is done again with more."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """How the load looks."""

    connections: int = 32
    kib: int = 1
    keep_alive: bool = True

    def __str__(self) -> str:
        way = "keep-alive" if self.keep_alive else "a connection each"
        return f"{self.connections} connection{'s'[: self.connections > 1]}, {self.kib} KiB, {way}"


@dataclass(frozen=True, kw_only=True)
class Load:
    """What wrk measured: answers per second, latencies in milliseconds, and what went wrong."""

    answers: int
    seconds: float
    p50: float
    p90: float
    p99: float
    p999: float
    longest: float
    bad_statuses: int
    broken: int
    position: int
    exhausted: bool

    @property
    def per_second(self) -> float:
        """Return answers that were 2xx or 3xx per second."""
        return (self.answers - self.bad_statuses) / self.seconds

    @property
    def faults(self) -> str:
        """Return what went wrong in words, "" if nothing did."""
        nothing = ["nothing was answered"] if not self.answers else []
        parts = [f"{self.bad_statuses} answers were 4xx or 5xx"] if self.bad_statuses else []
        return "; ".join(
            [*nothing, *parts, *([f"{self.broken} connections broke or timed out"] if self.broken else [])]
        )


def missing() -> str:
    """Return why there is no load generator, "" if there is."""
    return "" if shutil.which("wrk") else "wrk is not installed (Debian, Ubuntu: package wrk)"


def load(
    letters: Letters, port: int, cell: Cell, seconds: float, *, position: int = 0, pause: int = 0, expected: int = 0
) -> Load:
    """Send requests for so many seconds (whole ones) and return what was measured.

    `pause` in milliseconds makes each connection wait after an answer. Letters run out: the result says so.
    """
    per_second = cell.connections * 1000 // pause if pause else expected or EXPECTED[cell.kib]
    used = position // (cell.kib * 1024)
    file = letters.ensure(cell.kib, used + int(per_second * (seconds + 1)) + 1000)
    way = "keep-alive" if cell.keep_alive else "close"
    command = ["wrk", "-t1", f"-c{cell.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    command += ["-s", str(SCRIPT), f"http://127.0.0.1:{port}", "--", str(file), str(position), PATH, way, str(pause)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise RuntimeError(f"wrk failed: {done.stdout}{done.stderr}")
    return _load(json.loads(lines[0].removeprefix("RESULT ")))


def measure(letters: Letters, port: int, cell: Cell, seconds: float, *, pause: int = 0) -> Load:
    """Warm up, then measure."""
    warm = load(letters, port, cell, WARM_UP, pause=pause)
    result = load(letters, port, cell, seconds, position=warm.position, pause=pause)
    for factor in (2, 4):
        if not result.exhausted:
            break
        expected = EXPECTED[cell.kib] * factor
        result = load(letters, port, cell, seconds, position=result.position, pause=pause, expected=expected)
    return result


def _load(raw: dict[str, int]) -> Load:
    return Load(
        answers=raw["requests"],
        seconds=raw["microseconds"] / 1e6,
        **{name: raw[name] / 1000 for name in ("p50", "p90", "p99", "p999")},
        longest=raw["max"] / 1000,
        bad_statuses=raw["status"],
        broken=sum(raw[name] for name in ("connect", "read", "write", "timeout")),
        position=raw["position"],
        exhausted=bool(raw["exhausted"]),
    )
