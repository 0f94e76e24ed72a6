"""The encrypted token: published and derived vectors, every way to fail, and what a captured token can be made into."""

import base64
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from inbox.core.errors import NotAuthentic
from inbox.core.models import REDACTED, Request, Secret, Verified
from inbox.verify.schemes.aes_token import AesToken
from tests.verify.providers.checklist import VECTORS

KEY = b"a-Secr3t_Str1ng!"
SECRETS = (Secret(KEY),)
NOW = 1609455600.0
"""2020-12-31T23:00:00Z, the date in the vectors."""

TOKEN = AesToken(api_key=Secret("aValidApiKey"))
ECB = replace(TOKEN, schemes=("01", "02"))
ECB_ONLY = replace(TOKEN, schemes=("02",))


def vector(name: str) -> str:
    """Return the token of a vector."""
    token: str = VECTORS[f"roomle-token-{name}"]["headers"]["token"]
    return token


def ciphertext(token: str) -> bytes:
    """Return the bytes of a token."""
    return base64.b64decode(token[3:])


def verify(token: str, at: float = NOW, *, verifier: AesToken = TOKEN, header: str = "token") -> Verified:
    """Verify a request that carries this token."""
    return verifier.verify(Request().with_headers({header: token}), SECRETS, at=at)


def refusal(token: str, at: float = NOW, *, verifier: AesToken = TOKEN, header: str = "token") -> NotAuthentic:
    """Return why the token is refused."""
    with pytest.raises(NotAuthentic) as caught:
        verify(token, at, verifier=verifier, header=header)
    return caught.value


def encrypt(plain: bytes, *, iv: bytes = bytes(16), key: bytes = KEY, pad: bool = True) -> str:
    """Return a 01 token without IV, made by hand."""
    size = 16 - len(plain) % 16
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return written(encryptor.update(plain + bytes([size]) * size if pad else plain) + encryptor.finalize())


def written(data: bytes, scheme: str = "01") -> str:
    """Return a token of these bytes."""
    return f"{scheme}-{base64.b64encode(data).decode()}"


def flipped(data: bytes, place: int, old: bytes, new: bytes) -> bytes:
    """Return the data with the difference of two texts added at a place."""
    changed = bytearray(data)
    for offset, (one, other) in enumerate(zip(old, new, strict=True)):
        changed[place + offset] ^= one ^ other
    return bytes(changed)


CBC = ("01-cbc-prefix-iv", "01-cbc-zero-iv", "01-cbc-key-iv")


@pytest.mark.parametrize("name", CBC)
def test_every_iv_rule_is_found_by_itself(name: str) -> None:
    """With iv = "auto" a token is believed whichever of the three rules made it."""
    assert Verified("aes token", 0, verify(vector(name)).key) == verify(vector(name))


@pytest.mark.parametrize("name", CBC)
@pytest.mark.parametrize("iv", ["prefix", "zero", "key"])
def test_fixed_iv_rule_takes_its_own_tokens_only(name: str, iv: str) -> None:
    """With a rule named, tokens of the other rules are refused."""
    verifier = replace(TOKEN, iv=iv)
    if f"-{iv}-" in name:
        assert verify(vector(name), verifier=verifier)
    else:
        assert "date is unreadable" in refusal(vector(name), verifier=verifier).diagnosis


def test_fixed_iv_of_hex_digits_is_used() -> None:
    """An IV that the owner knows is taken as it stands."""
    iv = "000102030405060708090a0B0C0D0E0F"
    bare = written(ciphertext(vector("01-cbc-prefix-iv"))[16:])
    assert verify(bare, verifier=replace(TOKEN, iv=iv))


def test_published_ecb_token_is_refused_by_default() -> None:
    """Scheme 02 is taken only if the setting names it."""
    assert refusal(vector("02-ecb")).reason == "forbidden"
    assert "schemes allows 01" in refusal(vector("02-ecb")).diagnosis


def test_published_ecb_token_is_accepted_when_allowed() -> None:
    """The only token that Roomle publishes is believed."""
    assert verify(vector("02-ecb"), verifier=ECB).secret == 0


