"""A secret as it is, in header, query, body or path."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inbox.core.errors import NotAuthentic
from inbox.core.models import REDACTED, Request, Secret
from inbox.verify.schemes.shared_secret import Location, SharedSecret

LIVE = (Secret("right"), Secret("older"))
HEADER = SharedSecret(location="header", name="X_Token")
BEARER = SharedSecret(location="header", name="Authorization", prefix="Bearer ")
QUERY = SharedSecret(location="query", name="to ken")
BODY = SharedSecret(location="body", name="/secret")
NESTED = SharedSecret(location="body", name="/a~1b/c~0d")
PATH = SharedSecret(location="path")
SECOND = SharedSecret(location="path", name="2")
EVERY = (HEADER, BEARER, QUERY, BODY, NESTED, PATH, SECOND)


def headers(*values: str, name: str = "x-token") -> Request:
    """Return a request with these values of one header."""
    return Request(headers=tuple((name, value) for value in values))


def body(text: str | bytes) -> Request:
    """Return a request with this body."""
    return Request(body=text.encode() if isinstance(text, str) else text)


def reason(verifier: SharedSecret, request: Request) -> str:
    """Return why the request is refused."""
    with pytest.raises(NotAuthentic) as caught:
        verifier.verify(request, LIVE, at=0.0)
    return caught.value.reason


def redacted(text: str | bytes, verifier: SharedSecret = BODY) -> bytes:
    """Return what is stored of a body."""
    return verifier.redact(body(text), LIVE).body


@pytest.mark.parametrize(
    ("verifier", "request_"),
    [
        (HEADER, headers("older")),
        (HEADER, headers("  older ")),
        (BEARER, headers("Bearer older", name="authorization")),
        (QUERY, Request(query="a=1&to+ken=older&b")),
        (QUERY, Request(query="%74o%20ken=%6flder")),
        (BODY, body('{"secret":"older"}')),
        (BODY, body('\n{ "x" : [1.50, "\\ud800"], "secret" : "\\u006flder" }')),
        (BODY, body('{"secret":"wrong","secret":"older"}')),
        (BODY, body(b'\xef\xbb\xbf{"secret":"older"}')),
        (NESTED, body('{"a/b":{"c~d":"older"}}')),
        (PATH, Request(path="older")),
        (PATH, Request(path="/older//rest/")),
        (SECOND, Request(path="first/older")),
    ],
)
def test_secret_in_its_place_is_accepted(verifier: SharedSecret, request_: Request) -> None:
    """Any live secret will do, however the place is written, and it is known which one it was."""
    verified = verifier.verify(request_, LIVE, at=0.0)
    assert (verified.scheme, verified.secret, verified.key) == ("shared secret", 1, None)


@pytest.mark.parametrize(
    ("verifier", "request_", "expected"),
    [
        (HEADER, Request(), "missing"),
        (HEADER, headers(""), "missing"),
        (HEADER, headers("Right"), "mismatch"),
        (HEADER, headers("wrong", "right"), "mismatch"),
        (HEADER, headers("日\ud800"), "mismatch"),
        (BEARER, headers("right", name="authorization"), "malformed"),
        (BEARER, headers("Bearer", name="authorization"), "malformed"),
        (QUERY, Request(), "missing"),
        (QUERY, Request(query="token=right"), "missing"),
        (QUERY, Request(query="to+ken"), "missing"),
        (QUERY, Request(query="to+ken="), "missing"),
        (QUERY, Request(query="to+ken=right&to%20ken=right"), "malformed"),
        (QUERY, Request(query="to+ken=%zz%"), "mismatch"),
        (QUERY, Request(query="to+ken=%ff\ud800é"), "mismatch"),
        (QUERY, Request(query="to+ken=right;x=1"), "mismatch"),
        (BODY, Request(), "malformed"),
        (BODY, body(b"\xff\xfe"), "malformed"),
        (BODY, body('{"secret":"right"}'.encode("utf-16")), "malformed"),
        (BODY, body('{"secret":"right"'), "malformed"),
        (BODY, body('{"secret":"right","x":NaN}'), "malformed"),
        (BODY, body('{"secret":"right","x":' + "9" * 9999 + "}"), "malformed"),
        (BODY, body('{"secret":"right","x":' + "[" * 99999 + "]" * 99999 + "}"), "malformed"),
        (BODY, body('["secret","right"]'), "malformed"),
        (BODY, body('"right"'), "malformed"),
        (BODY, body("{}"), "missing"),
        (BODY, body('{"secret":null}'), "missing"),
        (BODY, body('{"secret":""}'), "missing"),
        (BODY, body('{"secret":["right"]}'), "malformed"),
        (BODY, body('{"secret":"\\ud800"}'), "mismatch"),
        (BODY, body('{"secret":"right","secret":"wrong"}'), "mismatch"),
        (NESTED, body('{"a/b":["right"]}'), "missing"),
        (PATH, Request(), "missing"),
        (PATH, Request(path="//"), "missing"),
        (PATH, Request(path="wrong/right"), "mismatch"),
        (PATH, Request(path="\ud800/right"), "mismatch"),
        (SECOND, Request(path="right"), "missing"),
    ],
)
def test_anything_else_is_refused(verifier: SharedSecret, request_: Request, expected: str) -> None:
    """What the place holds or does not hold is counted under a stable word."""
    assert reason(verifier, request_) == expected


def test_empty_secret_is_never_believed() -> None:
    """Not even if the check at start has been left out."""
    with pytest.raises(NotAuthentic, match="is empty"):
        BODY.verify(body('{"secret":""}'), [Secret("")], at=0.0)


def test_white_space_is_diagnosed() -> None:
    """The owner learns that the secret was copied with its line break, and nobody sees it."""
    with pytest.raises(NotAuthentic, match="white space around it: correct the secret") as caught:
        BODY.verify(body('{"secret":"right"}'), [Secret("right\n")], at=0.0)
    assert "right" not in str(caught.value)


@pytest.mark.parametrize("verifier", EVERY)
def test_diagnosis_names_the_place(verifier: SharedSecret) -> None:
    """The owner is told where the secret was looked for."""
    signed = verifier.sign(Request(path="first", body=b"{}"), Secret("strange"), at=0.0)
    with pytest.raises(NotAuthentic, match="none of the configured secrets") as caught:
        verifier.verify(signed, LIVE, at=0.0)
    assert (verifier.name or "segment 1") in str(caught.value)


@pytest.mark.parametrize("verifier", EVERY)
def test_signed_request_is_accepted_and_redacted(verifier: SharedSecret) -> None:
    """sign, verify and redact agree on the place, and the rest of the request stays."""
    plain = Request(path="first/rest", query="a=1", headers=(("x-other", "1"),), body=b'{"b":1}')
    for index, secret in enumerate(LIVE):
        signed = verifier.sign(plain, secret, at=0.0)
        assert verifier.verify(signed, LIVE, at=0.0).secret == index
        stored = verifier.redact(signed, LIVE)
        assert secret.reveal().decode() not in repr(stored)
        assert REDACTED in repr(stored)
        assert repr(stored).replace(REDACTED, secret.reveal().decode()) == repr(signed).replace("Bearer ", "")


def test_sign_writes_the_secret_where_the_sender_does() -> None:
    """A member keeps its position, a parameter is quoted, a segment is inserted."""
    secret = Secret("ü/&")
    assert BODY.sign(body('{"secret": 1, "b": 2}'), Secret("s"), at=0.0).body == b'{"secret":"s","b":2}'
    assert QUERY.sign(Request(), secret, at=0.0).query == "to%20ken=%C3%BC%2F%26"
    assert QUERY.sign(Request(query="a=1"), Secret("s"), at=0.0).query == "a=1&to%20ken=s"
    assert SECOND.sign(Request(path="a/b"), Secret("s"), at=0.0).path == "a/s/b"
    assert NESTED.sign(body('{"a/b":1}'), Secret("s"), at=0.0).body == b'{"a/b":{"c~d":"s"}}'


def test_sign_needs_a_json_object() -> None:
    """There is no place for a secret in a body that is not an object."""
    with pytest.raises(NotAuthentic, match="not a JSON object"):
        BODY.sign(body("[]"), Secret("s"), at=0.0)


def test_redacted_body_keeps_its_bytes() -> None:
    """Spaces, escapes, numbers and order are as received; only the secret's string is another one."""
    text = '{ "n" : 1.50e0,\r\n "ü": "\\u00e9\\"right\\"", "secret" :\t"%s", "k":[ ] } '
    assert redacted(text.replace('\\"right\\"', "") % "right") == (text.replace('\\"right\\"', "") % REDACTED).encode()
    assert redacted(text.replace("right", "") % "\\u0072ight") == (text.replace("right", "") % REDACTED).encode()


