"""verify.schemas: which bytes are JSON that can be read in one way only, and what a folder of schemas makes of it."""

import json
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.core.errors import ConfigError, Malformed, Violation
from inbox.verify.schemas import DIALECT, MAX_DEPTH, MAX_TEXT, MAX_VIOLATIONS, Schemas, parse
from inbox.verify.schemas.strict_json import values_at_most

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def folder(root: Path, **files: Any) -> Path:
    """Write schema files; `a__b` is the file a/b.json, bytes are written as they are."""
    for name, content in files.items():
        path = root / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return root


# --- parse ----------------------------------------------------------------------------------------------------------


@given(JSON)
def test_parse_returns_what_was_written(payload: Any) -> None:
    """Every JSON value comes back as it was, with and without a byte order mark and white space around it."""
    body = json.dumps(payload, ensure_ascii=True).encode()
    assert payload == parse(body)
    assert payload == parse(b"\xef\xbb\xbf \r\n" + body + b"\t\n")


@given(st.binary())
def test_parse_raises_nothing_but_malformed(body: bytes) -> None:
    """Whatever the bytes are, there is a payload or a Malformed."""
    with suppress(Malformed):
        parse(body)


PIECES = ["{", "}", "[", "]", ",", ":", '"', '"a"', '"\\u0061"', '"a": 1', '{"a": 1, "b": 2}', '{"a": {}, "a": []}']
PIECES += [
    "1",
    "-",
    "0",
    "-0",
    "1.5",
    "1e5",
    "1e999",
    "-1E+400",
    "9" * 400 + ".0",
    "9" * 4301,
    "NaN",
    "-Infinity",
    "null",
]
PIECES += [
    "tru",
    "\ufeff",
    " ",
    "\r\n",
    "\0",
    "\\",
    '"\\ud800"',
    '"\u2028"',
    "[" * 50,
    "]" * 50,
    '{"a":' * 50,
    "}" * 50,
    "\x0c",
]


def read_plainly(body: bytes) -> Any:
    """Return what json.loads makes of the body, with each rule of `parse` written in the plainest way."""

    def number(text: str) -> float:
        if abs(float(text)) == float("inf"):
            raise ValueError(text)
        return float(text)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    def depth(item: Any) -> int:
        children = item.values() if isinstance(item, dict) else item if isinstance(item, list) else None
        return 0 if children is None else 1 + max(map(depth, children), default=0)

    text = body.decode("utf-8").removeprefix("\ufeff")
    payload = json.loads(text, parse_constant=int, parse_float=number, object_pairs_hook=unique)
    if depth(payload) > MAX_DEPTH:
        raise ValueError("deep")
    return payload


def outcome(read: Any, body: bytes) -> str:
    try:
        return repr(read(body))
    except (Malformed, ValueError, RecursionError):
        return "refused"


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | JSON.map(json.dumps))
def test_parse_reads_as_the_plain_rules_do(text: str) -> None:
    """The quick reader gives the same value, or refuses, wherever json.loads with plainly written rules does."""
    for body in (text, f"[{text}]", f'{{"a": {text}, "b": {text}}}', "[" * 98 + text + "]" * 98):
        assert outcome(read_plainly, body.encode()) == outcome(parse, body.encode())


