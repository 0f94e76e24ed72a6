"""compiled: what a quick test calls valid, jsonschema calls valid, whatever schema and payload are.

The other direction is tested, too, because `not` turns one into the other: where there is a quick test, the two agree.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from inbox.verify.schemas import DIALECT, FORMATS, Schemas, parse
from inbox.verify.schemas.compiled import LEFT_ALONE, MAX_STEPS, Test, compiled
from inbox.verify.schemas.reference_validator import record
from tests.support.needs import need
from tests.verify.schemas.test_validator import BROKEN, FILES, FOLDER, PUBLISHED, SAMPLES, SCHEMAS, VALID

EXAMPLES = int(os.environ.get("INBOX_EXAMPLES", "150"))
"""Of each property; more of them for an hour's search by hand."""

BASE = "file:///schemas/p/"
NUMBERS = [
    0,
    1,
    -1,
    0.5,
    1.0,
    -0.0,
    0.1,
    5e-324,
    2**53,
    2.0**53,
    2**53 + 1,
    2**63,
    2.0**63,
    2**64,
    2.0**64,
    10**30,
    1e30,
]
NUMBERS += [10**400, -(10**400), 1e308, -(2**63), -(2.0**63) - 1]
TEXTS = [
    "",
    "a",
    "b",
    "ab",
    "a\n",
    "A",
    "é",
    "E\u0301",
    "٣",
    "3",
    "\u200b",
    "a\0",
    "\0",
    "😀",
    "\ud800",
    "$ref",
    "\u2028",
    "ſ",
]
TEXTS += ["2024-05-21T08:22:32Z", "2024-05-21", "08:22:32", "a@b.example", "::1", "1.2.3.4", "http://a/b", "(", "a{1"]
PATTERNS = [
    "^a$",
    r"\d",
    r"^\w+$",
    r"\s",
    r"\S",
    r"a\Z",
    "(?i)É",
    "(?i)s",
    "",
    r"^(?P<x>a)(?P=x)?$",
    "[^a]",
    r"\bé",
    ".",
    "\0",
    "[[a]",
]
FORMAT_NAMES = [*sorted(FORMATS.checkers), "time", "hostname", "uri", "duration", "phone-number", "json-pointer"]
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]

scalars = st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.sampled_from(TEXTS)
keys = st.sampled_from([*TEXTS[:12], "pattern", "not", "const"])
payloads = st.recursive(
    scalars | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)
schemas = st.deferred(lambda: st.booleans() | keywords | keywords | keywords)
counts = st.sampled_from([0, 1, 2, 1.0, 10**30])
lists = st.lists(schemas, min_size=1, max_size=3)
maps = st.dictionaries(keys, schemas, min_size=1, max_size=3)
KEYWORDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), st.sampled_from(NUMBERS)),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), counts),
    **dict.fromkeys(("minContains", "maxContains"), counts),
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), lists),
    **dict.fromkeys(("properties", "dependentSchemas", "$defs"), maps),
    **dict.fromkeys(
        ("not", "if", "then", "else", "items", "contains", "propertyNames", "additionalProperties", "contentSchema"),
        schemas,
    ),
    **dict.fromkeys(("additionalItems", "$recursiveRef", "nullable", "discriminator"), scalars),
    **dict.fromkeys(("contentEncoding", "contentMediaType", "id"), st.sampled_from(["base64", "application/json"])),
    **dict.fromkeys(("default", "examples", "x-kept"), scalars),
    "type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, max_size=2, unique=True),
    "const": payloads,
    "enum": st.lists(payloads, min_size=1, max_size=3),
    "required": st.lists(keys, max_size=2, unique=True),
    "dependentRequired": st.dictionaries(keys, st.lists(keys, max_size=2, unique=True), max_size=2),
    "pattern": st.sampled_from(PATTERNS),
    "format": st.sampled_from(FORMAT_NAMES),
    "$ref": st.sampled_from(["#/$defs/n", "b.json", "b.json#/$defs/m", "b.json#named", "./b.json#", f"{BASE}b.json"]),
    "multipleOf": st.sampled_from([1, 3, 0.01, 0.5]),
    "uniqueItems": st.booleans(),
    "patternProperties": st.dictionaries(st.sampled_from(PATTERNS), schemas, max_size=2),
    "dependencies": st.dictionaries(keys, schemas, max_size=2),
    "unevaluatedItems": schemas,
    "unevaluatedProperties": schemas,
}
quick_keywords = [key for key in KEYWORDS if key not in LEFT_ALONE]
keywords = st.lists(st.sampled_from(quick_keywords), min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: KEYWORDS[name] for name in names})
)

