"""inbox.verify.schemas: no schema and no payload keeps others waiting, and a check without an end is said to be one."""

import json
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from inbox.core.errors import ConfigError
from inbox.verify.schemas import NOT_IN_TIME, Schemas
from inbox.verify.schemas.patterns import STEPS, Pattern
from inbox.verify.schemas.reference_validator import record
from inbox.verify.schemas.time_limit import CALLS, NotInTime
from inbox.verify.schemas.unique_items import unique
from inbox.verify.schemas.validator import PATIENCE
from tests.verify.schemas.test_compiled import EXAMPLES, NOTHING, NUMBERS, TEXTS, payloads
from tests.verify.schemas.test_compiled import keywords as any_keywords
from tests.verify.schemas.test_validation import folder

EVIL = "^(a+)+$"
"""Python's `re` takes some minutes for it and TEXT."""
TEXT = "a" * 35 + "!"
GENEROUS = 10.0
"""Seconds, where the work takes milliseconds now and took minutes."""

_DEEPER = {"properties": {"a": {"$ref": "#/$defs/n"}}}
TWICE = {"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": [{"required": ["x"], **_DEEPER}, _DEEPER]}}}
"""A circle that is gone twice at each level: twice the work for each level of the payload."""


def nested(levels: int) -> Any:
    payload: Any = {}
    for _ in range(levels):
        payload = {"a": payload}
    return payload


class Ticks:
    """A clock that goes on by a second whenever it is looked at."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> float:
        self.now += 1
        return float(self.now)


# --- patterns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "payload"),
    [
        ({"pattern": EVIL}, TEXT),
        ({"patternProperties": {EVIL: False}, "minProperties": 2}, {TEXT: 1}),
        ({"propertyNames": {"pattern": EVIL}}, {TEXT: 1}),
        ({"patternProperties": {EVIL: True}, "additionalProperties": False}, {TEXT: 1}),
        ({"patternProperties": {EVIL: True}, "unevaluatedProperties": False}, {TEXT: 1}),
        ({"allOf": [{"patternProperties": {EVIL: True}}], "unevaluatedProperties": False}, {TEXT: 1}),
        ({"not": {"not": {"pattern": EVIL}}}, TEXT),
        ({"contains": {"pattern": EVIL}}, [TEXT] * 100),
        ({"pattern": EVIL}, "a" * 200_000 + "!"),
        ({"pattern": EVIL}, "\ud800" + TEXT),
        ({"format": "regex"}, "a" * 200_000 + "|" + "a" * 200_000 + "("),
        ({"format": "date-time"}, "2024-05-21T08:22:32." + "1" * 1_000_000),
    ],
    ids=lambda value: repr(value)[:60],
)
@pytest.mark.parametrize("quick", [True, False])
def test_no_pattern_and_no_format_goes_back_and_forth(tmp_path: Path, schema: Any, payload: Any, quick: bool) -> None:
    """Whatever keyword asks, a text that does not match is known not to, at once."""
    schemas = Schemas(folder(tmp_path, p__default=schema))
    if not quick:
        schemas._compiled = dict.fromkeys(schemas._compiled)
    begun = time.monotonic()
    [violation] = schemas.violations("p", "x", payload, formats="assert")
    assert NOT_IN_TIME not in violation.message
    assert time.monotonic() - begun < GENEROUS


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^a$", "a\n", False),
        (r"^\d$", "٣", False),
        (r"^\w$", "é", False),
        (r"^\p{L}+$", "é", True),
        (r"^(?!\s*$).", " a", True),
        (r"^(?!\s*$).", "  ", False),
        (r"^(a|b)\1$", "aa", True),
        ("^.$", "\ud800", True),
        ("^\ufffd$", "\ud800", True),
        (r"^(?!x).$", "\ud800", True),
    ],
)
def test_patterns_are_those_of_ecma_262(pattern: str, text: str, found: bool) -> None:
    """As JSON Schema has it: classes are ASCII, `$` is the very end; half of a character counts as U+FFFD."""
    assert found == Pattern(pattern).search(text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(?!b)(a+)+(?=c)", "a" * STEPS[0][0]),
        (r"(?!b)a(?=c)", "a" * STEPS[1][0]),
        (r"^(?!b)a", "a" * (STEPS[-1][0] + 1)),
        ("^.{1,255}$", "a" * 100_000),
    ],
    ids=lambda value: value[:20],
)
def test_what_a_pattern_may_cost_is_bounded(tmp_path: Path, pattern: str, text: str) -> None:
    """One that goes back gives up after so many steps, a large one takes no long text; both end as not checked."""
    with pytest.raises(NotInTime):
        Pattern(pattern).search(text)
    for number, schema in enumerate(({"pattern": pattern}, {"not": {"pattern": pattern}})):
        schemas = Schemas(folder(tmp_path / str(number), p__default=schema))
        [violation] = schemas.violations("p", "x", text)
        assert ("", True) == (violation.pointer, violation.message.startswith(NOT_IN_TIME))
        assert number == len(schemas.violations("p", "x", {}))


@pytest.mark.parametrize("pattern", ["^.{1,255}$", r"^\p{L}{1,50}$"])
def test_large_pattern_has_a_quick_test_for_short_texts_only(tmp_path: Path, pattern: str) -> None:
    """What it could cost is counted over all texts of a payload; the rest is left to the validator of record."""
    schemas = Schemas(folder(tmp_path, p__default={"items": {"pattern": pattern}}))
    assert None is schemas.pending("p", "x", ["a" * 40], 0)
    many = ["a" * 40] * 10_000
    pending = schemas.pending("p", "x", many, 10 * 2**20)
    assert pending is not None
    assert () == pending()


def test_patterns_that_go_back_are_named(tmp_path: Path) -> None:
    """Lookaround and references to groups, each once, with the file that holds it, also behind a reference."""
    schemas = Schemas(
        folder(
            tmp_path,
            p__a={"$ref": "_b.json#/x/y", "properties": {"a": {"pattern": "^a(?=b)"}}},
            p___b={"x": {"y": {"pattern": "(?<!a)b"}}, "patternProperties": {"(.)\\1": True}},
            p__c={"$ref": "_b.json", "pattern": "plain"},
        )
    )
    found = [(name, text.partition(" goes ")[0]) for name, text in schemas.warnings]
    assert [
        ("p/_b.json", "the pattern '(.)\\\\1'"),
        ("p/a.json", "the pattern '(?<!a)b'"),
        ("p/a.json", "the pattern '^a(?=b)'"),
    ] == sorted(found)


@pytest.mark.parametrize("pattern", [r"a\Z", "(?P<x>a)(?P=x)", "(?>a)", "a{99999999999}", "(?:a{1000}){1000}", "(a"])
@pytest.mark.parametrize("place", ["pattern", "patternProperties", "$defs", "elsewhere"])
def test_pattern_that_cannot_be_run_is_a_config_error(tmp_path: Path, pattern: str, place: str) -> None:
    """Found at start, with its file, wherever it stands: what is Python's alone, and what would be too large."""
    schema = {
        "pattern": {"pattern": pattern},
        "patternProperties": {"patternProperties": {pattern: True}},
        "$defs": {"$defs": {"x": {"pattern": pattern}}},
        "elsewhere": {"$ref": "#/x/y", "x": {"y": {"pattern": pattern}}},
    }[place]
    with pytest.raises(ConfigError) as caught:
        Schemas(folder(tmp_path, p__default=schema))
    assert caught.value.where.endswith("p/default.json")
    assert (
        "cannot be run" in caught.value.problem
        or "regex" in caught.value.problem
        or "not a schema" in str(caught.value)
    )


