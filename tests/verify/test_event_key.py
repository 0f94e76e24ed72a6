"""Keys and types: every rule, payloads that no sender would write, and the bounds of what goes into tables."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.core.models import Request, Verified
from inbox.verify.event_key import (
    _UNSAFE,
    MAX_KEY,
    MAX_TYPE,
    REQUEST_ID,
    RULES,
    check_rule,
    content_digest,
    event_key,
    event_type,
    find,
    network,
    pointed,
    printable,
    request_id,
)
from tests.store.test_sqlite import exit_code, in_fork

DIGEST = bytes(range(32))
BY_DIGEST = f"sha256:{DIGEST.hex()}"
NOBODY = Verified("test")
REQUEST = Request(
    path="acme/orders", query="id=7&empty=&id=8&na%20me=a+b", headers=(("x-event-id", "evt_1"), ("x-empty", ""))
)


def key(*rules: str, payload: Any = None, request: Request = REQUEST, verified: Verified = NOBODY) -> str:
    """Return the key under these rules."""
    return event_key(rules, request, payload, verified, DIGEST)


@pytest.mark.parametrize(
    "rule",
    ["json:/id", "json:/", "json:/a/0/~1b", "header:X-Id", "query:id", "query:na me", "path", "path:1", "path:9",
     "body", "token", "=door.opened"],
)  # fmt: skip
def test_documented_rule_is_allowed(rule: str) -> None:
    """Each form that RULES names passes."""
    check_rule(rule)


@pytest.mark.parametrize(
    "rule",
    ["", "id", "json", "json:", "json:id", "header:", "header:X Id", "header:é", "query:", "path:", "path:0",
     "path:10", "path:x", "bodies", "body:x", "token:x", "=", "JSON:/id", " body"],
)  # fmt: skip
def test_other_rule_is_an_error(rule: str) -> None:
    """What is not a rule is repeated with everything that is one."""
    with pytest.raises(ValueError, match="is not a rule; allowed: ") as caught:
        check_rule(rule)
    assert all(allowed in str(caught.value) for allowed in RULES)
    assert repr(rule) in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("json:/id", "7"),
        ("json:/data/items/1/name", "second"),
        ("json:/a~1b/c~0d", "escaped"),
        ("json:/", "empty name"),
        ("json:/text", None),
        ("json:/data", None),
        ("json:/data/items", None),
        ("json:/data/items/2", None),
        ("json:/data/items/-", None),
        ("json:/data/items/x", None),
        ("json:/id/x", None),
        ("json:/null", None),
        ("json:/true", None),
        ("json:/float", None),
        ("json:/missing/deeper", None),
        ("header:X-Event-Id", "evt_1"),
        ("header:x_event_id", "evt_1"),
        ("header:X-Other", None),
        ("query:id", "8"),
        ("query:na me", "a b"),
        ("query:other", None),
        ("path", "acme/orders"),
        ("path:1", "acme"),
        ("path:2", "orders"),
        ("path:3", None),
        ("=door.opened", "door.opened"),
        ("body", None),
        ("token", None),
    ],
)
def test_rule_finds_what_it_names(rule: str, expected: str | None) -> None:
    """Only text and whole numbers are found; true, null, fractions and containers are not."""
    payload = {
        "id": 7,
        "": "empty name",
        "text": "",
        "null": None,
        "true": True,
        "float": 7.0,
        "data": {"items": [{"name": "first"}, {"name": "second"}]},
        "a/b": {"c~d": "escaped"},
    }
    assert find(rule, REQUEST, payload) == expected


@pytest.mark.parametrize("payload", [None, True, 7, 7.5, "text", [], [[]], {}, {"id": {}}, {"id": []}])
def test_other_payload_has_no_key_of_its_own(payload: Any) -> None:
    """A payload without the member gives the digest, whatever it is."""
    assert key("json:/id", payload=payload) == BY_DIGEST


def test_first_rule_that_finds_something_wins() -> None:
    """Rules are tried in order, and an empty header is as good as none."""
    rules = ("header:X-Empty", "json:/id", "header:X-Event-Id")
    assert key(*rules, payload={"id": "a"}) == "a"
    assert key(*rules, payload={}) == "evt_1"
    assert key() == key("json:/id", payload={}) == BY_DIGEST


def test_body_rule_ends_the_search() -> None:
    """Rules after `body` are never reached."""
    assert key("body", "header:X-Event-Id") == BY_DIGEST


def test_token_rule_takes_the_key_of_the_credential() -> None:
    """The verifier's key is used where it has one, else the next rule."""
    assert key("token", verified=Verified("test", 0, "token:1")) == "token:1"
    assert key("token", "header:X-Event-Id") == "evt_1"


