"""Loading handlers puts the settings of `.env` into the environment; here it is afterwards as it was."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.place import Place


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Restore the environment, and let new files be the owner's only, as those are that the command makes."""
    before, umask = dict(os.environ), os.umask(0o077)
    yield
    os.environ.clear()
    os.environ.update(before)
    os.umask(umask)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Make a folder as `inbox init` does."""
    made = Place(tmp_path)
    yield made
    made.close()