@pytest.mark.parametrize(
    ("body", "diagnosis"),
    [
        (b"", "is empty"),
        (b" \r\n\t", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\xef\xbb\xbf\n", "is empty"),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}", "is not JSON: unexpected utf-8 bom"),
        (b"\xc2\xa0", "is not JSON: expecting value at line 1, column 1"),
        (b"\x00", "is not JSON: expecting value at line 1, column 1"),
        (b"{}\x00", "is not JSON: extra data at line 1, column 3"),
        (b'{"a": "\x00"}', "is not JSON: invalid control character at"),
        (b'"\xff"', "is not UTF-8: byte 1 cannot be decoded"),
        (b'\xef\xbb\xbf"\xff"', "is not UTF-8: byte 4 cannot be decoded"),
        (b'"\xed\xa0\x80"', "is not UTF-8: byte 1 cannot be decoded"),
        (b'"\xc0\xaf"', "is not UTF-8: byte 1 cannot be decoded"),
        ('{"a": 1}'.encode("utf-16"), "is not UTF-8: byte 0 cannot be decoded"),
        ('{"a": 1}'.encode("utf-16-le"), "is not JSON: expecting property name"),
        ('{"a": 1}'.encode("utf-32"), "is not UTF-8: byte 0 cannot be decoded"),
        (b"NaN", "is not JSON: NaN is not a JSON number"),
        (b'{"a": [Infinity]}', "is not JSON: Infinity is not a JSON number"),
        (b"-Infinity", "is not JSON: -Infinity is not a JSON number"),
        (b"1e999", "is JSON with the number 1e999, which is too large to be read"),
        (b"[-1.5E+400]", "is JSON with the number -1.5E+400, which is too large to be read"),
        (b"9" * 5000, "is JSON with a whole number of too many digits"),
        (b"-" + b"9" * 5000, "is JSON with a whole number of too many digits"),
        (b"9" * 5000 + b".0", "is JSON with the number 99999999999999999999, which is too large to be read"),
        (b'{"a": 1, "a": 1}', "is JSON with the key 'a' twice in one object"),
        (b'[{"b": {"a": 1, "\\u0061": 2}}]', "is JSON with the key 'a' twice in one object"),
        (b'{"\\ud800": 1, "\\ud800": 2}', r"is JSON with the key '\ud800' twice in one object"),
        (b"{} {}", "is not JSON: extra data at line 1, column 4"),
        (b"{}garbage", "is not JSON: extra data at line 1, column 3"),
        (b'{"a": 1,}', "is not JSON: "),
        (b"{'a': 1}", "is not JSON: "),
        (b'{"a": 1', "is not JSON: "),
        (b"a=1&b=2", "is not JSON: expecting value at line 1, column 1"),
        (b"01", "is not JSON: extra data at line 1, column 2"),
        (b"+1", "is not JSON: expecting value at line 1, column 1"),
        (b"0x10", "is not JSON: extra data at line 1, column 2"),
        (b'"\\x41"', "is not JSON: invalid \\escape"),
        (b"\xd9\xa1", "is not JSON: expecting value at line 1, column 1"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "is JSON nested deeper than 100 levels"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "is JSON nested deeper than 100 levels"),
        (b"[" * 100_000 + b"]" * 100_000, "is JSON nested deeper than 100 levels"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "is JSON nested deeper than 100 levels"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_parse_refuses_what_two_readers_could_understand_in_two_ways(body: bytes, diagnosis: str) -> None:
    """Bytes that are not JSON, or JSON only to some, are Malformed with a diagnosis on one short line."""
    with pytest.raises(Malformed) as raised:
        parse(body)
    assert raised.value.diagnosis.startswith(f"the body {diagnosis}")
    assert len(raised.value.diagnosis) < 2 * MAX_TEXT
    assert raised.value.diagnosis.isprintable()


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'"\\ufeff"', "\ufeff"),
        (b'"\\u0000"', "\0"),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\ud800"', "\ud800"),
        (b'{"a": 1, "A": 1, "": 1}', {"a": 1, "A": 1, "": 1}),
        (b"9" * 4000, int("9" * 4000)),
        (b"1e308", 1e308),
        (b"1e-999", 0.0),
        (b"-0.0", -0.0),
        (b'[{"a": 1}, {"a": 1}]', [{"a": 1}, {"a": 1}]),
        (b"[" + b"[]," * 500 + b"[]]", [[]] * 501),
        (b'"' + b"[" * 500 + b'"', "[" * 500),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_parse_accepts_unusual_json(body: bytes, payload: Any) -> None:
    """A byte order mark, escapes of any code point, and large numbers are read: some senders write them."""
    assert payload == parse(body)


@pytest.mark.parametrize("inner", ["", "1"])
def test_parse_accepts_nesting_up_to_the_limit(inner: str) -> None:
    """Exactly MAX_DEPTH levels are read, whether or not the innermost one holds something."""
    assert isinstance(parse(("[" * MAX_DEPTH + inner + "]" * MAX_DEPTH).encode()), list)


def test_parse_finds_a_repeated_key_in_time() -> None:
    """One repeated key among 100,000 is found without comparing each with each."""
    body = "{" + ",".join(f'"k{number}":0' for number in range(100_000)) + ',"k99999":1}'
    started = time.monotonic()
    with pytest.raises(Malformed, match="the key 'k99999' twice"):
        parse(body.encode())
    assert time.monotonic() - started < 5


def test_parse_cuts_a_long_key_in_its_diagnosis() -> None:
    """A repeated key of any length does not make the diagnosis long."""
    key = json.dumps("k" * 100_000)
    with pytest.raises(Malformed) as raised:
        parse(f"{{{key}: 1, {key}: 2}}".encode())
    assert len(raised.value.diagnosis) < 2 * MAX_TEXT


# --- which file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_type", "name"),
    [
        ("a.b.c", "p/a.b.c.json"),
        ("a.b.c.d", "p/a.b.c.json"),
        ("a.b.x", "p/a.b.json"),
        ("a.x.c", "p/a.json"),
        ("a", "p/a.json"),
        ("A", "p/default.json"),
        ("ab", "p/default.json"),
        ("", "p/default.json"),
        (".", "p/default.json"),
        ("a..b", "p/a.json"),
        ("orders/create", "p/orders/create.json"),
        ("orders/delete", "p/default.json"),
        ("_shared", "p/default.json"),
        ("_shared.a", "p/default.json"),
        ("orders/_part", "p/default.json"),
        ("../q/secret", "p/default.json"),
        ("../q/default", "p/default.json"),
        ("./a", "p/default.json"),
        ("/q/secret", "p/default.json"),
        ("orders/../a", "p/default.json"),
        ("..", "p/default.json"),
        ("a\0", "p/default.json"),
        ("\ud800", "p/default.json"),
        ("*", "p/default.json"),
    ],
)
def test_type_chooses_its_own_file_then_a_shorter_one_then_the_default(
    tmp_path: Path, event_type: str, name: str
) -> None:
    """A type leads to its file, to that of a shorter type or to default.json, and never out of the folder."""
    names = ["a", "a.b", "a.b.c", "default", "_shared", "orders__create", "orders___part"]
    schemas = Schemas(folder(tmp_path, **{f"p__{name}": {} for name in names}, q__secret={}, q__default={}))
    assert name == schemas.file("p", event_type)
    assert name == schemas.file("p", event_type)


def test_absolute_path_as_type_reaches_no_file(tmp_path: Path) -> None:
    """A type that is the path of a schema file, absolute and as a URI, does not choose that file."""
    path = folder(tmp_path, p__a=False, q__a=False) / "q" / "a"
    schemas = Schemas(tmp_path)
    assert [None, None, None] == [schemas.file("p", name) for name in (str(path), path.as_uri(), f"/{path}")]


def test_provider_without_files_accepts_everything(tmp_path: Path) -> None:
    """Without a schema there is no violation, for a provider without a folder and for one without a default."""
    schemas = Schemas(folder(tmp_path, p__a=False))
    assert ((), ()) == (schemas.violations("q", "a", None), schemas.violations("p", "b", None))
    assert (None, None) == (schemas.file("q", "a"), schemas.file("p", "b"))


def test_files_with_a_leading_dot_are_not_read(tmp_path: Path) -> None:
    """What editors and mounted volumes leave behind is no schema."""
    path = folder(tmp_path, p__default={}, **{"p__.#default": b"lock", "p__..2024__default": b"old", ".git__x": b"x"})
    assert "p/default.json" == Schemas(path).file("p", "..2024/default")


def test_relative_folder_and_links_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder may be relative, hold dots and be reached through a link."""
    folder(tmp_path / "real name", p__default={"$ref": "_a.json"}, p___a=False)
    (tmp_path / "link").symlink_to("real name", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    for path in ("real name", "./link/../real name", "link"):
        assert 1 == len(Schemas(Path(path)).violations("p", "a", 1))


# --- violations -----------------------------------------------------------------------------------------------------


def test_violations_are_sorted_by_place(tmp_path: Path) -> None:
    """Violations come in the order of their places; the tenth item stands behind the second."""
    schemas = Schemas(
        folder(
            tmp_path,
            p__default={
                "properties": {"b": {"items": {"type": "string"}}, "a~/": {"type": "null"}},
                "required": ["c"],
            },
        )
    )
    found = schemas.violations("p", "x", {"b": ["", 1, 2, "", "", "", "", "", "", "", 10], "a~/": 1})
    assert ["", "/a~0~1", "/b/1", "/b/2", "/b/10"] == [violation.pointer for violation in found]
    assert Violation("/b/10", "10 is not of type 'string'") == found[-1]
    assert "'c' is a required property" == found[0].message


def test_violations_are_bounded_and_not_repeated(tmp_path: Path) -> None:
    """However much is wrong, no more than MAX_VIOLATIONS are returned, and none of them twice."""
    schemas = Schemas(folder(tmp_path, p__a={"items": {"type": "null"}}, p__b={"allOf": [{"type": "null"}] * 2}))
    assert MAX_VIOLATIONS == len(schemas.violations("p", "a", list(range(1000))))
    assert 1 == len(schemas.violations("p", "b", 1))


def test_violations_are_short_and_printable(tmp_path: Path) -> None:
    """Values and keys of any length and content make pointers and messages that fit into a table and are UTF-8."""
    schemas = Schemas(folder(tmp_path, p__default={"additionalProperties": {"type": "null"}}))
    for text in ("x" * 1_000_000, "\ud800", "\0\n\x1b[2J\u202e", "\ud800" * 1000):
        [violation] = schemas.violations("p", "x", {text: text})
        assert len(violation.pointer) <= MAX_TEXT
        assert len(violation.message) <= MAX_TEXT
        assert str(violation).isprintable()
        assert str(violation).encode()


@pytest.mark.parametrize(
    ("schema", "payload"),
    [
        ({"multipleOf": 0.01}, 10**400),
        ({"$ref": "#"}, {}),
        ({"items": {"$ref": "#"}}, json.loads("[" * 400 + "]" * 400)),
    ],
)
def test_what_the_validator_fails_on_is_a_violation(tmp_path: Path, schema: Any, payload: Any) -> None:
    """A payload that makes the validator itself fail is quarantined like any other, not an error of the receiver."""
    [violation] = Schemas(folder(tmp_path, p__default=schema)).violations("p", "x", payload, formats="assert")
    assert "" == violation.pointer
    assert violation.message.startswith("cannot be checked against p/default.json: ")


def test_recursive_schemas_work_down_to_the_deepest_payload(tmp_path: Path) -> None:
    """A schema may refer to itself; the deepest payload that is read can be checked against it."""
    tree = {"$id": "tree.json", "type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}
    schemas = Schemas(folder(tmp_path, p__default=tree))
    deep = '{"next":' * MAX_DEPTH + "%s" + "}" * MAX_DEPTH
    assert () == schemas.violations("p", "x", parse((deep % "null").encode()))
    [violation] = schemas.violations("p", "x", parse((deep % "1").encode()))
    assert "/next" == violation.pointer


# --- formats --------------------------------------------------------------------------------------------------------

TIMES = ["2024-05-21T08:22:32.45Z", "2024-05-21t08:22:32z", "2024-02-29T23:59:60+05:30", "2024-01-01T00:00:00.1234567Z"]
NOT_TEXT: tuple[Any, ...] = (None, 1, [], {})
NOT_TIMES = [
    "",
    "yesterday",
    "2024-05-21",
    "2024-13-01T00:00:00Z",
    "2023-02-29T00:00:00Z",
    "2024-05-21T24:00:00Z",
    "2024-05-21T08:22:61Z",
    "2024-05-21T08:22:32",
    "2024-05-21 08:22:32Z",
    "2024-05-21T08:22:32+24:00",
    "0000-01-01T00:00:00Z",
    "2024-05-21T08:22:32Z\n",
    "٢٠٢٤-05-21T08:22:32Z",
    "1716279752",
]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date-time", TIMES, NOT_TIMES),
        ("date", ["2024-02-29"], ["2023-02-29", "20240229", "today"]),
        ("email", ["a@example.com"], ["a.example.com", ""]),
        ("idn-email", ["ä@example.com"], ["ä"]),
        ("uuid", ["e6ae112e-2af3-4d72-894b-03435d7afde4"], ["e6ae112e", "e6ae112e2af34d72894b03435d7afde4"]),
        ("ipv4", ["127.0.0.1"], ["127.0.0.256", "::1"]),
        ("ipv6", ["::1"], ["127.0.0.1", "::g"]),
        ("regex", ["^a+$"], ["(", "[z-a]"]),
    ],
)
def test_formats_reject_only_when_they_are_asserted(tmp_path: Path, name: str, good: list[str], bad: list[str]) -> None:
    """`format` says nothing by default; with formats = "assert" it is checked, for text only."""
    schemas = Schemas(folder(tmp_path, p__default={"format": name}))
    assert [] == [text for text in (*good, *bad) if schemas.violations("p", "x", text)]
    assert bad == [text for text in (*good, *bad) if schemas.violations("p", "x", text, formats="assert")]
    assert [] == [value for value in NOT_TEXT if schemas.violations("p", "x", value, formats="assert")]


def test_unknown_formats_pass(tmp_path: Path) -> None:
    """A format that nothing here can check does not reject, also when formats are asserted."""
    schemas = Schemas(folder(tmp_path, p__default={"format": "phone-number"}))
    assert () == schemas.violations("p", "x", "not a number", formats="assert")


# --- folders that cannot be used ------------------------------------------------------------------------------------


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    """A misspelt folder is noticed at start; an empty one is fine."""
    with pytest.raises(ConfigError, match="schemata: not a folder"):
        Schemas(tmp_path / "schemata")
    assert None is Schemas(tmp_path).file("p", "x")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"{", "the file is not JSON: "),
        (b"# a comment", "the file is not JSON: "),
        (b"\xff\xfe{}", "the file is not UTF-8: "),
        (b'{"type": "null", "type": "string"}', "the file is JSON with the key 'type' twice"),
        (b'{"items":' * 50_000 + b"{}" + b"}" * 50_000, "the file is JSON nested deeper"),
        ([], "not a valid schema at /: [] is not of type 'object', 'boolean'"),
        (None, "not a valid schema at /: None is not of type"),
        ({"properties": {"a": {"type": "text"}}}, "not a valid schema at /properties/a/type: 'text' is not"),
        ({"required": "id"}, "not a valid schema at /required: 'id' is not of type 'array'"),
        ({"pattern": "("}, "not a valid schema at /pattern: '(' is not a 'regex'"),
        ({"$ref": 5}, "not a valid schema at /$ref: 5 is not of type 'string'"),
        ({"$id": 5}, "not a valid schema at /$id: 5 is not of type 'string'"),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#"},
            "$schema is 'http://json-schema.org/draft-07/schema#'",
        ),
        ({"$id": "http://[x"}, "$id 'http://[x' is not a URI"),
        ({"$ref": "missing.json"}, "$ref 'missing.json' names nothing in the folder"),
        ({"$ref": "#/$defs/missing"}, "$ref '#/$defs/missing' names nothing in the folder"),
        ({"$ref": "#anchor"}, "$ref '#anchor' names nothing in the folder"),
        ({"$ref": "#/allOf/x", "allOf": [{}]}, "$ref '#/allOf/x' names nothing in the folder"),
        ({"$ref": "#/allOf/7", "allOf": [{}]}, "$ref '#/allOf/7' names nothing in the folder"),
        ({"$ref": "http://[x"}, "$ref 'http://[x' names nothing in the folder"),
        ({"$ref": "http://localhost/x.json"}, "$ref 'http://localhost/x.json' names nothing in the folder"),
        ({"$ref": "https://example.com/x.json#/a"}, "$ref 'https://example.com/x.json#/a' names nothing"),
        ({"$ref": "file:///etc/hostname"}, "$ref 'file:///etc/hostname' names nothing in the folder"),
        ({"$ref": "../../outside.json"}, "$ref '../../outside.json' names nothing in the folder"),
        ({"items": {"not": {"$ref": "missing.json"}}}, "$ref 'missing.json' names nothing in the folder"),
        ({"properties": {"const": {"$ref": "missing.json"}}}, "$ref 'missing.json' names nothing in the folder"),
        ({"properties": {"enum": {"$ref": "missing.json"}}}, "$ref 'missing.json' names nothing in the folder"),
        ({"$dynamicRef": "#missing"}, "$ref '#missing' names nothing in the folder"),
        ({"$ref": "#/x/a", "x": {"a": {"$ref": "missing.json"}}}, "$ref 'missing.json' names nothing in the folder"),
        ({"$ref": "#/x/a", "x": {"a": {"type": "text"}}}, "$ref '#/x/a' names something that is not a schema"),
        ({"$ref": "#/title", "title": "x"}, "$ref '#/title' names something that is not a schema"),
        ({"$id": "https://example.com/a.json", "$ref": "other.json"}, "$ref 'other.json' names nothing in the folder"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_broken_file_is_a_config_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, problem: str
) -> None:
    """What is not a schema, or refers out of the folder, is found at start, with file and reason, without network."""

    def no_network(*arguments: object) -> None:
        raise AssertionError(f"the network was used: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    folder(tmp_path, outside={})
    with pytest.raises(ConfigError) as raised:
        Schemas(folder(tmp_path / "schemas", p__default=content, p__other={}, q__default={}))
    assert str(tmp_path / "schemas" / "p" / "default.json") == raised.value.where
    assert raised.value.problem.startswith(problem)
    assert raised.value.problem.isprintable()


def test_schema_beyond_the_stack_is_a_config_error(tmp_path: Path) -> None:
    """A file that cannot be checked for want of stack is named, too."""
    path = folder(tmp_path, p__default=b'{"items":' * 99 + b"{}" + b"}" * 99)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(500)
    try:
        with pytest.raises(ConfigError, match="nested too deeply"):
            Schemas(path)
    finally:
        sys.setrecursionlimit(before)


def test_unreadable_file_is_a_config_error(tmp_path: Path) -> None:
    """A folder called x.json and a link to nothing are named, not skipped."""
    for make in (Path.mkdir, lambda path: path.symlink_to("nothing")):
        path = tmp_path / make.__name__.strip("<>") / "p" / "x.json"
        path.parent.mkdir(parents=True)
        make(path)
        with pytest.raises(ConfigError, match="cannot be read: "):
            Schemas(path.parent.parent)


# --- references -----------------------------------------------------------------------------------------------------


def test_references_lead_to_siblings_parts_anchors_and_other_folders(tmp_path: Path) -> None:
    """Relative $ref works from file to file, and from there on relative to that file."""
    schemas = Schemas(
        folder(
            tmp_path,
            p__a={"$ref": "_shared.json#/$defs/text"},
            p__b={"$ref": "../q/default.json"},
            p__c={"$ref": "_shared.json#named"},
            p___shared={
                "$defs": {
                    "text": {"$ref": "#/$defs/real"},
                    "real": {"type": "string"},
                    "anchored": {"$anchor": "named", "type": "null"},
                }
            },
            q__default={"$ref": "_local.json"},
            q___local={"type": "integer"},
        )
    )
    for name, good, bad in (("a", "x", 1), ("b", 1, "x"), ("c", None, 1)):
        assert () == schemas.violations("p", name, good)
        assert 1 == len(schemas.violations("p", name, bad))


def test_id_in_a_file_works(tmp_path: Path) -> None:
    """A file with $id can be referred to by it, its relative references start from it, and nested ids do the same."""
    base = "https://example.com/schemas"
    schemas = Schemas(
        folder(
            tmp_path,
            p__a={"$schema": DIALECT, "$id": f"{base}/a.json", "$ref": "b.json#/$defs/text"},
            p__b={"$id": f"{base}/b.json", "$defs": {"text": {"$ref": "#/$defs/real"}, "real": {"type": "string"}}},
            p__c={"$ref": f"{base}/b.json#/$defs/real"},
            p__d={
                "$ref": "#/$defs/inner",
                "$defs": {
                    "inner": {
                        "$id": "inner.json",
                        "$ref": "#/$defs/x",
                        "$defs": {"x": {"type": "string"}},
                    }
                },
            },
        )
    )
    for name in "acd":
        assert () == schemas.violations("p", name, "x")
        assert ["1 is not of type 'string'"] == [violation.message for violation in schemas.violations("p", name, 1)]


@pytest.mark.parametrize("name", ["b.json", "https://example.com/x", "../q/a.json"])
def test_id_of_another_file_is_refused(tmp_path: Path, name: str) -> None:
    """Two files with one name would leave open which one is meant."""
    path = folder(tmp_path, p__a={"$id": name}, p__b={"$id": "https://example.com/x"}, q__a={})
    with pytest.raises(ConfigError, match="already names "):
        Schemas(path)


@pytest.mark.parametrize(
    "schema",
    [
        {"const": {"$ref": "missing.json"}},
        {"enum": [{"$ref": "missing.json"}]},
        {"anyOf": [{"enum": [{"$ref": "missing.json"}]}]},
    ],
)
def test_constants_that_look_like_references_are_none(tmp_path: Path, schema: Any) -> None:
    """A value to compare with may look like a reference; it is compared, not followed."""
    schemas = Schemas(folder(tmp_path, p__default=schema))
    assert () == schemas.violations("p", "x", {"$ref": "missing.json"})
    assert 1 == len(schemas.violations("p", "x", {}))


def test_properties_may_be_called_like_keywords(tmp_path: Path) -> None:
    """Payloads whose fields are called $ref, const or enum can be described, and their schemas' references count."""
    schemas = Schemas(
        folder(
            tmp_path,
            p__default={
                "examples": [{"$ref": "missing.json"}],
                "default": {"$ref": "missing.json"},
                "properties": {
                    "$ref": {"type": "string"},
                    "const": {"$ref": "#/$defs/n"},
                    "enum": {"$ref": "#/$defs/n"},
                },
                "$defs": {"n": {"type": "integer"}},
            },
        )
    )
    assert () == schemas.violations("p", "x", {"$ref": "missing.json", "const": 1, "enum": 2})
    found = schemas.violations("p", "x", {"$ref": 1, "const": "", "enum": ""})
    assert ["/$ref", "/const", "/enum"] == [violation.pointer for violation in found]


@pytest.mark.parametrize("body", [b"[" + b"[]," * 40 + b"[]]", b'{"a":{"b":[' + b"1," * 99 + b"1]}}"])
def test_too_many_values_are_told_before_any_is_made(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Brackets, commas and colons are counted, nothing is decoded; without a limit the same text is read."""
    assert parse(body) == parse(body, most=1000) == json.loads(body)
    monkeypatch.setattr("inbox.verify.schemas.strict_json._decode", None)
    with pytest.raises(Malformed, match="more than 40 values"):
        parse(body, most=40)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_values_are_never_undercounted(payload: Any) -> None:
    """However many there are, keys too, the bound is as large."""

    def count(item: Any) -> int:
        if isinstance(item, dict):
            return 1 + len(item) + sum(map(count, item.values()))
        return 1 + sum(map(count, item)) if isinstance(item, list) else 1

    assert count(payload) <= values_at_most(json.dumps(payload).encode())


def test_true_and_false_are_schemas(tmp_path: Path) -> None:
    """A file may hold nothing but true or false, with or without a byte order mark."""
    schemas = Schemas(folder(tmp_path, p__yes=True, p__no=b"\xef\xbb\xbffalse"))
    assert () == schemas.violations("p", "yes", None)
    assert 1 == len(schemas.violations("p", "no", None))
