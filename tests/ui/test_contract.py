"""Requests are held to an OpenAPI document; tests/ui/test_api.py shows what programs are told."""

from typing import Any

import pytest

from inbox.core.errors import Invalid, Malformed
from inbox.ui.api.contract import Contract

DOCUMENT: dict[str, Any] = {
    "paths": {
        "/things/{name}": {
            "get": {
                "operationId": "look",
                "parameters": [
                    {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}},
                    {"name": "number", "in": "query", "schema": {"$ref": "#/components/schemas/Number"}},
                    {"$ref": "#/components/parameters/limit"},
                ],
            },
            "put": {
                "operationId": "change",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
            },
        }
    },
    "components": {
        "parameters": {"limit": {"name": "limit", "in": "query", "schema": {"type": "integer", "default": 5}}},
        "schemas": {
            "Number": {"type": "integer", "minimum": 1},
            "Thing": {
                "type": "object",
                "properties": {"number": {"$ref": "#/components/schemas/Number"}, "at": {"format": "date"}},
                "oneOf": [{"required": ["number"]}, {"required": ["at"]}],
                "$comment": "number or at",
            },
        },
    },
}


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract(DOCUMENT)


def test_operations_are_known_by_name(contract: Contract) -> None:
    """Whatever their address."""
    assert {"look", "change"} == contract.operations


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], {"limit": 5}),
        ([("number", "7"), ("limit", "9")], {"number": 7, "limit": 9}),
        ([("number", "0")], "number: 0 is less than the minimum of 1"),
        ([("number", "-1")], "number: -1 is less than the minimum of 1"),
        ([("number", "٣")], "number: '٣' is not of type 'integer'"),
        ([("number", "9" * 5000)], "number: '9"),
        ([("limit", "1"), ("limit", "1")], "limit: stands twice in the query"),
        ([("name", "x")], "name: there is no such parameter; allowed: number, limit"),
        ([("x\n", "1"), ("number", "")], r"x\\n: there is no such parameter.*; number: '' is not of type"),
    ],
)
def test_queries_become_values(contract: Contract, given: list[tuple[str, str]], expected: Any) -> None:
    """With defaults; what is unknown, twice or wrong is named with what is allowed."""
    if isinstance(expected, dict):
        assert expected == contract.query("look", given)
        return
    with pytest.raises(Invalid, match=expected):
        contract.query("look", given)


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        (b'{"number": 0}', Invalid, "/number: 0 is less than the minimum of 1"),
        (b'{"at": "2026-02-30"}', Invalid, "/at: '2026-02-30' is not a 'date'"),
        (b"{}", Invalid, "/: number or at"),
        (b'{"number": 1, "at": "2026-01-01"}', Invalid, "/: number or at"),
        (b"{", Malformed, "the body is not JSON"),
        (b'{"number": 1, "x": "\\udc00"}', Malformed, "half of a character"),
    ],
)
def test_bodies_are_checked(contract: Contract, body: bytes, error: type[Exception], says: str) -> None:
    """The document's sentence is told where there is a choice."""
    assert {"number": 1} == contract.body("change", b'{"number": 1}')
    with pytest.raises(error, match=says):
        contract.body("change", body)
