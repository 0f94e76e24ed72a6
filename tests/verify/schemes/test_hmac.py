"""HMAC in its variants, against signatures that others published."""

import hashlib
import hmac
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inbox.core.errors import NotAuthentic
from inbox.core.models import Request, Secret
from inbox.verify.schemes.base import MAX_SIGNATURES
from inbox.verify.schemes.hmac import Encoding, Hmac, LenientHmac, rewritten
from tests.verify.providers.checklist import VECTORS, recorded

GITHUB = Hmac(header="X-Hub-Signature-256", prefix="sha256=")
STRIPE = Hmac(header="Stripe-Signature", signed="{timestamp}.{body}", list_keys=("t", "v1"))
SHOPIFY = Hmac(header="X-Shopify-Hmac-Sha256", encoding="base64")
ROOMZ = Hmac(header="Roomz-Signature", digest="sha512", encoding="base64")
BREAKCOLD = Hmac(
    header="X-Webhook-Signature",
    prefix="sha256=",
    signed="{timestamp}.{body}",
    timestamp_header="X-Webhook-Timestamp",
)
WITH_ID = replace(BREAKCOLD, signed="{id}.{timestamp}.{body}", id_header="X-Id")
FIXED = [
    ("github-docs", GITHUB),
    ("octokit-basic", GITHUB),
    ("stripe-dotnet", STRIPE),
    ("shopify-php", SHOPIFY),
    ("roomz-derived", ROOMZ),
    ("breakcold-v2-derived", BREAKCOLD),
]
KEY = Secret("mysecret")


def refusal(verifier: Hmac, request: Request, *secrets: Secret, at: float = 0.0) -> NotAuthentic:
    """Return why the request is refused."""
    with pytest.raises(NotAuthentic) as caught:
        verifier.verify(request, secrets or (KEY,), at=at)
    return caught.value


def github(body: bytes, **signed: Any) -> Request:
    """Return a request whose signature is of this body, or of the body that `of` names."""
    of = GITHUB.sign(Request(body=signed.get("of", body)), signed.get("secret", KEY), at=0.0)
    return of.replace(body=body)


@pytest.mark.parametrize(("name", "verifier"), FIXED)
def test_fixed_vector_is_accepted(name: str, verifier: Hmac) -> None:
    """A signature that was made elsewhere is believed, by whichever live secret it is."""
    vector = VECTORS[name]
    request, right, at = recorded(vector), Secret(vector["secret"]), vector.get("now", 0)
    assert verifier.verify(request, [right], at=at).secret == 0
    assert verifier.verify(request, [KEY if name != "octokit-basic" else Secret("x"), right], at=at).secret == 1


@pytest.mark.parametrize(("name", "verifier"), FIXED)
def test_fixed_vector_is_what_sign_writes(name: str, verifier: Hmac) -> None:
    """Our own signature is the sender's, byte by byte."""
    vector = VECTORS[name]
    bare = Request(body=vector["body"].encode())
    at = 1533204620 if name == "stripe-dotnet" else vector.get("now", 0)
    written = verifier.sign(bare, Secret(vector["secret"]), at=at).header(verifier.header)
    assert written == vector["headers"][verifier.header].partition(",v0=")[0]


@pytest.mark.parametrize(("name", "verifier"), FIXED)
def test_changed_vector_is_refused(name: str, verifier: Hmac) -> None:
    """One other byte in body or secret is a mismatch."""
    vector = VECTORS[name]
    request, right, at = recorded(vector), Secret(vector["secret"]), vector.get("now", 0)
    assert refusal(verifier, request.replace(body=request.body + b" "), right, at=at).reason == "mismatch"
    assert refusal(verifier, request, Secret(vector["secret"] + "x"), at=at).reason == "mismatch"
    assert refusal(verifier, request.replace(headers=()), right, at=at).reason == "missing"


def test_signature_is_not_redacted() -> None:
    """A signature does not tell its key, and may be checked again."""
    request = recorded(VECTORS["github-docs"])
    assert request == GITHUB.redact(request, [KEY])


@pytest.mark.parametrize("item", ["v1=00", "t=1,v1=zz", "v1", "v0=00,t=1", "t=", "=,=", ","])
def test_list_without_its_keys_is_refused(item: str) -> None:
    """A list needs a timestamp and a signature of the right version."""
    assert refusal(STRIPE, Request().with_headers({"Stripe-Signature": item})).reason in ("missing", "malformed")


