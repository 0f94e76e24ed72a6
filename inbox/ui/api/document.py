"""`openapi.toml` → the OpenAPI document of the JSON endpoints, and what checks requests against it."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from inbox.ui.api.contract import Contract

FILE = Path(__file__).with_name("openapi.toml")


@cache
def document() -> dict[str, Any]:
    """Return the document, with what the file leaves out because it is the same everywhere."""
    found = tomllib.loads(FILE.read_text(encoding="utf-8"))
    everywhere, with_body = found.pop("x-everywhere"), found.pop("x-with-body")
    for operations in found["paths"].values():
        for operation in operations.values():
            more = everywhere | (with_body if "requestBody" in operation else {})
            answers = {status: {"$ref": f"#/components/responses/{name}"} for status, name in more.items()}
            operation["responses"] = dict(sorted((answers | operation["responses"]).items()))
    _complete(found)
    return found


@cache
def contract() -> Contract:
    """Return what checks requests against the document."""
    return Contract(document())


def _complete(part: Any) -> None:
    """Say of each object that it is one, and that it has all of its properties if nothing else is said."""
    children = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    for child in children:
        _complete(child)
    if isinstance(part, dict) and isinstance(part.get("properties"), dict) and part.get("type") in (None, "object"):
        part["type"] = "object"
        part.setdefault("required", list(part["properties"]))
