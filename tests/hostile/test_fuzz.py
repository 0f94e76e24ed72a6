"""A short coverage-guided run of every target; where atheris does not install, the same targets under hypothesis."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import PROJECT
from tests.hostile.targets import TARGETS, seeds

RUNS = 2500


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_that_a_stranger_writes_breaks_a_target(target: str, tmp_path: Path) -> None:
    """Thousands of inputs that grow out of genuine ones: none raises, none is believed that nobody signed."""
    if find_spec("atheris") is None:
        _with_hypothesis(target)
    else:
        limits = ("-seed=1", f"-runs={RUNS}", "-max_total_time=3", "-timeout=10", f"-artifact_prefix={tmp_path}/")
        command = (sys.executable, "-m", "tests.hostile.fuzz", target, *limits)
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
        assert 0 == done.returncode, done.stdout + done.stderr


def _with_hypothesis(target: str) -> None:
    known = list(seeds(target))

    @settings(derandomize=True, deadline=None, max_examples=150)
    @given(st.one_of(st.binary(max_size=300), st.sampled_from(known)), st.binary(max_size=6), st.integers(0, 2000))
    def run(data: bytes, other: bytes, place: int) -> None:
        cut = place % (len(data) + 1)
        TARGETS[target](data[:cut] + other + data[cut + len(other) :])

    run()


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_target_starts_from_passes(target: str) -> None:
    """The genuine requests, the recorded bodies and the published vectors."""
    for seed in seeds(target):
        TARGETS[target](seed)