def test_list_may_hold_several_signatures() -> None:
    """While the sender rotates, any of his signatures is enough; spaces and other versions do not matter."""
    vector = VECTORS["stripe-dotnet"]
    stamp, right, other = vector["headers"]["Stripe-Signature"].split(",")
    for text in (f"{stamp},v1={'0' * 64},{right}", f"{right} , {other}, {stamp}", f"{stamp},{right},v1={'f' * 64}"):
        request = recorded(vector).with_headers({"Stripe-Signature": text})
        assert STRIPE.verify(request, [Secret(vector["secret"])], at=vector["now"])


@pytest.mark.parametrize(
    ("encoding", "value", "problem"),
    [
        ("hex", "sha256=zz", "is not hex"),
        ("hex", "sha256=abc", "is not hex"),
        ("hex", "sha256=é", "is not hex"),
        ("hex", "sha256=" + "00" * 20, "holds 20 bytes; sha256 has 32. Another digest?"),
        ("hex", "sha256=", "holds 0 bytes"),
        ("hex", "sha1=" + "00" * 32, "does not start with 'sha256='"),
        ("base64", "sha256=AAA", "is not base64"),
        ("base64", "sha256=A A=", "is not base64"),
        ("base64", "sha256=AAAA", "holds 3 bytes"),
        ("base64", "sha256=\ud800", "is not base64"),
    ],
)
def test_malformed_signature_is_diagnosed(encoding: Encoding, value: str, problem: str) -> None:
    """The owner learns what is wrong with the form."""
    request = Request().with_headers({GITHUB.header: value})
    found = refusal(replace(GITHUB, encoding=encoding), request)
    assert found.reason == "malformed"
    assert problem in found.diagnosis


@pytest.mark.parametrize(
    ("stamp", "reason"),
    [
        ("1773921600", None),
        ("1773921300", None),
        ("1773921900", None),
        ("1773921901", "stale"),
        ("1773921299", "stale"),
        ("1773921600.5", "malformed"),
        ("-1773921600", "malformed"),
        ("1" * 13, "malformed"),
        ("hello", "malformed"),
        ("١٢٣", "malformed"),
        ("", "missing"),
        (None, "missing"),
    ],
)
def test_timestamp_decides_after_the_signature(stamp: str | None, reason: str | None) -> None:
    """A signed timestamp is whole seconds within the tolerance, both ways."""
    headers = {} if stamp is None else {"X-Webhook-Timestamp": stamp}
    content = (stamp or "").encode("latin-1", "replace") + b".{}"
    signature = Hmac(header="X-Webhook-Signature", prefix="sha256=").sign(Request(body=content), KEY, at=0.0)
    request = signature.replace(body=b"{}").with_headers(headers)
    if reason is None:
        assert BREAKCOLD.verify(request, [KEY], at=1773921600.9).secret == 0
    else:
        assert refusal(BREAKCOLD, request, at=1773921600.9).reason == reason


def test_stale_request_is_diagnosed() -> None:
    """The owner learns by how much, and in which direction."""
    vector = VECTORS["breakcold-v2-derived"]
    request, secret = recorded(vector), Secret(vector["secret"])
    old = refusal(BREAKCOLD, request, secret, at=vector["now"] + 4000)
    new = refusal(BREAKCOLD, request, secret, at=vector["now"] - 301)
    assert old.diagnosis.startswith("signed 4000 s ago; the tolerance is 300 s")
    assert new.diagnosis.startswith("signed 301 s in the future; the tolerance is 300 s")


def test_id_is_signed() -> None:
    """A template with {id} covers the id's header, and needs it."""
    request = WITH_ID.sign(Request(body=b"{}").with_headers({"X-Id": "1"}), KEY, at=0.0)
    assert WITH_ID.verify(request, [KEY], at=0.0).secret == 0
    assert refusal(WITH_ID, request.with_headers({"X-Id": "2"})).reason == "mismatch"
    assert refusal(WITH_ID, request.with_headers({"X-Id": ""})).reason == "missing"


def signed_by_hand(id: str, stamp: str, body: str, *, of: str) -> Request:
    """Return a request with this id, timestamp and body, and a signature of other content."""
    digest = hmac.new(b"mysecret", of.encode(), hashlib.sha256).hexdigest()
    return Request(body=body.encode()).with_headers(
        {"X-Id": id, "X-Webhook-Timestamp": stamp, "X-Webhook-Signature": f"sha256={digest}"}
    )


