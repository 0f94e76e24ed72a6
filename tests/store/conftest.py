"""A store of every backend."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox.testing import lay_database
from tests.support.stores import BACKENDS, SqliteStore


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteStore]:
    """An empty store."""
    lay_database(tmp_path / "inbox.db")
    made = BACKENDS[request.param](tmp_path)
    yield made
    made.close()


@pytest.fixture(params=BACKENDS)
def impatient(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteStore]:
    """An empty store that waits only a moment for the lock of another program."""
    made = BACKENDS[request.param](tmp_path, patience=0.15)
    yield made
    made.close()