NOTHING: Registry[Any] = Registry()


class Pair:
    """Both validators for one schema, given as documents by URI; the first is the one that is checked."""

    def __init__(self, documents: dict[str, Any], *, formats: bool, registry: Registry[Any] = NOTHING) -> None:
        found = ((uri, Resource.from_contents(schema, DRAFT202012)) for uri, schema in documents.items())
        registry = registry.with_resources(found).crawl()
        first = next(iter(documents))
        everything = {uri: registry[uri].contents for uri in registry}
        self.quick: Test | None = compiled(first, everything, registry, formats=formats)
        checker = FORMATS if formats else None
        self._record = record({"$ref": first}, registry, checker)
        self._plain = Draft202012Validator({"$ref": first}, registry=registry, format_checker=checker)

    def record(self, payload: Any) -> bool | None:
        """Return what jsonschema says, None if it fails."""
        try:
            return self._record.is_valid(payload)
        except Exception:
            return None

    def is_worse(self, payload: Any, valid: bool) -> bool:
        """Tell whether plain jsonschema is right about a payload and the validator of record is not."""
        try:
            return self._plain.is_valid(payload) == valid != self.record(payload)
        except Exception:
            return False

    def differs(self, payload: Any, *, both_ways: bool = True) -> bool:
        """Tell whether the two differ; surrogates are always left to jsonschema."""
        said = self.quick is not None and self.quick(payload)
        if said or not both_ways or self.quick is None or "\\ud" in json.dumps(payload):
            return said and self.record(payload) is not True
        return self.record(payload) is not False


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(schemas, schemas, schemas, st.lists(payloads, min_size=1, max_size=8), st.booleans())
def test_they_agree_on_schemas_and_payloads_of_every_kind(
    a: Any, b: Any, n: Any, given_payloads: list[Any], formats: bool
) -> None:
    """Schemas of all keywords, in each other and in two files, with payloads at the edges of what can be written."""
    defs = {"n": n}
    root = {**a, "$defs": {**a.get("$defs", {}), **defs}} if isinstance(a, dict) else a
    other = {"$defs": {"m": n, "x": {"$anchor": "named", "type": "string"}, "n": True}}
    if isinstance(b, dict):
        other = {**b, "$defs": {**b.get("$defs", {}), **other["$defs"]}}
    pair = Pair({f"{BASE}a.json": root, f"{BASE}b.json": other}, formats=formats)
    assert [] == [payload for payload in given_payloads if pair.differs(payload)]


# --- the shipped schemas --------------------------------------------------------------------------------------------

CASES = [
    *(
        (provider, name, parse((SAMPLES / provider / f"{case}.json").read_bytes()))
        for provider, name, case in PUBLISHED
    ),
    *VALID,
    *(case[:3] for case in BROKEN),
]


@st.composite
def mutated(draw: st.DrawFn, payload: Any) -> Any:
    """Return the payload with one value, at any depth, replaced, left out or joined by another."""
    if not isinstance(payload, dict) or not payload or draw(st.integers(0, 4)) == 0:
        return draw(payloads)
    key = draw(st.sampled_from(sorted(payload)))
    rest = {name: value for name, value in payload.items() if name != key}
    change = draw(st.sampled_from(["deeper", "deeper", "gone", "added"]))
    if change == "added":
        return {**payload, draw(keys): draw(payloads)}
    return rest if change == "gone" else {**payload, key: draw(mutated(payload[key]))}


@pytest.mark.parametrize("formats", ["annotate", "assert"])
def test_every_shipped_schema_has_a_quick_test(formats: str) -> None:
    """None of our own schemas is left to jsonschema alone, whether formats count or not."""
    documents = {path.as_uri(): json.loads(path.read_bytes()) for path in FILES}
    assert [] == [
        uri for uri in documents if Pair(dict(first(documents, uri)), formats=formats == "assert").quick is None
    ]


def first(documents: dict[str, Any], uri: str) -> Iterator[tuple[str, Any]]:
    yield uri, documents[uri]
    yield from documents.items()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from(CASES), st.sampled_from(["annotate", "assert"]))
def test_shipped_schemas_are_judged_as_by_jsonschema(data: st.DataObject, case: Any, formats: str) -> None:
    """A payload with one or two changes is valid with the quick test if, and only if, it is without."""
    provider, name, payload = case
    payload = data.draw(mutated(data.draw(mutated(payload) | st.just(payload))))
    assert PLAIN.violations(provider, name, payload, formats=formats) == SCHEMAS.violations(
        provider, name, payload, formats=formats
    )