@pytest.mark.parametrize(
    ("signed", "of", "one", "other"),
    [
        # the signed bytes, and two ways to cut them into id, timestamp and body
        (
            "{id}.{timestamp}.{body}",
            "x.1700000001.1700000000.{}",
            ("x.1700000001", "1700000000", "{}"),
            ("x", "1700000001", "1700000000.{}"),
        ),
        (
            "{id}.{timestamp}.{body}",
            "x.1700000001.y.1700000000.{}",
            ("x.1700000001.y", "1700000000", "{}"),
            ("x", "1700000001", "y.1700000000.{}"),
        ),
        (
            "{id}.{timestamp}.{body}",
            "x.1700000001.1700000000.2",
            ("x.1700000001", "1700000000", "2"),
            ("x", "1700000001", "1700000000.2"),
        ),
        (
            "{id}|{timestamp}:{body}",
            "x|1700000001:y|1700000000:z",
            ("x|1700000001:y", "1700000000", "z"),
            ("x", "1700000001", "y|1700000000:z"),
        ),
        (
            "{body}.{timestamp}.{id}",
            "{}.1700000000.1700000001.x",
            ("1700000001.x", "1700000000", "{}"),
            ("x", "1700000001", "{}.1700000000"),
        ),
    ],
)
def test_bytes_cannot_be_moved_between_id_and_timestamp(
    signed: str, of: str, one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    """Signed bytes that can be read in two ways are refused in both: nobody knows which the sender meant."""
    verifier = replace(WITH_ID, signed=signed)
    for read in (one, other):
        assert "malformed" == refusal(verifier, signed_by_hand(*read, of=of), at=1700000000.0).reason


@pytest.mark.parametrize("id", ["evt_1", "a.b", "3f2.c4", "1700000001.x", "x.17y", "v1.2-3"])
@pytest.mark.parametrize("body", ["{}", '{"at": "x.1700000001.y"}', "1.5", "text.5.text"])
def test_ids_and_bodies_with_full_stops_are_believed(id: str, body: str) -> None:
    """Unless what follows one could be a timestamp; the signature is made with plain hmac."""
    request = signed_by_hand(id, "1700000000", body, of=f"{id}.1700000000.{body}")
    assert WITH_ID.verify(request, [KEY], at=1700000000.0).whole


def test_text_around_the_placeholders_is_signed() -> None:
    """Slack's template has text of its own before the timestamp."""
    slack = Hmac(
        header="X-Slack-Signature",
        prefix="v0=",
        signed="v0:{timestamp}:{body}",
        timestamp_header="X-Slack-Request-Timestamp",
    )
    signed = slack.sign(Request(body=b"a=b"), KEY, at=1531420618.0)
    plain = Hmac(header="X-Slack-Signature", prefix="v0=").sign(Request(body=b"v0:1531420618:a=b"), KEY, at=0.0)
    assert signed.header("X-Slack-Signature") == plain.header("X-Slack-Signature")


def test_key_may_be_encoded() -> None:
    """A secret that is written as hex or base64 is the key it stands for."""
    plain = GITHUB.sign(Request(body=b"{}"), KEY, at=0.0)
    for encoded, kind in (("bXlzZWNyZXQ=", "base64"), ("6d79736563726574", "hex")):
        verifier = replace(GITHUB, key_encoding=kind)  # type: ignore[arg-type]
        verifier.check([Secret(encoded)])
        assert verifier.verify(plain, [Secret(encoded)], at=0.0).secret == 0


@pytest.mark.parametrize(
    ("signed", "arrived", "cause"),
    [
        (b'{"a": 1}\n', b'{"a": 1}', "with a final line break"),
        (b'{"a": 1}', b'{"a": 1}\r\n', "without its final line break"),
        (b'{\n"a": 1\n}', b'{\r\n"a": 1\r\n}', "with LF line endings"),
        (b"{}", b"\xef\xbb\xbf{}", "without its byte order mark"),
        (b'{"a":1,"b":"\xc3\xa9"}', b'{ "a" : 1, "b": "\\u00e9" }', "with its JSON written in another way"),
        (b'{"a":1,"b":"\\u00e9"}', b'{"a": 1, "b": "\xc3\xa9"}', "with its JSON written in another way"),
        (b'{"a": 1, "b": "\\u00e9"}', b'{"a":1,"b":"\xc3\xa9"}', "with its JSON written in another way"),
        (b'{"a": 1, "b": "\xc3\xa9"}', b'{"a":1,"b":"\\u00e9"}', "with its JSON written in another way"),
        (b'{\n  "a": 1\n}', b'{"a":1}', "with its JSON written in another way"),
    ],
)
def test_changed_body_is_diagnosed(signed: bytes, arrived: bytes, cause: str) -> None:
    """The owner learns what a proxy or a framework did to the body."""
    found = refusal(GITHUB, github(arrived, of=signed), Secret("x"), KEY)
    assert found.reason == "mismatch"
    assert f"the signature fits the body {cause}" in found.diagnosis


def test_white_space_around_the_secret_is_diagnosed() -> None:
    """A secret that was copied with its line break is named, and not shown."""
    found = refusal(GITHUB, github(b"{}"), Secret("mysecret\n"))
    assert "white space around it: correct the secret" in found.diagnosis
    assert "mysecret" not in found.diagnosis


@pytest.mark.parametrize("body", [b"", b"{}", b"not json", b"\xff", b"[" * 50_000, b"9" * 9999, b'{"a":"\\ud800"}'])
def test_wrong_secret_is_diagnosed(body: bytes) -> None:
    """Where no usual mistake fits, both causes that are left are named."""
    found = refusal(GITHUB, github(body, secret=Secret("x")))
    assert found.reason == "mismatch"
    assert found.diagnosis.startswith("the signature fits none of the configured secrets")


def test_large_body_is_not_rewritten() -> None:
    """A stranger cannot make us write megabytes of JSON again and again."""
    body = json.dumps(["é"] * 20_000).encode()
    found = refusal(GITHUB, github(body, of=json.dumps(["é"] * 20_000, separators=(",", ":")).encode()))
    assert found.diagnosis.startswith("the signature fits none of the configured secrets")


@pytest.mark.parametrize(("depth", "spellings"), [(10, 5), (20, 5), (21, 0), (900, 0), (8_000, 0)])
def test_deep_body_is_not_rewritten(depth: int, spellings: int) -> None:
    """Indentation would make a stranger's nested body a thousand times as long."""
    body = b"[" * depth + b",".join([b"0"] * (8_000 - depth)) + b"]" * depth
    written = [text for text, cause in rewritten(body) if "JSON" in cause]
    assert spellings == len(written)
    assert sum(map(len, written)) < 64 * len(body)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"signed": "{timestamp}"}, "must contain {body}"),
        ({"signed": "{body}{url}"}, "may contain {timestamp} and {id}"),
        ({"signed": "{timestamp}.{body}"}, "timestamp_header is needed"),
        ({"signed": "{id}.{body}"}, "id_header is needed"),
        (
            {"signed": "{id}0{timestamp}.{body}", "id_header": "X-Id", "timestamp_header": "X-Time"},
            "needs text that is no digit between {id} and {timestamp}",
        ),
        ({"list_keys": ("t",)}, "list_keys must be two"),
        ({"tolerance": 0.0}, "tolerance must be"),
        ({"tolerance": float("nan")}, "tolerance must be"),
        ({"key_encoding": "hex"}, "non-hexadecimal"),
        ({"key_encoding": "base64"}, "base64|padding"),
    ],
)
def test_settings_that_cannot_work_are_an_error(settings: dict[str, Any], problem: str) -> None:
    """What could never match is found at start."""
    problem = problem if "|" in problem else re.escape(problem)
    with pytest.raises(ValueError, match=f"(?i){problem}"):
        replace(GITHUB, **settings).check([Secret("mysecret!")])


