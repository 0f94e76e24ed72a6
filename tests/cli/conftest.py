"""The command as a person calls it: in a folder of its own, in this process where no process matters."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from inbox.cli import main
from inbox.core.config import snapshot
from inbox.testing import Inbox
from tests.conftest import PROJECT

SOURCES: dict[str, dict[str, Any]] = {
    "roomz": {"provider": "roomz"},
    "open": {"provider": "unsigned", "event_id": ["json:/id"], "event_type": ["json:/type"]},
}
SETTINGS = """
[sources.roomz]
provider = "roomz"
secrets = ["env:ROOMZ_WEBHOOK_SECRET"]

[sources.open]
provider = "unsigned"
event_id = ["json:/id"]
event_type = ["json:/type"]
"""
HANDLERS = """
from inbox import handles

@handles("roomz")
def one(event):
    return {"n": 1}

@handles("roomz")
def two(event):
    pass

@handles("open", "fail*", attempts=1)
def fail(event):
    raise ValueError(event.payload["why"])
"""


class Cli:
    """Calls the command and returns what it printed."""

    def __call__(self, *arguments: str, code: int = 0, text: str | None = None) -> Result:
        result = CliRunner().invoke(main, arguments, input=text, prog_name="inbox")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert code == result.exit_code, result.output
        return result

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json").stdout)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """Return the command; environment and umask are afterwards as they were, and logging stays the test's."""
    before, umask = dict(os.environ), os.umask(0o022)
    monkeypatch.setattr("inbox.core.log.configure", lambda *settings, **options: None)
    yield Cli()
    snapshot.use(None)
    os.environ.clear()
    os.environ.update(before)
    os.umask(umask)


@pytest.fixture
def inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    """An inbox in the working directory, with an inbox.toml for the command; its clock stands at 2026-01-01."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROOMZ_WEBHOOK_SECRET", "s")
    (tmp_path / "inbox.toml").write_text(SETTINGS)
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "own.py").write_text(HANDLERS)
    shutil.copytree(PROJECT / "schemas", tmp_path / "schemas")
    with Inbox(tmp_path, handlers=tmp_path / "handlers", schemas=tmp_path / "schemas", sources=SOURCES) as made:
        yield made


def unprintable(text: str) -> str:
    """Return what in a text could move, colour or mislead a terminal."""
    kept = [char for char in text if not char.isprintable() and char != "\n"]
    return "".join(kept)