def test_whole_number_is_a_key_and_true_is_not() -> None:
    """JSON's 1 and true are different things, and so are their keys."""
    assert key("json:/id", payload={"id": 1}) == "1"
    assert key("json:/id", payload={"id": 0}) == "0"
    assert key("json:/id", payload={"id": True}) == BY_DIGEST


def test_long_key_is_shortened_to_its_digest() -> None:
    """Up to MAX_KEY characters stay; longer keys stay different by their whole text."""
    longest = "k" * MAX_KEY
    assert key("json:/id", payload={"id": longest}) == longest
    first, second = (key("json:/id", payload={"id": longest + end}) for end in "ab")
    assert first == f"sha256:{sha256((longest + 'a').encode()).hexdigest()}"
    assert first != second


def test_escapes_count_towards_the_length() -> None:
    """A key that grows by its escapes is bounded too."""
    assert key("json:/id", payload={"id": "\x00" * MAX_KEY}).startswith("sha256:")
    assert key("json:/id", payload={"id": "\ud800" * (MAX_KEY + 1)}).startswith("sha256:")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 日本 🚪", "plain ü 日本 🚪"),
        ("a\x00b", "a\\x00b"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x7f\x85\x9f", "\\x7f\\x85\\x9f"),
        ("\ud800x\udfff", "\\ud800x\\udfff"),
    ],
)
def test_unprintable_characters_are_written_as_escapes(text: str, shown: str) -> None:
    """Nothing that moves a cursor, ends a line or cannot be encoded gets into tables and logs."""
    assert printable(text) == shown
    assert key("json:/id", payload={"id": text}) == shown
    assert event_type(["json:/type"], REQUEST, {"type": text}) == shown


def test_type_is_found_like_a_key() -> None:
    """The first rule that finds something names the type, and without one it is "unknown"."""
    assert event_type(["json:/type", "header:X-Event-Id"], REQUEST, {"type": "a.b"}) == "a.b"
    assert event_type(["json:/type", "header:X-Event-Id"], REQUEST, {"type": None}) == "evt_1"
    assert event_type(["json:/type", "=door"], REQUEST, None) == "door"
    assert event_type([], REQUEST, {"type": "a"}) == event_type(["json:/x"], REQUEST, {}) == "unknown"


def test_long_type_is_cut() -> None:
    """A type is never longer than MAX_TYPE."""
    assert event_type(["json:/type"], REQUEST, {"type": "t" * 999}) == "t" * MAX_TYPE


def test_pointer_does_not_read_strings_or_huge_indexes() -> None:
    """A pointer goes through objects and lists only, and an index is bounded before it becomes a number."""
    assert pointed("text", "/0") is None
    assert pointed([1, 2], "/1") == 2
    assert pointed([1, 2], "/" + "9" * 5000) is None
    assert pointed([1, 2], "/²") is None
    assert pointed([1, 2], "/-1") is None


