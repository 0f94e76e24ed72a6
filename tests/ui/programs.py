"""A program that asks the JSON endpoints, and compares each answer with the document that describes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from flask import Flask
from jsonschema import Draft202012Validator
from werkzeug.test import TestResponse

from inbox.testing import Inbox
from inbox.ui.api.document import document
from tests.ui.conftest import HANDLERS, SOURCES

BASE = "/inbox/api"


@contextmanager
def stocked(folder: Path) -> Iterator[Inbox]:
    """Make an inbox with an event that is dead (1), one of its key with other content (3), one that is no JSON (4)."""
    (folder / "own").mkdir()
    (folder / "own" / "own.py").write_text(HANDLERS)
    with Inbox(folder, handlers=folder / "own", sources=SOURCES) as made:
        made.receive("open", {"id": "a", "type": "fail.x", "why": "no"})
        made.receive("open", {"id": "a", "type": "fail.x", "why": "yes"})
        made.receive("open", b"{")
        made.run()
        yield made


def strict(part: Any) -> Any:
    """Return a document in which an answer has no property that is not named: a new one has to be described."""
    if isinstance(part, list):
        return [strict(item) for item in part]
    if not isinstance(part, dict):
        return part
    found = {name: strict(value) for name, value in part.items()}
    if (
        isinstance(part.get("properties"), dict)
        and part.get("type") == "object"
        and "openapi" not in part["properties"]
    ):
        found.setdefault("additionalProperties", False)
    return found


STRICT: dict[str, Any] = strict(document())
OPERATIONS = {operation["operationId"]: operation for each in STRICT["paths"].values() for operation in each.values()}


class Program:
    """Asks with a token, or as a browser does, with what is given."""

    def __init__(self, app: Flask, token: str = "", base: str = "http://localhost") -> None:
        self.client = app.test_client()
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._base = base

    def ask(self, method: str, path: str, **options: Any) -> TestResponse:
        headers = {**self.headers, **options.pop("headers", {})}
        answer = self.client.open(BASE + path, method=method, base_url=self._base, headers=headers, **options)
        self._compare(method, path, answer)
        return answer

    def get(self, path: str, status: int = 200, **options: Any) -> Any:
        """Return the payload of an answer with this status."""
        return self._payload(self.ask("GET", path, **options), status)

    def post(self, path: str, payload: Any = None, status: int = 200, **options: Any) -> Any:
        more = {} if payload is None else {"json": payload}
        return self._payload(self.ask("POST", path, **more, **options), status)

    def _payload(self, answer: TestResponse, status: int) -> Any:
        assert status == answer.status_code, answer.text
        return answer.json

    def _compare(self, method: str, path: str, answer: TestResponse) -> None:
        """Find the answer in the document, and compare its schema."""
        addresses = self.client.application.url_map.bind("localhost")
        name = addresses.match(BASE + unquote(path.partition("?")[0]), method)[0].removeprefix("api.")
        schema: Any = {"$ref": "#/components/schemas/Error"}
        if name in OPERATIONS and method != "OPTIONS":
            response = OPERATIONS[name]["responses"][str(answer.status_code)]
            if "$ref" in response:
                response = STRICT["components"]["responses"][response["$ref"].rpartition("/")[2]]
            content = response.get("content", {answer.mimetype: {"schema": {}}})
            schema = content[answer.mimetype]["schema"]
        if answer.mimetype == "application/json":
            errors = Draft202012Validator({**schema, "components": STRICT["components"]}).iter_errors(answer.json)
            assert [] == [f"{error.json_path}: {error.message}" for error in errors]
