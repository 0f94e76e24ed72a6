"""The root `inbox`, but with the handlers that are shipped, and their data in a folder of the test's own."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from inbox.testing import Inbox

Rows = Callable[[str, str], list[tuple[Any, ...]]]
Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that handlers write to; no mail server is configured."""
    monkeypatch.setenv("INBOX_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("SMTP_URL", raising=False)
    monkeypatch.delenv("MAIL_FROM", raising=False)
    return tmp_path / "data"


@pytest.fixture
def handlers() -> Path:
    """The folder of the handlers that are shipped."""
    return Path(__file__).parents[2] / "handlers"


@pytest.fixture
def run(inbox: Inbox) -> Run:
    """Receive, run, and return the event; takes what `Inbox.receive` takes."""

    def receive_and_run(source: str, payload: Any = None, **options: Any) -> dict[str, Any]:
        answer = inbox.receive(source, payload, **options)
        inbox.run()
        return inbox.event(answer.id)

    return receive_and_run


@pytest.fixture
def rows(data: Path) -> Rows:
    """Return what a query finds in one of the handlers' databases; nothing if there is none."""

    def query(name: str, sql: str) -> list[tuple[Any, ...]]:
        if not (data / f"{name}.db").exists():
            return []
        with closing(sqlite3.connect(data / f"{name}.db")) as connection:
            return connection.execute(sql).fetchall()

    return query