def test_cbc_token_is_refused_where_only_ecb_is_allowed() -> None:
    """The list of schemes is what counts, not a default."""
    assert refusal(vector("01-cbc-zero-iv"), verifier=replace(TOKEN, schemes=("02",))).reason == "forbidden"


def test_plain_token_is_always_refused() -> None:
    """Scheme 03 is base64 without encryption, and the owner is told so."""
    for verifier in (TOKEN, ECB, replace(TOKEN, schemes=("01", "02"), api_key=Secret("storyblok"))):
        refused = refusal(vector("03-plain"), 1516962790.25, verifier=verifier)
        assert refused.reason == "forbidden"
        assert "not encrypted" in refused.diagnosis


@pytest.mark.parametrize("header", ["token", "X-Token", "Authorization"])
def test_usual_header_names_are_tried(header: str) -> None:
    """The documentation does not name the header, so the likely ones are all read."""
    assert verify(vector("01-cbc-zero-iv"), header=header)


def test_configured_header_goes_first() -> None:
    """The header that the owner names decides, and underscores in it are dashes."""
    verifier = replace(TOKEN, header="Roomle_Token")
    request = Request().with_headers({"token": "x", "roomle-token": vector("01-cbc-zero-iv"), "authorization": "y"})
    assert verifier.verify(request, SECRETS, at=NOW)


def test_missing_token_is_refused() -> None:
    """Without any of the headers, and with an empty one, the header is named."""
    with pytest.raises(NotAuthentic, match="the header token is missing") as caught:
        TOKEN.verify(Request(), SECRETS, at=NOW)
    assert caught.value.reason == "missing"
    assert refusal(" ").reason == "missing"


@pytest.mark.parametrize("token", ["01", "abc", "1-AAAA", "001-AAAA", "ab-AAAA", "-", "Basic QWxhZGRpbg=="])
def test_other_text_is_malformed(token: str) -> None:
    """What does not begin with two digits and a dash is no token."""
    refused = refusal(token)
    assert refused.reason == "malformed"
    assert "of the form 01-" in refused.diagnosis


@pytest.mark.parametrize("text", ["*", "A", "AAAAA", "AA=AA", "é", "AAAA AAAA"])
def test_other_than_base64_is_malformed(text: str) -> None:
    """A token that is not base64 says so."""
    refused = refusal(f"01-{text}")
    assert refused.reason == "malformed"
    assert "not base64" in refused.diagnosis


def test_token_that_is_far_too_long_is_not_decrypted() -> None:
    """Under each secret and rule that would cost as much again; a long session still fits."""
    refused = refusal(written(bytes(16 * 600)))
    assert ("malformed", True) == (refused.reason, "more than 8192" in refused.diagnosis)
    assert "mismatch" == refusal(written(bytes(16 * 300))).reason


@pytest.mark.parametrize("size", [0, 1, 15, 17, 63])
def test_broken_blocks_are_malformed(size: int) -> None:
    """A token that is not whole blocks was cut off."""
    refused = refusal(written(bytes(size)))
    assert refused.reason == "malformed"
    assert f"holds {size} bytes" in refused.diagnosis


def test_url_safe_and_unpadded_base64_are_accepted() -> None:
    """The documentation allows `-` and `_` for `+` and `/`, and padding adds nothing."""
    scheme, _, text = vector("01-cbc-zero-iv").partition("-")
    assert "/" in text
    usual = verify(f"{scheme}-{text}").key
    assert usual == verify(f"{scheme}-{text.replace('+', '-').replace('/', '_')}").key
    assert usual == verify(f"{scheme}-{text.rstrip('=')}").key


@pytest.mark.parametrize("name", [*CBC, "02-ecb"])
def test_wrong_secret_is_refused(name: str) -> None:
    """Under another key nothing readable comes out."""
    request = Request().with_headers({"token": vector(name)})
    with pytest.raises(NotAuthentic) as caught:
        ECB.verify(request, [Secret("another-secret!!")], at=NOW)
    assert caught.value.reason == "mismatch"
    assert "wrong secret" in caught.value.diagnosis


