"""Requests of programs → values, checked against the OpenAPI 3.1 document that describes them.

Of the document it needs what has a say in a request: operations by `operationId`, their parameters in the query, and
their JSON body. It knows nothing of HTTP besides. Next: `inbox.ui.api.views`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from jsonschema.exceptions import ValidationError
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from inbox.core.errors import Invalid, Malformed, Violation
from inbox.core.models import Payload
from inbox.verify.schemas.formats import FORMATS
from inbox.verify.schemas.reference_validator import record
from inbox.verify.schemas.strict_json import line, parse
from inbox.verify.schemas.validator import MAX_VIOLATIONS, pointer

_ROOT = "urn:webhook-inbox:openapi"
_BODY = "/requestBody/content/application~1json/schema"
_WHOLE = re.compile("-?[0-9]{1,20}")


class Contract:
    """The operations of a document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._registry = Registry[Any]().with_resource(_ROOT, DRAFT202012.create_resource(document))
        self._places = {
            operation["operationId"]: f"#/paths/{path.replace('/', '~1')}/{method}"
            for path, operations in document["paths"].items()
            for method, operation in operations.items()
        }
        self._queries = {name: self._query(place) for name, place in self._places.items()}
        self._bodies = {
            name: self._validator(f"{place}{_BODY}")
            for name, place in self._places.items()
            if "requestBody" in self._at(place)
        }

    @property
    def operations(self) -> frozenset[str]:
        """Return the names of all operations."""
        return frozenset(self._places)

    def query(self, operation: str, given: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Return the parameters of a query as the types that they have, with defaults. Raises Invalid."""
        known, found, violations = self._queries[operation], {}, []
        for name, text in given:
            if name not in known:
                allowed = ", ".join(known) or "none"
                violations.append(Violation(line(name), f"there is no such parameter; allowed: {allowed}"))
            elif name in found:
                violations.append(Violation(name, "stands twice in the query"))
            else:
                schema, validator = known[name]
                found[name] = int(text) if schema.get("type") == "integer" and _WHOLE.fullmatch(text) else text
                violations += _violations(validator, found[name], name)
        if violations:
            raise Invalid(violations[:MAX_VIOLATIONS])
        return {name: schema["default"] for name, (schema, _) in known.items() if "default" in schema} | found

    def body(self, operation: str, body: bytes) -> Payload:
        """Return the payload of a body. Raises Malformed, Invalid."""
        payload = parse(body)
        try:
            json.dumps(payload, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Malformed("the body has half of a character (a lone surrogate)") from None
        violations = _violations(self._bodies[operation], payload, "")
        if violations:
            raise Invalid(violations)
        return payload

    def _query(self, place: str) -> dict[str, tuple[Mapping[str, Any], Any]]:
        """Return schemas and validators of the parameters in the query, by name."""
        found = {}
        for number, given in enumerate(self._at(place).get("parameters", ())):
            at = given.get("$ref", f"{place}/parameters/{number}")
            parameter = self._at(at)
            if parameter["in"] == "query":
                schema = parameter["schema"]
                schema = self._at(schema["$ref"]) if "$ref" in schema else schema
                found[parameter["name"]] = (schema, self._validator(f"{at}/schema"))
        return found

    def _at(self, place: str) -> Any:
        return self._registry.resolver(_ROOT).lookup(place).contents

    def _validator(self, place: str) -> Any:
        return record({"$ref": f"{_ROOT}{place}"}, self._registry, FORMATS)


def _violations(validator: Any, value: Payload, name: str) -> list[Violation]:
    """Return where a value breaks its schema, the first places first."""
    errors = sorted(validator.iter_errors(value), key=lambda error: list(map(str, error.absolute_path)))
    return [Violation(line(name + pointer(error.absolute_path)), _said(error)) for error in errors[:MAX_VIOLATIONS]]


def _said(error: ValidationError) -> str:
    """Return what is wrong; of a choice, what there is to choose from, which the schema has beside it."""
    schema = error.schema if isinstance(error.schema, dict) else {}
    choice = schema.get("$comment", schema.get("description"))
    return line(str(choice) if error.validator in ("anyOf", "oneOf") and choice else error.message)
