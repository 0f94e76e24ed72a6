"""Recordings that several tests look at; each is made once."""

from dataclasses import dataclass

import pytest

from tests.power.recording import Recording, read
from tests.power.traced import Traced, record

EVENTS = 90


@dataclass
class Recorded:
    """What was traced, and its log as operations."""

    traced: Traced
    recording: Recording


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """The receiver alone from its first start, then receiver and worker, under strace."""
    return _recorded(record(tmp_path_factory.mktemp("power"), EVENTS))


@pytest.fixture(scope="module", params=["OFF", "NORMAL"])
def weakened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """The same receiver, but its commits do not wait for the disk."""
    return _recorded(record(tmp_path_factory.mktemp("weakened"), EVENTS // 3, weakened=request.param))


def _recorded(traced: Traced) -> Recorded:
    return Recorded(traced, read(traced.log, traced.place.folder))
