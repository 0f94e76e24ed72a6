"""Standard Webhooks: the published vectors of both schemes, the libraries' negative set, and every way to fail."""

import base64
import hashlib
import hmac
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from inbox.core.errors import NotAuthentic
from inbox.core.models import Request, Secret, Verified
from inbox.verify.schemes import standard_webhooks
from inbox.verify.schemes.base import MAX_SIGNATURES
from inbox.verify.schemes.standard_webhooks import MAX_ASYMMETRIC, StandardWebhooksScheme
from tests.verify.providers.checklist import VECTORS, recorded

V1 = VECTORS["standard-webhooks-1"]
V1A = VECTORS["svix-ed25519"]
REQUEST = recorded(V1)
SIGNED = recorded(V1A)
SECRET = Secret(V1["secret"])
PUBLIC = Secret(V1A["public_key"])
ID = V1["headers"]["webhook-id"]
VALID = V1["headers"]["webhook-signature"]
OTHER = "Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
NOW = float(V1["now"])
WEBHOOKS = StandardWebhooksScheme()

SEED = bytes(range(32))
_PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
PRIVATE = Secret(b"whsk_" + base64.b64encode(SEED + _PUBLIC))
OWN_PUBLIC = Secret(b"whpk_" + base64.b64encode(_PUBLIC))


def verify(request: Request = REQUEST, *secrets: Secret, at: float = NOW) -> Verified:
    """Verify a request."""
    return WEBHOOKS.verify(request, secrets or (SECRET,), at=at)


def refusal(request: Request, *secrets: Secret, at: float = NOW) -> NotAuthentic:
    """Return why the request is refused."""
    with pytest.raises(NotAuthentic) as caught:
        verify(request, *secrets, at=at)
    assert caught.value.diagnosis
    return caught.value


def with_signature(value: str) -> Request:
    """Return the published request with another list of signatures."""
    return REQUEST.with_headers({"webhook-signature": value})


def by_hand(event_id: str, stamp: str, body: bytes) -> Request:
    """Return a request that is signed with nothing but the standard library."""
    key = base64.b64decode(V1["secret"].removeprefix("whsec_"))
    digest = hmac.digest(key, f"{event_id}.{stamp}.".encode("latin-1") + body, hashlib.sha256)
    signature = f"v1,{base64.b64encode(digest).decode()}"
    headers = {"webhook-id": event_id, "webhook-timestamp": stamp, "webhook-signature": signature}
    return Request(body=body).with_headers(headers)


def test_published_v1_vector_is_accepted() -> None:
    """The vector of the reference libraries is believed, and its id is the key."""
    assert Verified("standard webhooks v1", 0, ID) == verify()


def test_published_v1a_vector_is_accepted() -> None:
    """Svix's Ed25519 vector is believed under its public key."""
    assert Verified("standard webhooks v1a", 0, ID) == verify(SIGNED, PUBLIC)


def test_secret_needs_no_prefix() -> None:
    """The libraries take a secret without `whsec_`, and base64 without padding."""
    assert verify(REQUEST, Secret(V1["secret"].removeprefix("whsec_")))
    padded = base64.b64encode(b"k" * 25)
    request = WEBHOOKS.sign(REQUEST, Secret(b"whsec_" + padded), at=NOW)
    assert verify(request, Secret(b"whsec_" + padded.rstrip(b"=")))


def test_svix_headers_are_accepted() -> None:
    """Svix names the same three headers `svix-…`."""
    renamed = Request(body=REQUEST.body).with_headers(
        {name.replace("webhook-", "svix-"): value for name, value in V1["headers"].items()}
    )
    assert verify(renamed).key == ID


def test_headers_of_two_prefixes_are_not_mixed() -> None:
    """All three headers come under one prefix; the diagnosis names the one that is missing."""
    headers = dict(V1["headers"])
    headers["svix-signature"] = headers.pop("webhook-signature")
    refused = refusal(Request(body=REQUEST.body).with_headers(headers))
    assert refused.reason == "missing"
    assert "webhook-signature is missing" in refused.diagnosis


