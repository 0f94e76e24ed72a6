"""Body bytes → payload, payload → violations of its JSON Schema. jsonschema is the validator of record.

Schemas are files `<folder>/<provider>/<event type>.json` (JSON Schema 2020-12). A type without its own file uses the
one of a shorter type (`a.b.c` → `a.b` → `a`), then `default.json`. A file whose name starts with `_` is never chosen
for a type, only referred to. Nothing is ever fetched from the network.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from itertools import islice
from math import isinf
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urljoin

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from inbox.errors import ConfigError, Malformed, Violation
from inbox.models import Payload

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_VIOLATIONS = 20
MAX_TEXT = 300
"""Characters of a violation's pointer and of its message."""
MAX_DEPTH = 100
"""Levels of nesting. Python's own limit is higher, but depends on the caller's stack and not only on the body."""

_TOO_DEEP = f"is JSON nested deeper than {MAX_DEPTH} levels"
_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)


class _Unreadable(ValueError):
    """Text that is JSON to some readers only; the message says why."""


def parse(body: bytes, subject: str = "the body") -> Payload:
    """Return the JSON value that the body holds. A UTF-8 byte order mark in front is skipped (RFC 8259, section 8.1).

    Raises Malformed for anything that two readers could understand in two ways: invalid UTF-8, NaN and Infinity,
    a key that stands twice in one object, nesting or numbers beyond what can be read, and an empty body. `subject`
    is how the diagnosis begins.
    """
    try:
        text = body.decode("utf-8").removeprefix("\ufeff")
        if not text.strip(" \t\r\n"):
            raise _Unreadable("is empty")
        payload = json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_unique)
        _check_depth(text, payload)
        return payload
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8: byte {error.start} cannot be decoded"
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}"
    except _Unreadable as error:
        problem = str(error)
    except RecursionError:
        problem = _TOO_DEEP
    except ValueError:
        problem = "is JSON with a whole number of too many digits"
    raise Malformed(f"{subject} {problem}")


def _no_constant(name: str) -> NoReturn:
    raise _Unreadable(f"is not JSON: {name} is not a JSON number")


def _finite(text: str) -> float:
    """Return the number; 1e999 would become Infinity, which is not JSON any more."""
    number = float(text)
    if isinf(number):
        raise _Unreadable(f"is JSON with the number {text[:20]}, which is too large to be read")
    return number


def _unique(pairs: list[tuple[str, Payload]]) -> dict[str, Payload]:
    found = dict(pairs)
    if len(found) != len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise _Unreadable(f"is JSON with the key {_line(repr(twice))} twice in one object")
    return found


def _check_depth(text: str, payload: Payload) -> None:
    """Raise _Unreadable if the payload is nested too deeply; one with few brackets cannot be."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    level = [payload]
    for _ in range(MAX_DEPTH):
        level = [child for item in level for child in _children(item)]
    if any(isinstance(item, (dict, list)) for item in level):
        raise _Unreadable(_TOO_DEEP)


def _children(payload: Payload) -> Iterable[Payload]:
    if isinstance(payload, dict):
        return payload.values()
    return payload if isinstance(payload, list) else ()


class Schemas:
    """The schemas of a folder, compiled. All are read and checked when this is made.

    Raises ConfigError if there is no such folder, or if a file is not JSON, not a valid schema, or refers to something
    that is not in the folder. Files and folders whose names start with a dot are not read.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigError(str(folder), "not a folder; schemas are kept in one, which may be empty")
        self._files = _files(folder.resolve())
        resources = {path: _resource(path) for path in self._files.values()}
        _check_ids(resources)
        registry = Registry[Any]().with_resources((path.as_uri(), found) for path, found in resources.items()).crawl()
        for path in resources:
            _check_references(path, registry)
        self._validators = {
            (name, formats): Draft202012Validator({"$ref": path.as_uri()}, registry=registry, format_checker=checker)
            for name, path in self._files.items()
            for formats, checker in (("annotate", None), ("assert", FORMATS))
        }
        self._find = lru_cache(maxsize=1024)(self._lookup)

    def violations(
        self, provider: str, event_type: str, payload: Payload, *, formats: str = "annotate"
    ) -> tuple[Violation, ...]:
        """Return the first MAX_VIOLATIONS places where the payload breaks its schema, sorted; empty if it is valid."""
        name = self._find(provider, event_type)
        if name is None:
            return ()
        try:
            errors = list(islice(self._validators[name, formats].iter_errors(payload), MAX_VIOLATIONS))
        except Exception as error:
            return (Violation("", _line(f"cannot be checked against {name}: {error}")),)
        errors.sort(key=lambda error: list(error.absolute_path))
        found = (Violation(_line(_pointer(error.absolute_path)), _line(error.message)) for error in errors)
        return tuple(dict.fromkeys(found))

    def file(self, provider: str, event_type: str) -> str | None:
        """Return the name of the schema file that this type is checked against, None if there is none."""
        return self._find(provider, event_type)

    def _lookup(self, provider: str, event_type: str) -> str | None:
        parts = event_type.split(".")
        shorter = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
        names = [f"{provider}/{name}.json" for name in (*shorter, "default")]
        return next((name for name in names if name in self._files and "/_" not in name), None)