PLAIN = Schemas(FOLDER)
PLAIN._compiled = dict.fromkeys(PLAIN._compiled)


# --- what is left to jsonschema -------------------------------------------------------------------------------------

LEFT = [
    ({"multipleOf": 0.01}, 19.99),
    ({"multipleOf": 0.01}, 10**400),
    ({"patternProperties": {r"^\d(?!a)$": False}}, {"3": 1}),
    ({"patternProperties": {"^.{1,255}$": False}}, {"a": 1}),
    ({"pattern": "^(?!a)"}, "a"),
    ({"$ref": "b.json#/$defs/double16"}, 1),
    ({"not": {"dependencies": {"a": ["b"]}}}, {"a": 1}),
    ({"unevaluatedItems": False}, [1]),
    ({"unevaluatedProperties": False}, {"a": 1}),
    ({"$dynamicRef": "#n", "$defs": {"n": {"$dynamicAnchor": "n", "type": "null"}}}, 1),
    ({"$id": "c.json", "type": "null"}, 1),
    ({"$ref": "b.json#/$defs/id"}, 1),
    ({"$defs": {"x": {"$schema": "http://json-schema.org/draft-07/schema#"}}, "type": "null"}, 1),
    ({"const": 10**30}, 1e30),
    ({"enum": [[{"a": 2**53 + 1}]]}, 1),
    ({"not": {"maximum": 1e30}}, 10**30 + 1),
    ({"$ref": "#"}, 1),
    ({"allOf": [{"$ref": "b.json#/$defs/circle"}]}, 1),
    ({"items": {"$ref": "#"}}, [[1]]),
    ({"allOf": [{"allOf": [{"$ref": "b.json#/$defs/long"}]}]}, 1),
    ({"required": ["\ud800"]}, {}),
]


def long_chain(steps: int) -> Any:
    return {"$ref": f"#/$defs/{steps}"} if steps else {"type": "null"}


@pytest.mark.parametrize(("schema", "payload"), LEFT, ids=lambda value: repr(value)[:40])
def test_what_they_judge_differently_has_no_quick_test(schema: Any, payload: Any) -> None:
    """Every keyword of LEFT_ALONE, large numbers, circles, long ways and what cannot be read; not valid here."""
    defs = {str(steps): long_chain(steps - 1) for steps in range(1, MAX_STEPS)}
    more = {"long": long_chain(MAX_STEPS - 1), "circle": {"not": {"$ref": "#/$defs/circle"}}, "id": {"$id": "x"}}
    double = {f"double{n}": {"anyOf": [{"$ref": f"#/$defs/double{n - 1}"}] * 2} for n in range(1, 17)}
    more |= {**double, "double0": {"type": "null"}}
    pair = Pair({f"{BASE}a.json": schema, f"{BASE}b.json": {"$defs": defs | more}}, formats=True)
    assert None is pair.quick
    if "$ref" not in str(schema) and "required" not in schema:
        assert True is not pair.record(payload)


def test_every_keyword_that_is_left_alone_is_tried_here() -> None:
    """The table above is complete."""
    tried = {keyword for schema, _ in LEFT for keyword in LEFT_ALONE if f"'{keyword}'" in str(schema)}
    assert set(LEFT_ALONE) == tried


def test_guide_names_what_is_left_alone() -> None:
    """schemas/README.md lists the keywords and the limit, so that nobody wonders where the time goes."""
    guide = (FOLDER / "README.md").read_text("utf-8")
    assert [] == [keyword for keyword in LEFT_ALONE if f"`{keyword}`" not in guide.partition("compiled, too")[2]]
    assert f"more than {MAX_STEPS} subschemas" in guide


