"""The clocks of this machine, and what the kernel says of them."""

import time

import pytest

from inbox.core import clocks
from inbox.core.clocks import Kernel


def test_the_clocks_are_those_of_this_machine() -> None:
    """The steady one counts the seconds since the machine started, and this start has a name where there is /proc."""
    before = clocks.since_start()
    found = clocks.look(time.time())
    assert before <= found.steady <= clocks.since_start()
    assert found.steady >= time.monotonic() - 1.0
    assert found.boot == clocks.boot() == clocks.look(0.0).boot


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Kernel(0, 1000.0), True),
        (Kernel(1, 1000.5), True),
        (Kernel(clocks.UNSYNCHRONISED, 1000.0), False),
        (Kernel(-1, 1000.0), False),
        (Kernel(0, 1000.0 + 40 * 86_400.0), False),
    ],
)
def test_the_kernel_is_a_witness_of_its_own_clock_only(
    monkeypatch: pytest.MonkeyPatch, said: Kernel, expected: bool
) -> None:
    """What deceives a process about the time does not deceive the kernel, which then speaks of another clock."""
    monkeypatch.setattr(clocks, "kernel", lambda: said)
    assert expected is clocks.look(1000.0).synchronised


def test_the_kernel_tells_its_time() -> None:
    """In seconds, whatever the unit of its fraction is."""
    said = clocks.kernel()
    if said.state < 0:
        pytest.skip("this system does not tell what the kernel says of the clock")
    assert abs(said.at - time.time()) < 5.0