def test_incomplete_headers_do_not_hide_complete_ones() -> None:
    """A stray `webhook-id` beside the three of Svix does no harm."""
    renamed = {name.replace("webhook-", "svix-"): value for name, value in V1["headers"].items()}
    assert verify(Request(body=REQUEST.body).with_headers({**renamed, "webhook-id": "another"})).key == ID


@pytest.mark.parametrize("name", list(V1["headers"]))
def test_missing_header_is_refused(name: str) -> None:
    """Each of the three headers is needed, and not empty."""
    bare = REQUEST.replace(headers=tuple(pair for pair in REQUEST.headers if pair[0] != name))
    assert refusal(bare).reason == "missing"
    assert name in refusal(bare).diagnosis
    assert refusal(REQUEST.with_headers({name: " "})).reason == "missing"


def test_near_miss_is_refused() -> None:
    """A signature with its last letter changed is a mismatch."""
    refused = refusal(with_signature("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA="))
    assert refused.reason == "mismatch"
    assert "none of the configured secrets" in refused.diagnosis


def test_one_match_in_a_list_is_enough() -> None:
    """Unknown versions and other signatures around the right one do not matter."""
    assert verify(with_signature(f"v1,{OTHER} v2,{OTHER} {VALID} v1,{OTHER}"))


@pytest.mark.parametrize("item", ["v1", "v1,", ",", "v1,*", "v1,é", "v2,", "x" * 500, f"v1,{OTHER[:20]}"])
def test_malformed_item_is_skipped(item: str) -> None:
    """Rubbish beside the right signature is skipped; alone it is an ordinary refusal."""
    assert verify(with_signature(f"{item}  {VALID}"))
    assert refusal(with_signature(item)).reason in ("malformed", "mismatch")


@pytest.mark.parametrize("value", ["v1,", "v1", f"v2,{OTHER}", VALID.replace("v1,", ""), VALID.replace(",", "=")])
def test_list_without_known_version_is_malformed(value: str) -> None:
    """A list without any v1 or v1a signature says so."""
    refused = refusal(with_signature(value))
    assert refused.reason == "malformed"
    assert "no signature of the form v1,… or v1a,…" in refused.diagnosis


def test_long_list_is_cut() -> None:
    """A stranger cannot make us check any number of signatures."""
    assert verify(with_signature(f"v1,{OTHER} " * (MAX_SIGNATURES - 1) + VALID))
    assert refusal(with_signature(f"v1,{OTHER} " * MAX_SIGNATURES + VALID)).reason == "mismatch"


def test_each_key_makes_one_digest_and_few_asymmetric_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many signatures there are: the one is made once per key, of the others the first few are checked."""
    made: list[str] = []
    digest, check = standard_webhooks._hmac, standard_webhooks._signed
    monkeypatch.setattr(standard_webhooks, "_hmac", lambda *given: made.append("v1") or digest(*given))
    monkeypatch.setattr(standard_webhooks, "_signed", lambda *given: made.append("v1a") or check(*given))
    wrong = base64.b64encode(bytes(64)).decode()
    items = " ".join([f"v1,{OTHER}"] * 8 + [f"v1a,{wrong}"] * 900)
    with pytest.raises(NotAuthentic):
        verify(with_signature(items), SECRET, SECRET, PUBLIC)
    assert ["v1"] * 2 + ["v1a"] * MAX_ASYMMETRIC == made


def test_v1_signature_does_not_count_as_v1a() -> None:
    """A version is bound to its kind of key: nobody gets an HMAC under a public key accepted."""
    forged = hmac.digest(base64.b64decode(V1A["public_key"][5:]), f"{ID}.{int(NOW)}.".encode() + REQUEST.body, "sha256")
    for version in ("v1", "v1a"):
        refusal(with_signature(f"{version},{base64.b64encode(forged).decode()}"), PUBLIC)


def test_signature_counts_under_its_own_version_only() -> None:
    """The right bytes under the other version's name are refused."""
    refusal(with_signature(VALID.replace("v1,", "v1a,")), SECRET, PUBLIC)
    renamed = V1A["headers"]["webhook-signature"].replace("v1a,", "v1,")
    refusal(SIGNED.with_headers({"webhook-signature": renamed}), SECRET, PUBLIC)


