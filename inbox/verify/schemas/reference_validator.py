"""The validator of record: jsonschema, but for the keywords that it does with work beyond the payload's size.

Patterns run in `inbox.verify.schemas.patterns`, lists are compared in `unique`, and every keyword looks whether the
check is still in time. Next: `inbox.verify.schemas.validator` makes violations of its errors.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.validators import create
from referencing.jsonschema import SchemaRegistry

from inbox.verify.schemas import unevaluated
from inbox.verify.schemas.patterns import pattern
from inbox.verify.schemas.time_limit import in_time
from inbox.verify.schemas.unique_items import unique

Found = Iterator[ValidationError]
Keyword = Callable[[Any, Any, Any, Any], Any]


def record(schema: Any, registry: SchemaRegistry, formats: FormatChecker | None) -> Any:
    """Return a validator as jsonschema has them: `iter_errors` and `is_valid` raise NotInTime within `limits.within`.

    `formats` is None where formats do not count.
    """
    return _Record(schema, registry=registry, format_checker=formats)


def _pattern(validator: Any, text: str, payload: Any, schema: Any) -> Found:
    if isinstance(payload, str) and not pattern(text).search(payload):
        yield ValidationError(f"{payload!r} does not match {text!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], payload: Any, schema: Any) -> Found:
    if not isinstance(payload, dict):
        return
    for text, further in patterns.items():
        for name, value in payload.items():
            in_time()
            if pattern(text).search(name):
                yield from validator.descend(value, further, path=name, schema_path=text)


def _additional_properties(validator: Any, further: Any, payload: Any, schema: Any) -> Found:
    if not isinstance(payload, dict):
        return
    known, patterns = schema.get("properties", {}), list(map(pattern, schema.get("patternProperties", {})))
    extras = [name for name in payload if name not in known and not any(each.search(name) for each in patterns)]
    if further is not False:
        for name in extras:
            yield from validator.descend(payload[name], further, path=name)
    elif extras:
        yield ValidationError(f"Additional properties are not allowed ({_unexpected(sorted(extras))})")


def _unique_items(validator: Any, wanted: bool, payload: Any, schema: Any) -> Found:
    if wanted and isinstance(payload, list) and not unique(payload):
        yield ValidationError(f"{payload!r} has non-unique elements")


def _unevaluated_items(validator: Any, further: Any, payload: Any, schema: Any) -> Found:
    if isinstance(payload, list):
        done = unevaluated.indexes(validator, payload, schema)
        if left := [value for index, value in enumerate(payload) if index not in done]:
            yield ValidationError(f"Unevaluated items are not allowed ({_unexpected(left)})")


def _unevaluated_properties(validator: Any, further: Any, payload: Any, schema: Any) -> Found:
    if isinstance(payload, dict):
        done = unevaluated.keys(validator, payload, schema)
        if left := sorted(payload.keys() - done):
            yield ValidationError(f"Unevaluated properties are not allowed ({_unexpected(left)})")


def _unexpected(values: list[Any]) -> str:
    return f"{', '.join(map(repr, values))} {'was' if len(values) == 1 else 'were'} unexpected"


def _timed(keyword: Keyword) -> Keyword:
    def timed(validator: Any, value: Any, payload: Any, schema: Any) -> Any:
        in_time()
        return keyword(validator, value, payload, schema)

    return timed


def _evolve(validator: Any, *, schema: Any, _resolver: Any = None) -> Any:
    """Return a validator for another schema; jsonschema's own would go on with its plain class at each `$schema`."""
    resolver = _resolver or validator._resolver
    return _Record(schema, None, validator.format_checker, registry=validator._registry, _resolver=resolver)


_OWN: dict[str, Keyword] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
    "unevaluatedItems": _unevaluated_items,
    "unevaluatedProperties": _unevaluated_properties,
}
_KEYWORDS = {name: _timed(keyword) for name, keyword in {**Draft202012Validator.VALIDATORS, **_OWN}.items()}
_Record: Any = create(Draft202012Validator.META_SCHEMA, _KEYWORDS, type_checker=Draft202012Validator.TYPE_CHECKER)
_Record.evolve = _evolve