def test_empty_key_is_an_error() -> None:
    """Anybody can sign with an empty key, also if it only is empty once it has been decoded."""
    for verifier, secret in ((GITHUB, ""), (replace(GITHUB, key_encoding="hex"), "  ")):
        with pytest.raises(ValueError, match="a secret is empty"):
            verifier.check([Secret(secret)])


@pytest.mark.parametrize("verifier", [GITHUB, STRIPE, SHOPIFY, ROOMZ, BREAKCOLD, WITH_ID])
def test_usual_settings_are_fine(verifier: Hmac) -> None:
    """Settings that work pass."""
    verifier.check([KEY])


def test_lenient_takes_every_usual_spelling() -> None:
    """A sender that does not say how he writes his signature is read in the usual ways."""
    vector = VECTORS["octokit-basic"]
    lenient, digest = LenientHmac(header="X-Signature"), bytes.fromhex(vector["headers"][GITHUB.header][7:])
    spelled = SHOPIFY.sign(Request(body=vector["body"].encode()), KEY, at=0.0).header(SHOPIFY.header)
    for text in (digest.hex(), digest.hex().upper(), f"sha256={digest.hex()}", f"{spelled}", f"sha256={spelled}"):
        request = recorded(vector).with_headers({"X-Signature": text})
        assert lenient.verify(request, [KEY], at=0.0).secret == 0
    assert lenient.sign(recorded(vector), KEY, at=0.0).header("X-Signature") == digest.hex()
    for text in ("zz" * 32, "sha256=", "sha512=" + "00" * 32, "é"):
        assert refusal(lenient, recorded(vector).with_headers({"X-Signature": text})).reason == "malformed"