@pytest.mark.parametrize(
    ("schema", "payload"),
    [
        ({"properties": {name: {"type": "null"} for name in LEFT_ALONE}}, {"multipleOf": None}),
        ({"const": {"multipleOf": 1, "$ref": "missing.json"}}, {"multipleOf": 1.0, "$ref": "missing.json"}),
        ({"$ref": "b.json"}, [1]),
        ({"$ref": "with%20space.json#/$defs/n"}, [1]),
        ({"pattern": r"^\d$"}, "3"),
        ({"pattern": "^.{1,255}$"}, "a" * 255),
        ({"patternProperties": {r"^\d$": False, "^x-[a-z]{1,64}$": {"type": "null"}}}, {"x-a": None}),
        ({"not": {"uniqueItems": True}}, [[1], [True], [1]]),
        ({"format": "time"}, "no time, and not checked"),
        ({"const": 1}, 1.0),
        ({"maximum": 2**53}, 9e15),
        ({"type": "integer"}, 10**400),
        ({"maxLength": 1}, "😀"),
        ({"const": "a\0"}, "a\0"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_ordinary_schemas_have_a_quick_test(schema: Any, payload: Any) -> None:
    """Quickness is not lost unnoticed: to names that look like keywords, to references, patterns and formats."""
    others = {f"{BASE}b.json": {"type": "array"}, f"{BASE}with%20space.json": {"$defs": {"n": {"type": "array"}}}}
    pair = Pair({f"{BASE}a.json": schema, **others}, formats=True)
    assert pair.quick is not None
    assert pair.quick(payload)


def test_longest_way_that_has_a_quick_test_fits_the_stack() -> None:
    """jsonschema does not run out of stack where a quick test can answer, with half of Python's stack in use."""
    defs = {str(steps): {"allOf": [long_chain(steps - 1)]} for steps in range(1, MAX_STEPS // 2)}
    pair = Pair({f"{BASE}a.json": {**long_chain(MAX_STEPS // 2 - 1), "$defs": defs}}, formats=False)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(500)
    try:
        assert (True, False) == (pair.record(None), pair.record(1))
    finally:
        sys.setrecursionlimit(limit)
    assert pair.quick is not None


@pytest.mark.parametrize("payload", ["\ud800", {"\ud800": 1}, [{"a": "\udfff"}]])
def test_what_cannot_be_read_is_left_to_jsonschema(tmp_path: Path, payload: Any) -> None:
    """A lone surrogate, which JSON may hold as an escape, is neither an error nor valid by accident."""
    (tmp_path / "p").mkdir()
    text = {"type": "string", "maxLength": 5}
    schema = {
        **text,
        "type": ["string", "object", "array"],
        "additionalProperties": text,
        "items": {"properties": {"a": text}},
    }
    (tmp_path / "p" / "default.json").write_text(json.dumps(schema))
    [problem] = Schemas(tmp_path).violations("p", "x", payload) or [None]
    assert ("1 is not of type 'string'" if isinstance(payload, dict) else None) == (problem and problem.message)


def test_threads_share_a_quick_test() -> None:
    """The server's threads check payloads at the same time."""
    payload = parse((SAMPLES / "roomz" / "presence_changed.json").read_bytes())
    found: list[int] = []

    def check() -> None:
        broken = {**payload, "id": 1}
        rounds = ((payload, broken)[number % 2] for number in range(500))
        found.append(sum(bool(SCHEMAS.violations("roomz", "workspace.presence.changed", each)) for each in rounds))

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [250] * 4 == found


# --- the official suite ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the JSON-Schema-Test-Suite, which is inside the source distribution of jsonschema."""
    folder = tmp_path_factory.mktemp("suite")
    wanted = f"jsonschema=={importlib.metadata.version('jsonschema')}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "jsonschema", wanted]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    archive = next(folder.glob("*.tar.gz"), None)
    need(archive, f"the source distribution of {wanted} cannot be had: {done.stderr[-300:]}")
    assert archive is not None
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return next(folder.glob("*/json"))


@pytest.mark.parametrize("formats", [False, True])
def test_they_agree_on_the_official_suite(suite: Path, formats: bool) -> None:
    """Every case for draft 2020-12, the optional ones and those about formats included.

    And where jsonschema itself is right, its keywords that were replaced have not made it wrong.
    """
    remotes = {
        f"http://localhost:1234/{path.relative_to(suite / 'remotes').as_posix()}": json.loads(path.read_bytes())
        for path in (suite / "remotes").rglob("*.json")
        if "draft2020-12" in path.parts or path.parent.name == "remotes"
    }
    found = ((uri, Resource.from_contents(schema, DRAFT202012)) for uri, schema in remotes.items())
    registry = NOTHING.with_resources(found).crawl()
    quick, wrong = 0, []
    for path in sorted((suite / "tests" / "draft2020-12").rglob("*.json")):
        for group in json.loads(path.read_bytes()):
            schema = group["schema"]
            if isinstance(schema, dict) and schema.get("$schema", DIALECT) != DIALECT:
                continue
            try:
                pair = Pair({"http://localhost:1234/case.json": schema}, formats=formats, registry=registry)
            except ValueError:
                continue  # not a schema that Schemas would take: a reference that it cannot follow
            for case in group["tests"]:
                quick += pair.quick is not None
                if pair.differs(case["data"]) or pair.is_worse(case["data"], case["valid"]):
                    wrong.append((path.name, group["description"], case["description"]))
    assert [] == wrong
    assert quick > 700