@pytest.mark.parametrize(
    "text",
    [
        '{"secret":"right","secret":"wrong"}',
        '{"secret":"wrong","secret":"right"}',
        '{"secret":"right","secret":"right"}',
        '{"secret":"older","secret":"right"}',
        '{"secret":"\\u006flder","secret":"right"}',
        '{"secret":"right","secret":"\\u006flder"}',
        '{"secret":"xrightx","secret":"right"}',
        '{"secret":"x\\u0072ightx","secret":"right"}',
        '{"secret":["right",{"a":"older"}],"secret":"right"}',
        '{"secret":{"right":1},"secret":"right"}',
        '{"secret":{"\\u006flder":1},"secret":"right"}',
        '{"secret":1,"\\u0073ecret":"right"}',
    ],
)
def test_no_secret_survives_a_repeated_key(text: str) -> None:
    """Whichever of the two a reader takes, no live secret is there."""
    stored = redacted(text)
    everything = repr(json.loads(stored, object_pairs_hook=list))
    for secret in ("right", "older"):
        assert secret not in everything
        assert secret.encode() not in stored
    assert json.loads(stored)["secret"] in (REDACTED, "wrong")


def test_repeated_key_stays_malformed() -> None:
    """A body that can be read in two ways is not quietly made into one that cannot."""
    assert redacted('{"secret":"wrong","secret":"right"}') == b'{"secret":"wrong","secret":"[redacted]"}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"event": "right", "secret": "right"}', {"event": "right", "secret": REDACTED}),
        ('{"right": 1, "secret": "right"}', {"right": 1, "secret": REDACTED}),
        ('{"x": ["older", "\\ud800", "é"], "secret": "right"}', {"x": ["older", "\ud800", "é"], "secret": REDACTED}),
        ('{"secret": "right", "note": "right of way"}', {"secret": REDACTED, "note": "right of way"}),
        ('{"secret": "wrong", "x": 1}', {"secret": REDACTED, "x": 1}),
    ],
)
def test_only_the_secret_is_replaced(text: str, expected: object) -> None:
    """Data that happens to be equal to a secret is not touched; then the body is written anew."""
    assert json.loads(redacted(text)) == expected