# --- the end of a check -----------------------------------------------------------------------------------------------


def test_check_that_takes_too_long_ends(tmp_path: Path) -> None:
    """A schema that doubles its work at each level is not worked on to the end: 2^90 steps would take for ever."""
    begun = time.monotonic()
    [violation] = Schemas(folder(tmp_path, p__default=TWICE)).violations("p", "x", nested(90), seconds=0.2)
    assert violation.message.startswith(f"{NOT_IN_TIME} against p/default.json: ")
    assert time.monotonic() - begun < GENEROUS


def test_limit_is_looked_at_again_and_again(tmp_path: Path) -> None:
    """Between two looks at the clock there are few keywords; a body may take more the larger it is."""
    clock = Ticks()
    schemas = Schemas(folder(tmp_path, p__default=TWICE), worked=clock)
    [violation] = schemas.violations("p", "x", nested(90), seconds=100)
    assert violation.message.startswith(NOT_IN_TIME)
    assert 102 == clock.now
    pending = schemas.pending("p", "x", nested(90), 2**20)
    assert pending is not None
    clock.now = 0
    assert pending()[0].message.startswith(NOT_IN_TIME)
    assert 4 == clock.now  # the begin, and one more than 2.25 s
    assert CALLS < 100


def test_check_that_waited_too_long_is_not_made(tmp_path: Path) -> None:
    """Its patience begins when it is asked for; one that is called in time is made."""
    now = [0.0]
    schemas = Schemas(folder(tmp_path, p__default={"type": "null"}), steady=lambda: now[0])
    pending = schemas.pending("p", "x", 1, 1)
    assert pending is not None
    now[0] = PATIENCE
    assert "1 is not of type 'null'" == pending()[0].message
    now[0] = PATIENCE + 1
    assert pending()[0].message.startswith(f"{NOT_IN_TIME}: others took 5 s")


