"""The clock: plausible, steady, not behind the store, and kept right by somebody."""

import subprocess
import sys

import pytest

from inbox.core.elapsed import Clocks, Passed
from inbox.testing import NOW
from inbox.tools.doctor.clock import Instant, look
from inbox.tools.doctor.finding import Finding
from tests.conftest import PROJECT
from tests.support.machine import injected, levels, of


def clock(wall: float, *, stepped: float = 0.0, newest: float | None = None) -> list[Finding]:
    """Return what is found two seconds after `wall`, without what the kernel says."""
    return of([*look(Instant(wall, 50.0), Instant(wall + 2.0 + stepped, 52.0), newest)], "clock")


def test_a_clock_that_runs_is_fine() -> None:
    """The time is shown, so that a person can compare."""
    assert [("ok", "it is 2026-01-01T00:00:02.000Z (UTC)")] == [(item.level, item.found) for item in clock(NOW)]


@pytest.mark.parametrize("wall", [-100.0, 0.0, NOW - 1e6, 4.2e9, 1e12])
def test_a_year_that_cannot_be_is_a_problem(wall: float) -> None:
    """Before this program was written, or after this century."""
    assert [("problem", "clock")] == levels(clock(wall))


@pytest.mark.parametrize(("stepped", "found"), [(0.4, []), (3.0, ["+3.0 s"]), (-3.0, ["-3.0 s"])])
def test_a_clock_that_is_set_while_it_is_watched_is_a_warning(stepped: float, found: list[str]) -> None:
    """Both clocks are read twice; the difference must be the same."""
    warnings = [item.found for item in clock(NOW, stepped=stepped) if item.level == "warning"]
    assert [f"it was set by {text} while this ran" for text in found] == warnings


def test_a_store_with_a_time_to_come_is_a_problem() -> None:
    """The clock was set back: what was written down then waits."""
    assert [] == levels(clock(NOW, newest=NOW + 3))
    assert [("problem", "clock")] == levels(clock(NOW, newest=NOW + 3600))


def test_a_clock_in_doubt_is_a_warning() -> None:
    """It says by how much it jumped, and what follows."""
    passed = Passed(NOW, Clocks(NOW + 9999.0, 50.0), 9999.0, jumped_at=NOW, jump=9999.0)
    found = of([*look(Instant(NOW, 50.0), Instant(NOW + 2.0, 52.0), None, passed)], "clock")
    assert ["warning"] == [item.level for item in found if item.level != "ok"]
    assert "it jumped by +9999 s and is in doubt: nothing is deleted for its age until that is over" in found[1].found
    assert [] == levels([*look(Instant(NOW, 50.0), Instant(NOW + 2.0, 52.0), None, Passed(NOW, Clocks(NOW, 50.0)))][:1])


@pytest.mark.parametrize(
    ("answer", "level", "text"),
    [
        ("retval=5", "warning", "nobody who sets the clock"),
        ("retval=0", "ok", "is synchronised"),
        ("error=EPERM", "ok", "cannot be told"),
    ],
)
def test_what_the_kernel_knows_is_told(answer: str, level: str, text: str) -> None:
    """Also that it may not be asked."""
    ask = [sys.executable, "-c", "from inbox.tools.doctor.clock import synchronised; print(synchronised())"]
    command = [*injected(f"?adjtimex,?clock_adjtime:{answer}"), *ask]
    found = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert (True, True) == (f"level='{level}'" in found, text in found)
