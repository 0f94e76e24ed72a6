"""HTTP Basic: RFC 7617's own example, every way to fail, and text that no client would send."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.core.errors import NotAuthentic
from inbox.core.models import REDACTED, Request, Secret, Verified
from inbox.verify.schemes.basic import Basic

ALADDIN = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
"""RFC 7617, section 2: user "Aladdin", password "open sesame"."""

BASIC = Basic(username="Aladdin")
SECRETS = (Secret("open sesame"),)


def verify(value: str, *secrets: str | bytes, basic: Basic = BASIC) -> Verified:
    """Verify a request with this header."""
    live = [Secret(secret) for secret in secrets] or SECRETS
    return basic.verify(Request().with_headers({"Authorization": value}), live, at=0.0)


def refusal(value: str, *secrets: str, basic: Basic = BASIC) -> NotAuthentic:
    """Return why the header is refused."""
    with pytest.raises(NotAuthentic) as caught:
        verify(value, *secrets, basic=basic)
    return caught.value


def encoded(credentials: bytes) -> str:
    """Return a header with these credentials."""
    return f"Basic {base64.b64encode(credentials).decode()}"


def test_example_of_the_rfc_is_accepted() -> None:
    """RFC 7617's example is believed."""
    assert Verified("basic", 0) == verify(ALADDIN)


def test_other_example_of_the_rfc_is_accepted() -> None:
    """RFC 7617, section 2.1: user "test", password "123£" in UTF-8."""
    assert verify("Basic dGVzdDoxMjPCow==", "123£", basic=Basic(username="test"))


@pytest.mark.parametrize("scheme", ["basic", "BASIC", "Basic ", " Basic"])
def test_scheme_is_read_in_any_case(scheme: str) -> None:
    """The name of the scheme has no case, and white space around the credentials does not count."""
    assert verify(ALADDIN.replace("Basic", scheme))


def test_rotated_password_is_named() -> None:
    """Any live secret may match, and the result says which."""
    assert verify(ALADDIN, "another", "open sesame").secret == 1


def test_no_secret_matches_nothing() -> None:
    """Without a live secret nothing is believed."""
    with pytest.raises(NotAuthentic):
        BASIC.verify(Request().with_headers({"Authorization": ALADDIN}), [], at=0.0)


def test_missing_header_is_refused() -> None:
    """Without credentials nothing is believed."""
    with pytest.raises(NotAuthentic, match="Authorization is missing") as caught:
        BASIC.verify(Request(), SECRETS, at=0.0)
    assert caught.value.reason == "missing"
    assert refusal(" ").reason == "missing"


@pytest.mark.parametrize("value", ["Basic", "Basic  ", "Basic *", "Basic QWxhZGRpbg", "Bearer QQ==", "é", "Basic é"])
def test_malformed_credentials_are_refused(value: str) -> None:
    """Another scheme, no base64 and no colon are ordinary refusals."""
    assert refusal(value).reason == "malformed"


def test_credentials_without_colon_are_refused() -> None:
    """A colon ends the user name, also where there is nothing else."""
    assert "no colon" in refusal(encoded(b"Aladdin")).diagnosis


def test_wrong_password_is_refused() -> None:
    """The owner learns that the user name is right."""
    refused = refusal(encoded(b"Aladdin:open"))
    assert refused.reason == "mismatch"
    assert "the user name fits" in refused.diagnosis
    assert "sesame" not in refused.diagnosis


def test_wrong_user_name_is_refused() -> None:
    """The right password under another name is refused, and the name is not repeated."""
    refused = refusal(encoded(b"Alad:open sesame"))
    assert refused.reason == "mismatch"
    assert "user name is another" in refused.diagnosis
    assert "Alad" not in refused.diagnosis


def test_white_space_around_the_secret_is_diagnosed() -> None:
    """The usual mistake with a pasted secret is named."""
    assert "white space" in refusal(ALADDIN, "open sesame\n").diagnosis


def test_password_may_hold_anything() -> None:
    """Colons and bytes that are not text belong to the password; the user name may be empty."""
    assert verify(encoded(b":a:\xff\x00"), b"a:\xff\x00", basic=Basic(username=""))


def test_redacted_request_has_no_password() -> None:
    """The header is a credential, so it is not stored."""
    request = Request().with_headers({"Authorization": ALADDIN, "Host": "h"})
    assert BASIC.redact(request, SECRETS).headers == (("authorization", REDACTED), ("host", "h"))


def test_signed_request_has_the_header_of_the_rfc() -> None:
    """What `sign` writes is the example, letter by letter."""
    assert BASIC.sign(Request(), SECRETS[0], at=0.0).header("Authorization") == ALADDIN


def test_unusable_settings_are_an_error() -> None:
    """A colon in the user name could never match, and an empty password would be none."""
    BASIC.check(SECRETS)
    with pytest.raises(ValueError, match="colon"):
        Basic(username="a:b").check(SECRETS)
    with pytest.raises(ValueError, match="a secret is empty"):
        BASIC.check([Secret("x"), Secret("")])


@given(text=st.one_of(st.text(), st.text().map("Basic {}".format), st.binary().map(encoded)))
def test_arbitrary_header_is_refused_and_nothing_else(text: str) -> None:
    """Whatever the header holds, the only exception is NotAuthentic."""
    assert refusal(text).reason in ("missing", "malformed", "mismatch")