def test_digest_of_a_post_is_of_its_body_only() -> None:
    """The query of a POST may hold a token or a trace, which are not content."""
    plain = content_digest(Request(body=b"x"))
    assert plain == sha256(b"x").digest() == content_digest(Request(body=b"x", query="trace=1"))
    assert plain != content_digest(Request(body=b"y"))


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_digest_of_a_query_ignores_the_order_of_parameters(method: str) -> None:
    """Where the query carries the data it counts, in any order and spelling, and so do empty values."""

    def digest(query: str, body: bytes = b"") -> bytes:
        return content_digest(Request(method=method, query=query, body=body))

    assert digest("a=1&b=2") == digest("b=2&a=%31")
    assert len({digest("a=1"), digest("a=1&b="), digest("a=2"), digest("a=1&a=1"), digest("a=1", b"x")}) == 5
    assert digest("a=%ff") != digest("a=%fe")


def test_digest_of_get_and_delete_differ() -> None:
    """The same parameters by another method are another event."""
    get, delete, post = (content_digest(Request(method=name, query="id=1")) for name in ("GET", "DELETE", "POST"))
    assert len({get, delete, post}) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "0", "", "~"]), inner),
)


@given(
    payload=JSON,
    rule=st.sampled_from(["json:/id", "json:/id/0", "json:/", "json:/~0", "json:/~2"]),
    query=st.text(st.characters()),
    path=st.text(st.characters()),
)
def test_arbitrary_content_has_a_storable_key_and_type(payload: Any, rule: str, query: str, path: str) -> None:
    """Whatever a request holds, key and type are short printable text that can be encoded."""
    for method in ("POST", "GET"):
        request = Request(method=method, query=query, path=path)
        digest = content_digest(request)
        found = event_key([rule, "query:id", "path:1"], request, payload, NOBODY, digest)
        named = event_type([rule, "query:id", "path:1"], request, payload)
        for text, limit in ((found, MAX_KEY), (named, MAX_TYPE)):
            assert 0 < len(text) <= limit
            assert text == printable(text)
            json.dumps(text, ensure_ascii=False).encode()


@pytest.mark.parametrize("text", ["\x80" * 1_000_000, "\ud800" * 1_000_000, "a" * 199 + "\x80" * 1_000_000])
def test_what_is_cut_off_is_not_escaped_before(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Key and type of a huge text cost no more than those of a short one, and are what they were."""
    escaped: list[int] = []

    class Unsafe:
        def sub(self, by: Any, given: str) -> str:
            escaped.append(len(given))
            return _UNSAFE.sub(by, given)

    monkeypatch.setattr("inbox.verify.event_key._UNSAFE", Unsafe())
    found = event_type(["json:/type"], REQUEST, {"type": text})
    assert _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)[:MAX_TYPE] == found
    assert key("json:/id", payload={"id": text}).startswith("sha256:")
    assert max(escaped) <= MAX_KEY + 1


def test_ids_of_requests_are_new_and_in_order_of_time() -> None:
    """As many as a busy second has, and none of them is like another."""
    ids = [request_id(1_700_000_000 + number / 1000) for number in range(1000)]
    assert (1000, ids) == (len({each[12:] for each in ids}), sorted(ids))
    assert all(REQUEST_ID.fullmatch(each) for each in ids)


def test_forked_child_gives_other_ids_than_its_parent(tmp_path: Path) -> None:
    """What its parent had in store is its parent's to give."""
    request_id(0.0)
    child = in_fork(lambda: (tmp_path / "ids").write_text("\n".join(request_id(0.0) for _ in range(300))))
    assert 0 == exit_code(child)
    mine, others = {request_id(0.0) for _ in range(300)}, set((tmp_path / "ids").read_text().split())
    assert (300, 300, set()) == (len(mine), len(others), mine & others)


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::9]:443", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("unknown", "unknown"),
        ("x" * 200, "x" * 100),
        ("\x00\ud800", r"\x00\ud800"),
    ],
)
def test_network_is_an_address_or_the_64_of_an_ipv6_one(remote: str, expected: str) -> None:
    """A port does not count, nor does the form of an IPv4 address; what is no address is a share of its own."""
    assert expected == network(remote)


@given(st.text())
def test_network_of_any_text_is_text(remote: str) -> None:
    """Whatever a proxy passes on: of a bounded length, and as bytes that a table takes."""
    assert len(network(remote).encode()) <= 600