def _files(root: Path) -> dict[str, Path]:
    """Return the schema files by their names, as in `roomz/default.json`: only these names can ever be looked up."""
    named = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*.json"))}
    return {name: path for name, path in named.items() if "/." not in f"/{name}"}


def _resource(path: Path) -> Resource[Any]:
    """Return the schema in a file, checked against the meta-schema. Raises ConfigError."""
    try:
        schema = parse(path.read_bytes(), "the file")
        Draft202012Validator.check_schema(schema)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None
    except Malformed as error:
        raise ConfigError(str(path), str(error)) from None
    except RecursionError:
        raise ConfigError(str(path), "not a schema that can be used: nested too deeply") from None
    except SchemaError as error:
        where = _pointer(error.absolute_path) or "/"
        raise ConfigError(str(path), f"not a valid schema at {where}: {_line(error.message)}") from None
    dialect = schema.get("$schema", DIALECT) if isinstance(schema, dict) else DIALECT
    if dialect != DIALECT:
        raise ConfigError(str(path), f"$schema is {dialect!r}; allowed: {DIALECT!r}")
    return DRAFT202012.create_resource(schema)


def _check_ids(resources: Mapping[Path, Resource[Any]]) -> None:
    """Raise ConfigError if a file's $id is not a URI, or is what another file is called."""
    owners = {path.as_uri(): path for path in resources}
    for path, resource in resources.items():
        try:
            owner = owners.setdefault(urljoin(path.as_uri(), resource.id() or ""), path)
        except ValueError as error:
            raise ConfigError(str(path), f"$id {resource.id()!r} is not a URI: {error}") from None
        if owner != path:
            raise ConfigError(str(path), f"$id {resource.id()!r} already names {owner}")


def _check_references(path: Path, registry: Registry[Any]) -> None:
    """Raise ConfigError unless every reference that can be reached from a file leads to a schema in the folder."""
    seen: set[int] = set()
    ahead = [(registry[path.as_uri()].contents, registry.resolver(path.as_uri()))]
    while ahead:
        schema, resolver = ahead.pop()
        if not isinstance(schema, dict) or id(schema) in seen:
            continue
        seen.add(id(schema))
        resource = DRAFT202012.create_resource(schema)
        resolver = resolver.in_subresource(resource)
        ahead += [(each.contents, resolver) for each in resource.subresources()]
        for reference in (schema[key] for key in ("$ref", "$dynamicRef") if key in schema):
            try:
                target = resolver.lookup(reference)
                Draft202012Validator.check_schema(target.contents)
            except (Unresolvable, LookupError, TypeError, ValueError):
                raise ConfigError(str(path), f"$ref {reference!r} names nothing in the folder of schemas") from None
            except SchemaError:
                raise ConfigError(str(path), f"$ref {reference!r} names something that is not a schema") from None
            ahead.append((target.contents, target.resolver))


FORMATS = FormatChecker(Draft202012Validator.FORMAT_CHECKER.checkers)
"""What formats = "assert" checks: what jsonschema checks with the packages that are installed, and date-time."""


@FORMATS.checks("date-time")
def _is_date_time(value: object) -> bool:
    """Tell whether text is a date-time of RFC 3339; jsonschema itself leaves this format to an optional package."""
    match = _DATE_TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return not isinstance(value, str)
    try:
        datetime.fromisoformat(f"{match[1]}T{match[2]}")
    except ValueError:
        return False
    return int(match[3]) <= 60


def _line(text: str) -> str:
    """Return the text in at most MAX_TEXT printable characters: it goes into tables, logs and answers."""
    return _cut("".join(char if char.isprintable() else ascii(char)[1:-1] for char in _cut(text)))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:200]} … {text[-80:]}"


def _pointer(path: Iterable[str | int]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
