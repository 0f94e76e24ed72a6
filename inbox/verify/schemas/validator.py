"""Payload → violations of its JSON Schema. jsonschema decides; a compiled test recognises most valid payloads before.

Schemas are files `<folder>/<provider>/<event type>.json` (JSON Schema 2020-12). A type without its own file uses the
one of a shorter type (`a.b.c` → `a.b` → `a`), then `default.json`. A file whose name starts with `_` is never chosen
for a type, only referred to. Nothing is ever fetched from the network.

A check ends when it takes too long (NOT_IN_TIME), so that no payload can keep the others waiting.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from functools import lru_cache, partial
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urljoin

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from inbox.core.config import snapshot
from inbox.core.errors import ConfigError, Malformed, Violation
from inbox.core.models import Payload
from inbox.verify.schemas.compiled import DIALECT, compiled
from inbox.verify.schemas.formats import FORMATS
from inbox.verify.schemas.patterns import pattern
from inbox.verify.schemas.reference_validator import record
from inbox.verify.schemas.strict_json import line, parse
from inbox.verify.schemas.time_limit import Clock, NotInTime, within

MAX_VIOLATIONS = 20

NOT_IN_TIME = "not checked in time"
"""How the message of the one violation begins that stands for a check without an end."""

SECONDS = 0.25
SECONDS_PER_MIB = 2.0
"""What a check may take, of the processor: so long, and so much more for each MiB of the body."""
PATIENCE = 5.0
"""Seconds that a check may wait for its turn; whoever waited longer is not checked any more."""
AGAIN = 5.0
"""Seconds for a check whose outcome only an owner waits for."""

Check: TypeAlias = Callable[[], tuple[Violation, ...]]


class Schemas:
    """The schemas of a folder, compiled. All are read and checked when this is made.

    Raises ConfigError if there is no such folder, or if a file is not JSON, not a valid schema, or refers to something
    that is not in the folder. Files and folders whose names start with a dot are not read. `warnings` are pairs of a
    file and what is allowed, but not wise. `worked` counts the seconds that a thread has worked, `steady` all seconds.
    """

    def __init__(self, folder: Path, *, worked: Clock = time.thread_time, steady: Clock = time.monotonic) -> None:
        if not snapshot.is_folder(folder):
            raise ConfigError(str(folder), "not a folder; schemas are kept in one, which may be empty")
        self._files = _files(Path(os.path.abspath(folder)))  # noqa: PTH100 – `resolve` follows links, which may change
        resources = {path: _resource(path) for path in self._files.values()}
        _check_ids(resources)
        registry = Registry[Any]().with_resources((path.as_uri(), found) for path, found in resources.items()).crawl()
        checked = {id(part) for resource in resources.values() for part in _parts(resource)}
        going_back = {text: path for path, found in resources.items() for text in _going_back(path, _parts(found))}
        for path in resources:
            for text in _check_references(path, registry, checked):
                going_back.setdefault(text, path)
        self.warnings = [
            (path.relative_to(folder.resolve()).as_posix(), f"the pattern {line(text)!r} {_GOES_BACK}")
            for text, path in going_back.items()
        ]
        self._validators = {
            (name, formats): record({"$ref": path.as_uri()}, registry, checker)
            for name, path in self._files.items()
            for formats, checker in (("annotate", None), ("assert", FORMATS))
        }
        contents = {path.as_uri(): resource.contents for path, resource in resources.items()}
        self._compiled = {
            (name, formats): compiled(self._files[name].as_uri(), contents, registry, formats=formats == "assert")
            for name, formats in self._validators
        }
        self._find = lru_cache(maxsize=1024)(self._lookup)
        self._worked = worked
        self._steady = steady

    def violations(
        self, provider: str, event_type: str, payload: Payload, *, formats: str = "annotate", seconds: float = AGAIN
    ) -> tuple[Violation, ...]:
        """Return the first MAX_VIOLATIONS places where the payload breaks its schema, sorted; empty if it is valid.

        One that begins with NOT_IN_TIME, and no other, says that so many seconds were not enough.
        """
        name = self._find(provider, event_type)
        if name is None or self._is_recognised(name, formats, payload):
            return ()
        return self._check(name, formats, payload, seconds, inf)

    def pending(
        self, provider: str, event_type: str, payload: Payload, size: int, *, formats: str = "annotate"
    ) -> Check | None:
        """Return what is still to be called for the violations of a body of so many bytes; None if it is valid.

        That may take longer than others should wait. Its patience begins now.
        """
        name = self._find(provider, event_type)
        if name is None or self._is_recognised(name, formats, payload):
            return None
        seconds = SECONDS + SECONDS_PER_MIB * size / 2**20
        return partial(self._check, name, formats, payload, seconds, self._steady() + PATIENCE)

    def _is_recognised(self, name: str, formats: str, payload: Payload) -> bool:
        test = self._compiled[name, formats]
        return test is not None and test(payload)

    def _check(self, name: str, formats: str, payload: Payload, seconds: float, until: float) -> tuple[Violation, ...]:
        if self._steady() > until:
            return (Violation("", f"{NOT_IN_TIME}: others took {PATIENCE:g} s; replay it, and it is checked again"),)
        try:
            with within(seconds, self._worked):
                errors = list(islice(self._validators[name, formats].iter_errors(payload), MAX_VIOLATIONS))
        except NotInTime as error:
            return (Violation("", line(f"{NOT_IN_TIME} against {name}: {error}; make its schema simpler")),)
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
    Draft202012Validator.check_schema(schema, FORMATS)
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


def _check_references(path: Path, registry: Registry[Any], checked: Set[int]) -> list[str]:
    """Raise ConfigError unless every reference that can be reached from a file leads to a schema in the folder.

    `checked` has the `id()` of what is known to be one. Returns the patterns that go back.
    """
    seen: set[int] = set()
    found: list[str] = []
    ahead = [(registry[path.as_uri()].contents, registry.resolver(path.as_uri()))]
    while ahead:
        schema, resolver = ahead.pop()
        if not isinstance(schema, dict) or id(schema) in seen:
            continue
        seen.add(id(schema))
        found += _going_back(path, [schema])
        resource = DRAFT202012.create_resource(schema)
        resolver = resolver.in_subresource(resource)
        ahead += [(each.contents, resolver) for each in resource.subresources()]
        for reference in (schema[key] for key in ("$ref", "$dynamicRef") if key in schema):
            try:
                target = resolver.lookup(reference)
                if id(target.contents) not in checked:
                    Draft202012Validator.check_schema(target.contents, FORMATS)
            except (Unresolvable, LookupError, TypeError, ValueError):
                raise ConfigError(str(path), f"$ref {reference!r} names nothing in the folder of schemas") from None
            except SchemaError:
                raise ConfigError(str(path), f"$ref {reference!r} names something that is not a schema") from None
            ahead.append((target.contents, target.resolver))
    return found


_GOES_BACK = (
    "goes back and forth in a text (lookaround, references to groups), so it is run with a limit: an event with a text "
    f'that needs more is quarantined as "{NOT_IN_TIME}", and no quick test recognises the others'
)


def _going_back(path: Path, schemas: Iterable[Any]) -> list[str]:
    """Return the patterns that go back, of these schemas but not of those in them.

    Raises ConfigError if one cannot be run at all.
    """
    found = [schema for schema in schemas if isinstance(schema, dict)]
    texts = [text for schema in found for text in schema.get("patternProperties", {})]
    texts += [schema["pattern"] for schema in found if "pattern" in schema]
    for text in texts:
        try:
            pattern(text)
        except ValueError:
            problem = "cannot be run: patterns are those of ECMA-262, and not larger than 16 MiB when compiled"
            raise ConfigError(str(path), f"the pattern {line(text)!r} {problem}") from None
    return [text for text in texts if pattern(text).size == inf]


def pointer(path: Iterable[str | int]) -> str:
    """Return the JSON pointer of a path."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