@pytest.mark.parametrize("secret", [":", ",", "\\", '"', "redacted", REDACTED, "\n", "é", "日本", "{}"])
def test_odd_secret_does_not_break_the_body(secret: str) -> None:
    """Not even a secret that looks like JSON itself."""
    for ascii in (True, False):
        text = json.dumps({"a": "b", "x": [1.5, ""], "secret": secret}, ensure_ascii=ascii, separators=(",", ":"))
        stored = BODY.redact(body(text), [Secret(secret)]).body
        assert json.loads(stored) == {"a": "b", "x": [1.5, ""], "secret": REDACTED}


def test_nested_secret_is_redacted() -> None:
    """The pointer's own escapes are understood."""
    assert redacted('{"a/b": {"c~d": "right"}}', NESTED) == b'{"a/b": {"c~d": "[redacted]"}}'


@pytest.mark.parametrize("text", [b"right\xff older", b'{"secret":"right"', b'["right"]', b"[" * 99999 + b'"right"'])
def test_body_without_the_place_holds_no_secret_either(text: bytes) -> None:
    """Redaction of what was never believed still takes the secrets out."""
    stored = redacted(text)
    assert b"right" not in stored
    assert b"older" not in stored


def test_large_bodies_are_redacted_in_linear_time() -> None:
    """Neither many escapes nor many strings make redaction slow."""
    for filling in (r"\"" * 400_000, '","' * 100_000):
        stored = redacted('{"x":["' + filling + '"],"secret":"right"}')
        assert stored.endswith(b'"secret":"[redacted]"}')


