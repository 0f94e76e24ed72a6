"""An inbox whose owner sits at his desk: two sources, handlers that work and that fail."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox.core.config.settings import InboxSettings, Settings
from inbox.core.errors import Refused
from inbox.core.models import Request, Secret
from inbox.runtime import Runtime
from inbox.testing import Inbox

SOURCES: dict[str, dict[str, Any]] = {
    "roomz": {"provider": "roomz"},
    "open": {"provider": "unsigned", "event_id": ["json:/id"], "event_type": ["json:/type"]},
}
HANDLERS = """
from inbox import handles

@handles("roomz")
def one(event):
    return {"n": 1}

@handles("open", "fail*", attempts=2, backoff=60)
def fail(event):
    raise ValueError(event.payload["why"])

@handles("open", "good*")
def good(event):
    pass
"""
SCHEMA = '{"properties": {"items": {"type": "array", "items": {"type": "integer"}}}, "required": ["id", "total"]}'
FAILING = {"id": "f1", "type": "fail.hard", "why": "the sun is in the way"}


@pytest.fixture
def inbox(tmp_path: Path, handlers: Path) -> Iterator[Inbox]:
    """An inbox with one source per seed sender and the handlers that the test writes, not the one of the pages."""
    with Inbox(tmp_path, handlers=handlers) as made:
        yield made


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Inbox]:
    """The inbox; its clock stands at 2026-01-01."""
    (tmp_path / "handlers").mkdir()
    (tmp_path / "schemas" / "unsigned").mkdir(parents=True)
    (tmp_path / "schemas" / "unsigned" / "order.json").write_text(SCHEMA)
    (tmp_path / "handlers" / "own.py").write_text(HANDLERS)
    with Inbox(tmp_path, handlers=tmp_path / "handlers", schemas=tmp_path / "schemas", sources=SOURCES) as made:
        yield made
        made.runtime.watching.close()


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Inbox]:
    """The same with sealed bodies."""
    with Inbox(tmp_path, sources=SOURCES) as made:
        settings = made.runtime.settings
        places = InboxSettings(
            schemas=settings.inbox.schemas, handlers=settings.inbox.handlers, seal_key=(Secret("6b" * 32),)
        )
        made.runtime.settings = Settings(settings.folder, places, sources=settings.sources)
        yield made
        made.runtime.watching.close()


def refuse(inbox: Inbox, source: str = "roomz", **request: Any) -> None:
    """Have a request refused."""
    with pytest.raises(Refused):
        inbox.accept(source, Request(**request))


def row_of(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    """Return the only row that has these values."""
    (found,) = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return found


def receiver_of(inbox: Inbox) -> Runtime:
    """Return the runtime of another process on the same inbox, that has not loaded any handler."""
    runtime = inbox.runtime
    return Runtime(runtime.settings, clock=runtime.clock, steady=runtime.steady)
