"""Schemas → quick tests that recognise most valid payloads. Whatever they do not call valid, jsonschema decides.

A quick test must never call valid what jsonschema does not. Where jsonschema-rs judges otherwise, in either direction
(`not` turns one into the other), the schema has no quick test: LEFT_ALONE, large numbers, long or endless references.
Patterns, formats and `uniqueItems` are asked of the same code that jsonschema asks. A quick test cannot be ended by
time, so its work is bounded before: by MAX_WEIGHT, and by what its patterns may cost. Next:
`inbox.verify.schemas.validator`.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import inf
from typing import Any, NoReturn
from urllib.parse import urldefrag, urljoin

import jsonschema_rs
from referencing.jsonschema import DRAFT202012, SchemaRegistry

from inbox.core.models import Payload
from inbox.verify.schemas.formats import FORMATS
from inbox.verify.schemas.patterns import SMALL, pattern
from inbox.verify.schemas.time_limit import begin_quick, given_up, spend
from inbox.verify.schemas.unique_items import unique

Test = Callable[[Payload], bool]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
LEFT_ALONE = {
    "multipleOf": "jsonschema divides floating-point numbers: 19.99 is no multiple of its 0.01",
    "dependencies": "a keyword of older drafts, which jsonschema ignores and jsonschema-rs obeys",
    "unevaluatedItems": "what counts as evaluated is where implementations differ",
    "unevaluatedProperties": "the same",
    "$dynamicRef": "leads somewhere else depending on the way that led to it",
    "$id": "each resolves it in its own way, and jsonschema-rs knows some addresses itself",
}
"""Keywords whose schemas have no quick test, and why."""

MAX_EXACT = 2**53
"""Beyond it a whole number and a floating-point number are compared in different ways."""
MAX_STEPS = 50
"""Subschemas and references one after another: few enough for jsonschema's stack. A circle of references has no end."""
MAX_WEIGHT = 20_000
"""Schemas when every reference is written out: as often one payload may be looked at."""


def compiled(uri: str, schemas: Mapping[str, Any], registry: SchemaRegistry, *, formats: bool) -> Test | None:
    """Return the quick test for one of the schemas, which are given by URI; None if it is to have none.

    `formats` tells whether they count. The registry holds the same schemas.
    """
    try:
        survey = _Survey(uri, registry)
        survey.check()
        documents = [(each, schemas[each]) for each in survey.documents]
        known = jsonschema_rs.Registry(documents, draft=jsonschema_rs.Draft202012, retriever=_never)
        validator = jsonschema_rs.Draft202012Validator(
            {"$ref": uri},
            registry=known,
            offline=True,
            validate_formats=formats,
            formats={name: partial(FORMATS.conforms, format=name) for name in survey.formats()},
            keywords={"uniqueItems": _UniqueItems} | ({"pattern": _Pattern} if survey.has_large_patterns() else {}),
            pattern_options=jsonschema_rs.RegexOptions(size_limit=SMALL),
        )
    except Exception:  # whatever it is: jsonschema has accepted the schema, and will do alone
        return None
    return partial(_is_valid, validator)


def _is_valid(validator: jsonschema_rs.Draft202012Validator, payload: Payload) -> bool:
    """Tell whether a payload is valid for certain; one that cannot be read, such as a lone surrogate, is not."""
    begin_quick()
    try:
        return validator.is_valid(payload) and not given_up()
    except Exception:
        return False


class _Pattern:
    """The keyword `pattern` as the validator of record understands it."""

    def __init__(self, schema: object, text: str, path: object) -> None:
        self._pattern = pattern(text)

    def validate(self, value: object) -> None:
        """Raise ValueError if text does not match, or if it would cost too much to know: then it is given up."""
        if isinstance(value, str) and not (spend(int(self._pattern.size) * len(value)) and self._pattern.search(value)):
            raise ValueError


class _UniqueItems:
    """The keyword `uniqueItems` as the validator of record understands it."""

    def __init__(self, schema: object, wanted: bool, path: object) -> None:
        self._wanted = wanted

    def validate(self, value: object) -> None:
        """Raise ValueError if a list holds two equal items."""
        if self._wanted and isinstance(value, list) and not unique(value):
            raise ValueError


class _Unlike(Exception):
    """A schema that the two validators could judge differently."""


class _Survey:
    """All that can be reached from the schema at a URI, with the whole of every file that is referred to."""

    def __init__(self, uri: str, registry: SchemaRegistry) -> None:
        self._registry = registry
        self._found: dict[int, dict[str, Any]] = {}
        self._sizes: dict[int, tuple[float, float]] = {}
        self.documents = [uri]
        self.sizes = [self._size(registry[each].contents, registry.resolver(each), each) for each in self.documents]

    def check(self) -> None:
        """Raise _Unlike if the schema is to have no quick test."""
        texts = [json.dumps(self._registry[each].contents) for each in self.documents]
        if any(steps > MAX_STEPS or weight > MAX_WEIGHT for steps, weight in self.sizes):
            raise _Unlike
        if any(map(_unlike, self._found.values())) or '"$id": "' in "".join(texts):
            raise _Unlike

    def has_large_patterns(self) -> bool:
        """Tell whether a pattern is so large that a text can be too long for it."""
        return any(pattern(schema["pattern"]).size > SMALL for schema in self._found.values() if "pattern" in schema)

    def formats(self) -> set[str]:
        """Return the names of all formats."""
        return {schema["format"] for schema in self._found.values() if "format" in schema}

    def _size(self, schema: Any, resolver: Any, uri: str) -> tuple[float, float]:
        """Return the steps of the longest way that begins at a schema of the document at the URI, and its weight."""
        if not isinstance(schema, dict):
            return 0, 1
        if id(schema) not in self._sizes:
            self._found[id(schema)] = schema
            self._sizes[id(schema)] = inf, inf  # what comes back here on its own way has no end
            ahead = [(each, resolver, uri) for each in DRAFT202012.subresources_of(schema)]
            if "$ref" in schema:
                ahead.append(self._target(schema["$ref"], resolver, uri))
            sizes = [self._size(*each) for each in ahead]
            steps = 1 + max((steps for steps, _ in sizes), default=0)
            self._sizes[id(schema)] = steps, 1 + sum(weight for _, weight in sizes)
        return self._sizes[id(schema)]

    def _target(self, reference: str, resolver: Any, uri: str) -> tuple[Any, Any, str]:
        target = resolver.lookup(reference)
        document = urldefrag(urljoin(uri, reference)).url
        if document not in self.documents:
            self.documents.append(document)  # __init__ comes to it
        return target.contents, target.resolver, document


def _unlike(schema: Mapping[str, Any]) -> bool:
    """Tell whether one schema, without those in it, holds what the two validators judge differently."""
    if not LEFT_ALONE.keys().isdisjoint(schema) or schema.get("$schema", DIALECT) != DIALECT:
        return True
    if pattern(schema.get("pattern", "")).size == inf:
        return True
    values = [schema[key] for key in _COMPARING if key in schema]
    return any(abs(number) > MAX_EXACT for number in _numbers(values))


_COMPARING = ("const", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, int | float):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _numbers(child)


def _never(uri: str) -> NoReturn:
    raise LookupError(uri)
