"""Payload → violations of its JSON Schema. jsonschema decides; a compiled test recognises most valid payloads before.

Schemas are files `<folder>/<provider>/<event type>.json` (JSON Schema 2020-12). A type without its own file uses the
one of a shorter type (`a.b.c` → `a.b` → `a`), then `default.json`. A file whose name starts with `_` is never chosen
for a type, only referred to. Nothing is ever fetched from the network.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Set
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from inbox import snapshot
from inbox.errors import ConfigError, Malformed, Violation
from inbox.models import Payload
from inbox.validation.compiled import DIALECT, compiled
from inbox.validation.formats import FORMATS
from inbox.validation.parsing import line, parse

MAX_VIOLATIONS = 20


class Schemas:
    """The schemas of a folder, compiled. All are read and checked when this is made.

    Raises ConfigError if there is no such folder, or if a file is not JSON, not a valid schema, or refers to something
    that is not in the folder. Files and folders whose names start with a dot are not read.
    """

    def __init__(self, folder: Path) -> None:
        if not snapshot.is_folder(folder):
            raise ConfigError(str(folder), "not a folder; schemas are kept in one, which may be empty")
        self._files = _files(Path(os.path.abspath(folder)))  # noqa: PTH100 – `resolve` follows links, which may change
        resources = {path: _resource(path) for path in self._files.values()}
        _check_ids(resources)
        registry = Registry[Any]().with_resources((path.as_uri(), found) for path, found in resources.items()).crawl()
        checked = {id(part) for resource in resources.values() for part in _parts(resource)}
        for path in resources:
            _check_references(path, registry, checked)
        self._validators = {
            (name, formats): Draft202012Validator({"$ref": path.as_uri()}, registry=registry, format_checker=checker)
            for name, path in self._files.items()
            for formats, checker in (("annotate", None), ("assert", FORMATS))
        }
        contents = {path.as_uri(): resource.contents for path, resource in resources.items()}
        self._compiled = {
            (name, formats): compiled(self._files[name].as_uri(), contents, registry, formats=formats == "assert")
            for name, formats in self._validators
        }
        self._find = lru_cache(maxsize=1024)(self._lookup)

    def violations(
        self, provider: str, event_type: str, payload: Payload, *, formats: str = "annotate"
    ) -> tuple[Violation, ...]:
        """Return the first MAX_VIOLATIONS places where the payload breaks its schema, sorted; empty if it is valid."""
        name = self._find(provider, event_type)
        if name is None:
            return ()
        test = self._compiled[name, formats]
        if test is not None and test(payload):
            return ()
        try:
            errors = list(islice(self._validators[name, formats].iter_errors(payload), MAX_VIOLATIONS))
        except Exception as error:
            return (Violation("", line(f"cannot be checked against {name}: {error}")),)
        errors.sort(key=lambda error: list(error.absolute_path))
        found = (Violation(line(pointer(error.absolute_path)), line(error.message)) for error in errors)
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
    named = {path.relative_to(root).as_posix(): path for path in snapshot.find(root, ".json", deep=True)}
    return {name: path for name, path in named.items() if "/." not in f"/{name}"}


def _resource(path: Path) -> Resource[Any]:
    """Return the schema in a file, checked against the meta-schema. Raises ConfigError."""
    try:
        schema = _schema(snapshot.read(path))
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None
    except Malformed as error:
        raise ConfigError(str(path), str(error)) from None
    except RecursionError:
        raise ConfigError(str(path), "not a schema that can be used: nested too deeply") from None
    except SchemaError as error:
        where = pointer(error.absolute_path) or "/"
        raise ConfigError(str(path), f"not a valid schema at {where}: {line(error.message)}") from None
    dialect = schema.get("$schema", DIALECT) if isinstance(schema, dict) else DIALECT
    if dialect != DIALECT:
        raise ConfigError(str(path), f"$schema is {dialect!r}; allowed: {DIALECT!r}")
    return DRAFT202012.create_resource(schema)


@lru_cache(maxsize=256)
def _schema(content: bytes) -> Any:
    """Return the schema in a file, which nobody changes; whoever tests handlers reads the same files again and again.

    Raises Malformed and SchemaError.
    """
    schema = parse(content, "the file")
    Draft202012Validator.check_schema(schema)
    return schema


def _parts(resource: Resource[Any]) -> Iterator[Any]:
    """Yield what the resource holds, and what each schema in it holds: what was checked with it."""
    yield resource.contents
    for each in resource.subresources():
        yield from _parts(each)


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


def _check_references(path: Path, registry: Registry[Any], checked: Set[int]) -> None:
    """Raise ConfigError unless every reference that can be reached from a file leads to a schema in the folder.

    `checked` has the `id()` of what is known to be one.
    """
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
                if id(target.contents) not in checked:
                    Draft202012Validator.check_schema(target.contents)
            except (Unresolvable, LookupError, TypeError, ValueError):
                raise ConfigError(str(path), f"$ref {reference!r} names nothing in the folder of schemas") from None
            except SchemaError:
                raise ConfigError(str(path), f"$ref {reference!r} names something that is not a schema") from None
            ahead.append((target.contents, target.resolver))


def pointer(path: Iterable[str | int]) -> str:
    """Return the JSON pointer of a path."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