def test_other_kind_of_key_is_diagnosed() -> None:
    """A v1 secret for v1a signatures, and the reverse, is named."""
    assert "the secrets are for v1, the signatures are v1a" in refusal(SIGNED, SECRET).diagnosis
    assert "the secrets are for v1a, the signatures are v1" in refusal(REQUEST, PUBLIC).diagnosis


def test_rotated_secret_is_named() -> None:
    """Secrets of both kinds may be live together, and the result says which matched."""
    assert verify(REQUEST, PUBLIC, SECRET).secret == 1
    assert verify(SIGNED, SECRET, PUBLIC).secret == 1


def test_no_secret_matches_nothing() -> None:
    """Without a live secret nothing is believed."""
    with pytest.raises(NotAuthentic):
        WEBHOOKS.verify(REQUEST, [], at=NOW)


@pytest.mark.parametrize("request_", [REQUEST, SIGNED])
def test_changed_content_is_refused(request_: Request) -> None:
    """Id, timestamp and body are all signed."""
    changed = (
        request_.replace(body=request_.body.replace(b"2", b"3", 1)),
        request_.with_headers({"webhook-id": f"{ID}x"}),
        request_.with_headers({"webhook-timestamp": str(int(NOW) + 1)}),
    )
    for request in changed:
        assert refusal(request, SECRET, PUBLIC).reason == "mismatch"


def test_timestamp_counts_for_the_tolerance_both_ways() -> None:
    """Exactly 300 seconds pass, one more does not, in the past as in the future."""
    assert verify(at=NOW + 300.9)
    assert verify(at=NOW - 300)
    assert refusal(REQUEST, at=NOW + 301).reason == "stale"
    assert refusal(REQUEST, at=NOW - 301).reason == "stale"
    assert replace(WEBHOOKS, tolerance=3600.0).verify(REQUEST, [SECRET], at=NOW + 3600)


@pytest.mark.parametrize("stamp", ["hello", "-1", "1614265330.5", "1e9", "²", "9" * 400])
def test_other_timestamp_is_refused(stamp: str) -> None:
    """A timestamp that is not whole seconds is refused, signed or not."""
    assert refusal(REQUEST.with_headers({"webhook-timestamp": stamp})).reason == "mismatch"
    assert refusal(by_hand("msg_1", stamp, b"{}")).reason == "malformed"


@pytest.mark.parametrize("event_id", ["é", "a\x00b", "a\tb", "a\x7f", "\x85x"])
def test_other_id_than_ascii_is_refused(event_id: str) -> None:
    """An id is printable ASCII, and whatever else stands there is refused, even with the right signature."""
    refused = refusal(by_hand(event_id, str(int(NOW)), b"{}"))
    assert refused.reason == "malformed"
    assert "printable ASCII" in refused.diagnosis


@pytest.mark.parametrize("event_id", ["msg.1614265330", "msg.1614265330.rest", "a.b.0"])
def test_id_with_a_timestamp_within_is_refused(event_id: str) -> None:
    """An id that could be read as id and timestamp is refused, even with the right signature."""
    refused = refusal(by_hand(event_id, str(int(NOW)), b"{}"))
    assert refused.reason == "malformed"
    assert "could be a timestamp" in refused.diagnosis


def test_moved_full_stop_is_refused() -> None:
    """What was signed as id, timestamp and body cannot be cut at another full stop."""
    text = by_hand("msg", str(int(NOW)), f"{int(NOW) + 200}.{{}}".encode())
    assert verify(text).key == "msg"
    moved = text.with_headers({"webhook-id": f"msg.{int(NOW)}", "webhook-timestamp": str(int(NOW) + 200)})
    assert refusal(moved.replace(body=b"{}")).reason == "malformed"


