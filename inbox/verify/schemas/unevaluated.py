"""What counts as evaluated for `unevaluatedItems` and `unevaluatedProperties`: sets, where jsonschema has lists.

jsonschema looks for each of n members in a list of n, and runs patterns with Python's `re`. The rules are those of
JSON Schema 2020-12, sections 11.2 and 11.3. Next: `inbox.verify.schemas.reference_validator` says what is left over.
"""

from collections.abc import Iterator
from typing import Any

from inbox.core.models import Payload
from inbox.verify.schemas.patterns import pattern
from inbox.verify.schemas.time_limit import in_time


def keys(validator: Any, payload: dict[str, Payload], schema: Any) -> set[str]:
    """Return the names of the members that the schema, given with jsonschema's validator, evaluates."""
    in_time()
    if isinstance(schema, bool):
        return set()
    found = set(schema.get("properties", {}).keys() & payload.keys())
    for keyword in ("additionalProperties", "unevaluatedProperties"):
        if keyword in schema:
            further = validator.evolve(schema=schema[keyword])
            found |= {name for name, value in payload.items() if name not in found and further.is_valid(value)}
    for text in schema.get("patternProperties", {}):
        found |= {name for name in payload if pattern(text).search(name)}
    return found.union(*(keys(*each) for each in _in_place(validator, payload, schema)))


def indexes(validator: Any, payload: list[Payload], schema: Any) -> set[int]:
    """Return the indexes of the items that the schema, given with jsonschema's validator, evaluates."""
    in_time()
    if isinstance(schema, bool):
        return set()
    if "items" in schema:
        return set(range(len(payload)))
    found = set(range(len(schema.get("prefixItems", ()))))
    for keyword in ("contains", "unevaluatedItems"):
        if keyword in schema:
            further = validator.evolve(schema=schema[keyword])
            found |= {index for index, value in enumerate(payload) if index not in found and further.is_valid(value)}
    return found.union(*(indexes(*each) for each in _in_place(validator, payload, schema)))


def _in_place(validator: Any, payload: Any, schema: dict[str, Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Yield the schemas that are applied to the same payload and accept it, each with its validator."""
    for keyword in ("$ref", "$dynamicRef"):
        if keyword in schema:
            target = validator._resolver.lookup(schema[keyword])
            yield validator.evolve(schema=target.contents, _resolver=target.resolver), payload, target.contents
    chosen = [each for keyword in ("allOf", "oneOf", "anyOf") for each in schema.get(keyword, ())]
    if "if" in schema:
        holds = validator.evolve(schema=schema["if"]).is_valid(payload)
        chosen += [schema[keyword] for keyword in (("if", "then") if holds else ("else",)) if keyword in schema]
    if isinstance(payload, dict):
        chosen += [each for name, each in schema.get("dependentSchemas", {}).items() if name in payload]
    for each in chosen:
        if validator.evolve(schema=each).is_valid(payload):
            yield validator, payload, each