def test_rotated_secret_is_named() -> None:
    """Any live secret may match, and the result says which; no secret at all matches nothing."""
    request = Request().with_headers({"token": vector("01-cbc-prefix-iv")})
    assert TOKEN.verify(request, [Secret("another-secret!!"), Secret(KEY)], at=NOW).secret == 1
    with pytest.raises(NotAuthentic):
        TOKEN.verify(request, [], at=NOW)


def test_wrong_api_key_is_refused() -> None:
    """A token of another API key under the same secret is not this sender's."""
    refused = refusal(vector("01-cbc-zero-iv"), verifier=replace(TOKEN, api_key=Secret("anotherApiKey")))
    assert refused.reason == "mismatch"
    assert "another API key" in refused.diagnosis


def test_nothing_is_believed_without_an_api_key() -> None:
    """A verifier that was never given an API key fails closed, also for a token with an empty one."""
    bare = replace(TOKEN, api_key=None)
    assert refusal(vector("01-cbc-zero-iv"), verifier=bare).reason == "mismatch"
    assert refusal(encrypt(b"2020-12-31T23:00:00.000Z;anonymous;"), verifier=bare).reason == "mismatch"


@pytest.mark.parametrize(
    "plain",
    [
        b"2020-12-31T23:00:00.000Z;aValidApiKey",
        b"2020-12-31T23:00:00.000Z;a;b;aValidApiKey",
        b"2020-12-31T23:00:00.000Z;a;aValidApiKey;",
        b"",
    ],
)
def test_other_than_three_parts_is_refused(plain: bytes) -> None:
    """A token is date, session and API key, not more and not less."""
    refused = refusal(encrypt(plain))
    assert refused.reason == "mismatch"
    assert "date;session;api key" in refused.diagnosis


@pytest.mark.parametrize(
    "date",
    [
        b"2020-12-31T23:00:00.000",
        b"2020-12-31T23:00:00Z",
        b"2020-12-31 23:00:00.000Z",
        b"2020-12-32T23:00:00.000Z",
        b"0000-12-31T23:00:00.000Z",
        b"2020-12-31T23:00:00.000+24:00",
        b"2020-12-31T23:00:00.000Z ",
        b"1609455600",
        b"",
        "٢٠٢٠-12-31T23:00:00.000Z".encode(),
    ],
)
def test_other_date_is_refused(date: bytes) -> None:
    """A date that is not written as documented is refused, not guessed."""
    refused = refusal(encrypt(date + b";anonymous;aValidApiKey"))
    assert refused.reason == "mismatch"
    assert "date is unreadable" in refused.diagnosis


@pytest.mark.parametrize("date", ["23:00:00.000Z", "23:00:00.999Z", "22:30:00.000-0030", "23:30:00.000+00:30"])
def test_date_may_have_an_offset(date: str) -> None:
    """Java's `X` writes Z or an offset, and both count."""
    assert verify(encrypt(f"2020-12-31T{date};anonymous;aValidApiKey".encode()), NOW + 0.9)


def test_offset_of_hours_is_read() -> None:
    """`+01` is what a single `X` writes outside UTC."""
    assert verify(encrypt(b"2021-01-01T00:00:00.000+01;anonymous;aValidApiKey"))


def test_empty_session_is_accepted() -> None:
    """Nothing is known about the session part, so nothing is asked of it."""
    assert verify(encrypt(b"2020-12-31T23:00:00.000Z;;aValidApiKey"))
    assert verify(encrypt(b"2020-12-31T23:00:00.000Z;\xff\x00;aValidApiKey"))


def test_date_counts_for_the_tolerance_both_ways() -> None:
    """Exactly 300 seconds pass, one more does not, in the past as in the future."""
    token = vector("01-cbc-zero-iv")
    assert verify(token, NOW + 300)
    assert verify(token, NOW - 300)
    assert refusal(token, NOW + 301).reason == "stale"
    assert refusal(token, NOW - 301).reason == "stale"
    assert "301 s ago" in refusal(token, NOW + 301).diagnosis
    assert verify(token, NOW + 3600, verifier=replace(TOKEN, tolerance=3600))