def test_limit_ends_with_its_check(tmp_path: Path) -> None:
    """The next check in the same thread begins anew, whether the one before came to its end or not."""
    schemas = Schemas(folder(tmp_path, p__default=TWICE))
    for _ in range(2):
        assert schemas.violations("p", "x", nested(90), seconds=0.05)
        assert () == schemas.violations("p", "x", nested(2))


# --- uniqueItems and what is unevaluated ------------------------------------------------------------------------------


def equal(one: Any, two: Any) -> bool:
    """Tell what JSON Schema calls equal, in the plainest way (section 4.2.2)."""
    if isinstance(one, bool) or isinstance(two, bool) or one is None or two is None:
        return one is two
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(equal, one, two))
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(equal(one[name], two[name]) for name in one)
    return bool(one == two)


@settings(max_examples=EXAMPLES * 4, deadline=None)
@example([1, 1.0])
@example([True, 1])
@example([[1], [True], [1]])
@example([0.0, -0.0])
@example([{"a": 1, "b": 2}, {"b": 2.0, "a": 1.0}])
@example(["1", 1])
@example([None, "None"])
@example([2**53 + 1, 2.0**53])
@example([10**400, 10**400])
@example([[], {}])
@example([["a"], {"a": "a"}])
@example([["n", "1"], 1])
@example(["true", True])
@given(st.lists(payloads | st.sampled_from(NUMBERS) | st.sampled_from([*TEXTS, True, False, None, [], {}]), max_size=8))
def test_unique_is_what_json_schema_calls_so(items: list[Any]) -> None:
    """The same as comparing each with each."""
    assert unique(items) == (not any(equal(one, two) for one, two in combinations(items, 2)))


@pytest.mark.parametrize(
    "items",
    [
        [{"a": number} for number in range(20_000)],
        [[str(number)] for number in range(20_000)],
        [number * (2**61 - 1) for number in range(20_000)],
        [float(number * (2**61 - 1)) for number in range(1, 200)] + [2.0**-number for number in range(1000)],
        [[number * (2**61 - 1)] for number in range(20_000)],
    ],
    ids=["objects", "lists", "numbers with one hash", "floats", "lists with one hash"],
)
@pytest.mark.parametrize("quick", [True, False])
def test_unique_items_takes_no_square_of_time(tmp_path: Path, items: list[Any], quick: bool) -> None:
    """Also where Python's hash of all numbers is the same, which a sender can arrange."""
    schemas = Schemas(folder(tmp_path, p__default={"uniqueItems": True}))
    if not quick:
        schemas._compiled = dict.fromkeys(schemas._compiled)
    begun = time.monotonic()
    assert () == schemas.violations("p", "x", items)
    assert ["has non-unique elements"] == [
        violation.message[-23:] for violation in schemas.violations("p", "x", [*items, items[7]])
    ]
    assert time.monotonic() - begun < GENEROUS


def test_unevaluated_takes_no_square_of_time(tmp_path: Path) -> None:
    """jsonschema looks for each item in a list of all others: 5 s for 25,000."""
    items = {"contains": {"type": "integer"}, "unevaluatedItems": False}
    members = {"allOf": [{"additionalProperties": {"type": "integer"}}], "unevaluatedProperties": False}
    schemas = Schemas(folder(tmp_path, p__items=items, p__members=members))
    begun = time.monotonic()
    assert () == schemas.violations("p", "items", list(range(50_000)))
    assert () == schemas.violations("p", "members", {str(number): number for number in range(20_000)})
    assert time.monotonic() - begun < GENEROUS


NO_OTHER = ("pattern", "patternProperties", "uniqueItems", "format", "$ref")
"""What the validator of record understands in its own way, or what has nowhere to lead to here."""


@settings(max_examples=EXAMPLES * 2, deadline=None)
@given(
    any_keywords,
    st.sampled_from(["unevaluatedItems", "unevaluatedProperties", "additionalProperties"]),
    any_keywords,
    payloads,
)
def test_record_says_what_jsonschema_says(schema: Any, keyword: str, inner: Any, payload: Any) -> None:
    """Our own keywords and our own way from schema to schema change nothing of what is valid."""
    schema = {
        "$schema": Draft202012Validator.META_SCHEMA["$id"],
        **schema,
        keyword: inner,
        "allOf": [{**schema, keyword: inner}, inner],
    }
    if any(f'"{name}"' in json.dumps(schema) for name in NO_OTHER):
        return
    try:
        said = Draft202012Validator(schema).is_valid(payload)
    except Exception:
        return
    assert said == record(schema, NOTHING, None).is_valid(payload)