ANY_TEXT = st.text(st.characters(codec=None))
HEADER_TEXT = ANY_TEXT | st.builds("".join, st.lists(ANY_TEXT | st.sampled_from(["sha256=", "t=1", ",v1=", "00" * 32])))


@settings(deadline=None)
@given(value=HEADER_TEXT, stamp=ANY_TEXT | st.just("1"), body=st.binary() | st.text().map(str.encode))
def test_hostile_headers_raise_nothing_else(value: str, stamp: str, body: bytes) -> None:
    """Whatever stands in headers and body, it is NotAuthentic and nothing else."""
    for verifier in (GITHUB, STRIPE, SHOPIFY, ROOMZ, BREAKCOLD, WITH_ID, LenientHmac(header="X-Signature")):
        headers = {verifier.header: value, "X-Webhook-Timestamp": stamp, "X-Id": stamp}
        assert refusal(verifier, Request(body=body).with_headers(headers)).diagnosis


# --- how much work a stranger can ask for -----------------------------------------------------------------------------


def listed(*signatures: str, body: bytes = b"{}") -> Request:
    """Return a request with these signatures under `v1`."""
    items = ",".join(["t=0", *(f"v1={signature}" for signature in signatures)])
    return Request(body=body).with_headers({"Stripe-Signature": items})


def signed_by(secret: Secret, body: bytes = b"{}") -> str:
    """Return the signature that is right."""
    return hmac.new(secret.reveal(), b"0." + body, hashlib.sha256).hexdigest()


WRONG = "00" * 32


def test_sixteen_signatures_are_examined() -> None:
    """The sixteenth counts, the seventeenth does not."""
    right = signed_by(KEY)
    assert STRIPE.verify(listed(*[WRONG] * (MAX_SIGNATURES - 1), right), [KEY], at=0.0)
    assert "mismatch" == refusal(STRIPE, listed(*[WRONG] * MAX_SIGNATURES, right)).reason


def test_long_list_is_not_read_to_its_end() -> None:
    """However much of something else stands in front of a signature."""
    filler = ",".join(["x=1"] * 100_000)
    value = listed(signed_by(KEY)).header("Stripe-Signature")
    far = Request(body=b"{}").with_headers({"Stripe-Signature": f"{filler},{value}"})
    near = Request(body=b"{}").with_headers({"Stripe-Signature": f"{value},{filler}"})
    assert "missing" == refusal(STRIPE, far).reason
    assert STRIPE.verify(near, [KEY], at=0.0)


@pytest.mark.parametrize("number", [1, 900])
def test_each_digest_is_computed_once(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """As many as there are secrets and ways to write the body, however many signatures came with it."""
    made: list[tuple[bytes, bytes]] = []
    digest = Hmac._digest

    def spy(self: Hmac, secret: Secret, content: bytes) -> bytes:
        made.append((secret.reveal(), content))
        return digest(self, secret, content)

    monkeypatch.setattr(Hmac, "_digest", spy)
    secrets = [Secret("one"), Secret("two")]
    body = json.dumps({"list": list(range(3000))}).encode()
    with pytest.raises(NotAuthentic) as caught:
        STRIPE.verify(listed(*[WRONG] * number, body=body), secrets, at=0.0)
    assert 2 == len(made)
    assert not caught.value.is_settled
    assert caught.value.diagnosis.startswith("the signature fits none of the configured secrets")
    assert 2 + 2 * len(list(rewritten(body))) == len(made)
    assert caught.value.is_settled
    assert str(caught.value) == caught.value.diagnosis
    assert 2 + 2 * len(list(rewritten(body))) == len(made)


def test_diagnosis_can_be_forestalled() -> None:
    """What was settled is not looked for any more."""
    found = refusal(STRIPE, listed(WRONG))
    found.settle("enough")
    assert ("enough", "enough", True) == (found.diagnosis, str(found), found.is_settled)