@pytest.mark.parametrize("ending", [b"\x00", b"\x11" * 17, b"\x02\x03\x03", b"\x10" * 15])
def test_wrong_padding_is_refused(ending: bytes) -> None:
    """Padding is checked to the last byte: what does not end so is not a token."""
    plain = b"2020-12-31T23:00:00.000Z;anonymous;aValidApiKey"
    filled = plain + b"x" * (-(len(plain) + len(ending)) % 16) + ending
    assert refusal(encrypt(filled, pad=False)).reason == "mismatch"


@pytest.mark.parametrize("name", CBC)
def test_every_changed_byte_of_the_last_blocks_is_refused(name: str) -> None:
    """Nobody without the key can change what the token ends with."""
    data = ciphertext(vector(name))
    for place in range(len(data) - 32, len(data)):
        assert refusal(written(flipped(data, place, b"\0", b"\1"))).reason == "mismatch"


def test_rewritten_date_keeps_its_key() -> None:
    """Flipped bits of an IV in front make a captured token fresh again, but not another event."""
    data = ciphertext(vector("01-cbc-prefix-iv"))
    tomorrow = written(flipped(data, 0, b"2020-12-31T23:00", b"2021-01-01T23:00"))
    assert refusal(tomorrow).reason == "stale"
    assert verify(vector("01-cbc-prefix-iv")).key == verify(tomorrow, NOW + 86400).key


@pytest.mark.parametrize("name", ["01-cbc-zero-iv", "01-cbc-key-iv"])
def test_added_iv_keeps_the_key(name: str) -> None:
    """An IV put in front of a token that had none changes its rule and its date, but not its key."""
    data = ciphertext(vector(name))
    iv = KEY if "key" in name else bytes(16)
    tomorrow = written(flipped(iv, 0, b"2020-12-31T23:00", b"2021-01-01T23:00") + data)
    assert verify(vector(name)).key == verify(tomorrow, NOW + 86400).key
    assert refusal(tomorrow, NOW + 86400, verifier=replace(TOKEN, iv="zero")).reason == "mismatch"


def test_added_session_blocks_keep_the_key() -> None:
    """Blocks put into the session part leave a token that decrypts, so the key must not depend on them."""
    session = b"0123456;" + bytes(32) + b"0123456789abcdef"
    token = encrypt(b"2020-12-31T23:00:00.000Z;" + session[8:] + b";aValidApiKey")
    data = ciphertext(token)
    longer = data[:48] + bytes(16) + data[32:]
    assert len(longer) == len(data) + 32
    assert verify(written(longer)).key == verify(token).key


def test_dropped_blocks_are_refused() -> None:
    """A token without its first block, or without its last, is not a shorter token."""
    for name in CBC:
        data = ciphertext(vector(name))
        for part in (data[16:], data[32:], data[48:], data[:-16], data[:-32]):
            refusal(written(part))


def test_different_tokens_have_different_keys() -> None:
    """A millisecond or another session makes another key, for every IV rule and for ECB."""
    later = encrypt(b"2020-12-31T23:00:00.001Z;aSessionToken;aValidApiKey")
    other = encrypt(b"2020-12-31T23:00:00.000Z;bSessionToken;aValidApiKey")
    ecb = verify(vector("02-ecb"), verifier=ECB)
    tokens = [verify(vector(name)) for name in CBC] + [verify(later), verify(other), ecb]
    keys = {verified.key for verified in tokens}
    assert len(tokens) == len(keys)
    assert all(key and key.startswith("token:") and len(key) == 70 for key in keys)


