"""What every test can use: captured log events, and an inbox in a folder of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from inbox.testing import Inbox
from tests.support.place import Place

PROJECT = Path(__file__).parent.parent

LONG = tuple(
    f"tests/{name}"
    for name in (
        "tools/torture/", "acceptance/", "ui/test_", "flaws/", "power/", "tools/deploy/", "test_docs.py",
        "receive/test_hold.py", "process/test_worker.py", "test_architecture.py",
    )
)  # fmt: skip
"""Where a file takes long, mostly for real processes: they begin first, so that none is left for the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first what takes long."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Make a folder with `inbox init`; what is started in it is stopped."""
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """The log events of this process, oldest first: dicts with `event`, `log_level` and their fields."""
    capture = LogCapture()
    structlog.configure(
        processors=[capture],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=False,
    )
    yield capture.entries
    structlog.reset_defaults()


@pytest.fixture
def handlers(tmp_path: Path) -> Path:
    """An empty folder for handler files."""
    folder = tmp_path / "handlers"
    folder.mkdir()
    return folder


@pytest.fixture
def inbox(tmp_path: Path, handlers: Path) -> Iterator[Inbox]:
    """An inbox with one source per seed sender and the handlers that the test writes."""
    with Inbox(tmp_path, handlers=handlers) as made:
        yield made