def test_every_copy_in_header_query_and_path_is_redacted() -> None:
    """A header or parameter that stands there twice is redacted twice, the rest stays as it was."""
    assert HEADER.redact(headers("right", "wrong"), LIVE).headers == (("x-token", REDACTED),) * 2
    query = "a=right&to+ken=right&&to%20ken=older&to+ken&%zz=1"
    assert QUERY.redact(Request(query=query), LIVE).query == (
        f"a=right&to+ken={REDACTED}&&to%20ken={REDACTED}&to+ken&%zz=1"
    )
    assert PATH.redact(Request(path="/right//a/older/"), LIVE).path == f"/{REDACTED}//a/{REDACTED}/"
    assert SECOND.redact(Request(path="a/wrong/b"), LIVE).path == f"a/{REDACTED}/b"


@pytest.mark.parametrize(
    ("location", "name", "secret", "problem"),
    [
        ("header", "X-Token", "schlüssel", "printable ASCII"),
        ("header", "X-Token", " right", "white space around it"),
        ("header", "X-Token", "right\n", "white space around it"),
        ("header", "X-Token", "", "empty"),
        ("header", "", "right", "name of a header"),
        ("header", "X Token", "right", "name of a header"),
        ("query", "", "right", "name of a query parameter"),
        ("query", "token", "", "empty"),
        ("body", "secret", "right", "JSON pointer"),
        ("body", "/", "right", "JSON pointer"),
        ("body", "/secret", b"\xff", "UTF-8"),
        ("path", "0", "right", "number of a segment"),
        ("path", "x", "right", "number of a segment"),
        ("path", "", "a/b", "one segment"),
        ("path", "", "..", "one segment"),
        ("path", "", "é", "one segment"),
    ],
)
def test_what_cannot_work_is_an_error(location: Location, name: str, secret: str | bytes, problem: str) -> None:
    """A place or secret that could never match is found at start, and the secret is not shown."""
    with pytest.raises(ValueError, match=problem) as caught:
        SharedSecret(location=location, name=name).check([Secret(secret)])
    assert not secret or str(secret) not in str(caught.value).replace(repr(name), "")


def test_prefix_is_for_headers() -> None:
    """Elsewhere a prefix would be ignored."""
    with pytest.raises(ValueError, match="prefix is for headers"):
        SharedSecret(location="query", name="token", prefix="Bearer ").check(LIVE)


@pytest.mark.parametrize("verifier", EVERY)
def test_usual_settings_are_fine(verifier: SharedSecret) -> None:
    """Settings that work pass."""
    verifier.check(LIVE)


TEXT = st.text(st.characters(codec=None)) | st.sampled_from(['{"secret":"', "right", "to+ken=", "/", "&", "%7"])
PIECES = st.lists(TEXT, max_size=6).map("".join)


@settings(deadline=None)
@given(path=PIECES, query=PIECES, value=PIECES, raw=st.binary(), text=PIECES)
def test_hostile_requests_raise_nothing_else(path: str, query: str, value: str, raw: bytes, text: str) -> None:
    """Whatever stands in a request, it is believed or NotAuthentic, and can be redacted."""
    names = (("x-token", value), ("authorization", value))
    for content in (raw, text.encode("utf-8", "surrogatepass")):
        request = Request(path=path, query=query, headers=names, body=content)
        for verifier in EVERY:
            with suppress(NotAuthentic):
                verifier.verify(request, LIVE, at=0.0)
            assert isinstance(verifier.redact(request, LIVE), Request)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just("secret"), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(members=st.dictionaries(st.text(), JSON, max_size=4), secret=st.text(min_size=1), ascii=st.booleans())
def test_redaction_replaces_one_value(members: dict[str, Any], secret: str, ascii: bool) -> None:
    """Whatever the secret and the rest are, what is stored differs in the secret's place only."""
    payload = {**members, "secret": secret}
    request = body(json.dumps(payload, ensure_ascii=ascii))
    assert BODY.verify(request, [Secret(secret)], at=0.0).secret == 0
    assert json.loads(BODY.redact(request, [Secret(secret)]).body) == {**payload, "secret": REDACTED}