def test_ecb_tokens_of_one_session_have_different_keys() -> None:
    """ECB blocks repeat from token to token, so there the whole ciphertext makes the key."""
    requests = [ECB_ONLY.sign(Request(), Secret(KEY), at=NOW + step) for step in (0, 60)]
    first, second = (ECB_ONLY.verify(one, SECRETS, at=NOW).key for one in requests)
    assert first != second


@pytest.mark.parametrize("iv", ["auto", "prefix", "zero", "key", "0f" * 16])
@pytest.mark.parametrize("size", [16, 24, 32])
def test_signed_token_is_accepted(iv: str, size: int) -> None:
    """What `sign` makes is believed under the same settings, for every size of key."""
    verifier = replace(TOKEN, iv=iv)
    secret = Secret(bytes(range(size)))
    request = verifier.sign(Request(), secret, at=NOW)
    assert (request.header("token") or "").startswith("01-")
    assert verifier.verify(request, [secret], at=NOW + 299).key


def test_signed_token_is_fresh_each_time() -> None:
    """A random IV makes two tokens of one millisecond different, as the sender's are."""
    first, second = (TOKEN.sign(Request(), Secret(KEY), at=NOW) for _ in range(2))
    assert TOKEN.verify(first, SECRETS, at=NOW).key != TOKEN.verify(second, SECRETS, at=NOW).key


def test_redacted_request_has_no_token() -> None:
    """The token is a credential while it is fresh, so no header that could hold it is stored."""
    headers = {"token": "01-a", "X-Token": "01-b", "Authorization": "01-c", "Host": "h"}
    verifier = replace(TOKEN, header="My_Token")
    request = Request().with_headers({**headers, "my-token": "01-d"})
    stored = verifier.redact(request, SECRETS)
    assert stored.header("host") == "h"
    assert REDACTED == stored.header("My-Token") == stored.header("x-token") == stored.header("authorization")
    assert TOKEN.redact(request, SECRETS).header("token") == REDACTED


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"api_key": None}, "api_key is missing"),
        ({"api_key": Secret("")}, "api_key is missing"),
        ({"api_key": Secret("a;b")}, "semicolon"),
        ({"iv": "none"}, "iv must be auto"),
        ({"iv": "0f" * 15}, "iv must be auto"),
        ({"schemes": ()}, "schemes must be"),
        ({"schemes": ("03",)}, "schemes must be"),
        ({"header": ""}, "header is missing"),
        ({"tolerance": 0.0}, "tolerance must be"),
        ({"tolerance": float("nan")}, "tolerance must be"),
    ],
)
def test_unusable_settings_are_an_error(changes: dict[str, Any], problem: str) -> None:
    """Settings that leave nothing to check do not start."""
    with pytest.raises(ValueError, match=problem):
        replace(TOKEN, **changes).check(SECRETS)


@pytest.mark.parametrize("size", [0, 1, 15, 17, 33])
def test_secret_of_another_size_is_an_error(size: int) -> None:
    """A secret that is no AES key is named by its size, never shown."""
    with pytest.raises(ValueError, match=f"has {size} bytes; an AES key has 16, 24 or 32"):
        TOKEN.check([Secret(KEY), Secret(b"k" * size)])


def test_usable_settings_pass_the_check() -> None:
    """The defaults with an API key are enough."""
    TOKEN.check(SECRETS)
    replace(ECB, iv="0f" * 16).check([Secret(bytes(24)), Secret(bytes(32))])


TEXTS = st.one_of(
    st.text(),
    st.text(st.characters(max_codepoint=255)),
    st.binary(max_size=99).map(lambda data: written(data, "01")),
    st.binary(min_size=2, max_size=6).map(lambda data: written(data * 16, "02")),
    st.binary(max_size=99).map(lambda plain: encrypt(plain)),
    st.binary(max_size=9).map(lambda date: encrypt(date + b";;aValidApiKey")),
)


@given(text=TEXTS)
def test_arbitrary_header_is_refused_and_nothing_else(text: str) -> None:
    """Whatever the header holds, the only exception is NotAuthentic."""
    assert refusal(text, verifier=ECB).reason in ("missing", "malformed", "mismatch", "forbidden", "stale")
