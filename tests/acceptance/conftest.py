from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.place import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A folder made by `inbox init`; what is started in it is stopped."""
    made = Place(tmp_path)
    yield made
    made.close()