@pytest.mark.parametrize("event_id", ["msg.created.abc", "evt_1.a2", "3.x", "a b"])
def test_harmless_full_stop_is_accepted(event_id: str) -> None:
    """Other full stops in an id can be read in one way only."""
    assert verify(by_hand(event_id, str(int(NOW)), b"{}")).key == event_id


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b'{"test": 2432232314}\n', "without its final line break"),
        (b'{"test":2432232314}', "with its JSON written in another way"),
    ],
)
def test_changed_body_is_diagnosed(body: bytes, cause: str) -> None:
    """The owner learns what something on the way did to the body."""
    assert cause in refusal(REQUEST.replace(body=body)).diagnosis
    assert cause in refusal(SIGNED.replace(body=body), PUBLIC).diagnosis


def test_undecoded_secret_is_diagnosed() -> None:
    """A sender that signs under the secret's text is named, because provider hmac can be set up for it."""
    digest = hmac.digest(V1["secret"].encode(), f"{ID}.{int(NOW)}.".encode() + REQUEST.body, "sha256")
    assert "as text" in refusal(with_signature(f"v1,{base64.b64encode(digest).decode()}")).diagnosis


def test_signing_repeats_the_published_vector() -> None:
    """`sign` makes the published headers, letter by letter."""
    request = Request(body=REQUEST.body).with_headers({"webhook-id": ID})
    assert WEBHOOKS.sign(request, SECRET, at=NOW).headers == REQUEST.headers


def test_private_key_signs_what_its_public_key_checks() -> None:
    """`whsk_` makes v1a signatures that it and its `whpk_` believe, and nobody else's key does."""
    request = WEBHOOKS.sign(REQUEST, PRIVATE, at=NOW)
    assert verify(request, OWN_PUBLIC) == verify(request, PRIVATE) == Verified("standard webhooks v1a", 0, ID)
    assert refusal(request, PUBLIC).reason == "mismatch"


def test_public_key_cannot_sign() -> None:
    """`whpk_` only checks, and says so."""
    with pytest.raises(ValueError, match="whsk_"):
        WEBHOOKS.sign(REQUEST, PUBLIC, at=NOW)


def test_signed_request_gets_an_id() -> None:
    """A request without an id gets a random one."""
    first, second = (verify(WEBHOOKS.sign(Request(), SECRET, at=NOW)).key for _ in range(2))
    assert first != second


def test_redacted_request_is_unchanged() -> None:
    """A signature does not reveal its key, so nothing is hidden."""
    assert WEBHOOKS.redact(REQUEST, [SECRET]) == REQUEST


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_====",
        "whsec_*",
        "whsec_é",
        "hello world",
        "whpk_",
        "whpk_AAAA",
        "whsk_AAAA",
        "whxx_AAAA",
        PUBLIC.reveal().decode().replace("whpk_", "whsk_"),
        f"whsk_{base64.b64encode(bytes(64)).decode()}",
    ],
)
def test_unusable_secret_is_an_error(secret: str) -> None:
    """A secret that is empty or does not decode does not start, and is not shown."""
    with pytest.raises(ValueError, match="a secret is not whsec_ and base64") as caught:
        WEBHOOKS.check([SECRET, Secret(secret)])
    assert secret[6:] == "" or secret[6:] not in str(caught.value)


def test_usable_secrets_pass_the_check() -> None:
    """Every documented form is taken, also a secret shorter than the specification recommends."""
    WEBHOOKS.check([SECRET, PUBLIC, PRIVATE, Secret("whsec_AAAA"), Secret("AAAA\n")])


def test_unlimited_tolerance_is_an_error() -> None:
    """A tolerance that lets everything pass does not start."""
    for tolerance in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="tolerance"):
            StandardWebhooksScheme(tolerance=tolerance).check([SECRET])


ANY = st.one_of(st.text(), st.text(st.characters(max_codepoint=255)), st.just(ID), st.just("1614265330"))


@given(
    event_id=ANY,
    stamp=ANY,
    signature=ANY | st.binary().map(lambda data: f"v1a,{base64.b64encode(data).decode()}"),
    body=st.binary(),
)
def test_arbitrary_request_is_refused_and_nothing_else(event_id: str, stamp: str, signature: str, body: bytes) -> None:
    """Whatever headers and body hold, the only exception is NotAuthentic."""
    headers = {"webhook-id": event_id, "webhook-timestamp": stamp, "webhook-signature": signature}
    refusal(Request(body=body).with_headers(headers), SECRET, PUBLIC)
