"""The pages of an inbox whose clock stands still, asked by Flask's test client; `browser` has a real Chromium."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from inbox.testing import Inbox
from inbox.ui.app import alone
from inbox.ui.services import accounts

PASSWORD = "a password of the owner"
SOURCES: dict[str, dict[str, Any]] = {
    "roomz": {"provider": "roomz"},
    "open": {"provider": "unsigned", "event_id": ["json:/id"], "event_type": ["json:/type"]},
}
HANDLERS = """
from inbox import handles

@handles("roomz")
def one(event):
    return {"n": 1}

@handles("open", "fail*", attempts=1)
def fail(event):
    raise ValueError(event.payload["why"])
"""


class Reader:
    """A browser without a screen and without script: it keeps cookies, and sends forms with their hidden fields."""

    def __init__(self, app: Flask, base: str = "http://localhost") -> None:
        self.client: FlaskClient = app.test_client()
        self._base = base

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, base_url=self._base, **options)

    def token(self, path: str = "/inbox/login") -> str:
        """Return the CSRF token of the forms of a page."""
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.get(path).text)
        assert found is not None, self.get(path).text
        return found[1]

    def post(self, path: str, form: dict[str, Any], *, token: str | None = None, **options: Any) -> TestResponse:
        data = {"csrf_token": self.token() if token is None else token, **form}
        return self.client.post(path, base_url=self._base, data=data, **options)

    def log_in(self, password: str = PASSWORD, user: str = "admin", **more: Any) -> TestResponse:
        return self.post("/inbox/login", {"user": user, "password": password, **more})


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash with less memory: `inbox admin` is tested with all of it."""
    monkeypatch.setattr("inbox.ui.services.passwords.MEMORY", 8)


def make(folder: Path) -> Inbox:
    """Return an inbox with two handlers."""
    (folder / "own").mkdir()
    (folder / "own" / "own.py").write_text(HANDLERS)
    return Inbox(folder, handlers=folder / "own", sources=SOURCES)


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    """An inbox with two handlers, and nobody who may log in."""
    with make(tmp_path) as made:
        yield made


@pytest.fixture
def owned(inbox: Inbox) -> Inbox:
    """An inbox whose pages are on."""
    accounts.set_password(inbox.runtime, "admin", PASSWORD)
    return inbox


@pytest.fixture
def stranger(owned: Inbox) -> Reader:
    """Somebody who has not logged in."""
    return Reader(alone(owned.runtime))


@pytest.fixture
def reader(owned: Inbox) -> Reader:
    """The owner, logged in."""
    made = Reader(alone(owned.runtime))
    assert 302 == made.log_in().status_code
    return made
