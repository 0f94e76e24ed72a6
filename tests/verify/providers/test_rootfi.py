"""Rootfi: a static header in v3, an HMAC in v4, and a type that has to be found."""

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from inbox.core.errors import ConfigError
from inbox.core.models import REDACTED, Payload, Request, Verified
from inbox.verify.providers.base import Provider
from tests.verify.providers.checklist import AT, ProviderChecklist

CHANGE = b'{"company_id":12,"created_at":"2022-01-23","data_model":"ACCOUNTS","type":"UPDATE","data":{}}'
CONNECTION = b'{"event":"connection.changed","company_id":496}'
HEX = "7ca545f32de4ca704d43e3b92f00167af72b9094e267390ae0b8d6353457695a"
BASE64 = "fKVF8y3kynBNQ+O5LwAWevcrkJTiZzkK4LjWNTRXaVo="
"""openssl dgst -sha256 -hmac a-signing-key, of CONNECTION."""


class RootfiChecklist(ProviderChecklist):
    """What both versions have in common."""

    provider = "rootfi"
    event_type = "DATA_MODEL_CHANGES.INVOICES.CREATE"

    def type(self, payload: Payload, path: str = "", header: str = "", **options: object) -> str:
        """Return the type of a payload at this path, with this X-Rootfi-Type."""
        request = Request(path=path).with_headers({"X-Rootfi-Type": header} if header else {})
        return self.make(*self.secrets[:2], **options).type_of(request, payload)

    def test_type_is_in_the_path(self) -> None:
        """The address names the type, in any case."""
        assert self.type({}, path="SYNC_COMPLETED") == "SYNC_COMPLETED"
        assert self.type({}, path="sync_started/x") == "SYNC_STARTED"
        assert self.type({"data_model": "BILLS"}, path="CONNECTION_CHANGED") == "CONNECTION_CHANGED"

    def test_type_is_in_the_header(self) -> None:
        """A static header names the type where the path does not."""
        assert self.type({}, header="sync_completed") == "SYNC_COMPLETED"
        assert self.type({}, path="other", header="INTEGRATION") == "INTEGRATION"
        assert self.type({}, header="Something new") == "Something new"

    def test_type_is_inferred(self) -> None:
        """The two documented payloads are told apart."""
        assert self.type({"data_model": "BILLS", "type": "DELETE"}) == "DATA_MODEL_CHANGES.BILLS.DELETE"
        assert self.type({"event": "connection.changed"}) == "CONNECTION_CHANGED"
        others: tuple[Payload, ...] = ({}, [], None, "x", {"event": 1}, {"event": ["connection.changed"]})
        for payload in others:
            assert self.type(payload) == "unknown"

    def test_type_has_model_and_operation_where_present(self) -> None:
        """Only text becomes part of a type."""
        assert self.type({}, path="DATA_MODEL_CHANGES") == "DATA_MODEL_CHANGES"
        assert self.type({"data_model": "BILLS"}) == "DATA_MODEL_CHANGES.BILLS"
        assert self.type({"data_model": None, "type": ["x"]}) == "DATA_MODEL_CHANGES"

    def test_type_is_printable_and_short(self) -> None:
        """Whatever the payload says can be shown and stored."""
        assert self.type({"data_model": "a\n\ud800"}) == "DATA_MODEL_CHANGES.a\\n\\ud800"
        assert len(self.type({"data_model": "a" * 999})) == 200

    def test_configured_type_wins(self) -> None:
        """A rule of the owner is asked first; where it finds nothing, the rest applies."""
        assert self.type({"event": "connection.changed"}, event_type=["json:/event"]) == "connection.changed"
        assert self.type({"data_model": "BILLS"}, event_type=["json:/event"]) == "DATA_MODEL_CHANGES.BILLS"

    def test_key_covers_the_type(self) -> None:
        """A sync that starts and one that ends are two events, even if their bodies are equal."""
        provider = self.make(*self.secrets[:2])
        started, completed = (
            provider.key_of(Request(path=path), {}, Verified("x"), b"\x01" * 32)
            for path in ("SYNC_STARTED", "SYNC_COMPLETED")
        )
        assert started != completed

    def test_keys_count_for_a_day(self) -> None:
        """A full sync sends equal rows again, and after a day they are new."""
        assert self.make(*self.secrets[:2]).dedupe_for == 86400

    def test_every_sample_has_its_type(self) -> None:
        """`inbox send --type` can send every type."""
        provider = self.make(*self.secrets[:2])
        for name in ("CONNECTION_CHANGED", "SYNC_COMPLETED", "DATA_MODEL_CHANGES.BILLS.UPDATE"):
            payload = provider.sample(name, id="1", at=AT)
            assert name == provider.type_of(provider.compose(b"", name, id="1", at=AT), payload)
        assert provider.sample("", id="1", at=AT)["data_model"] == "ACCOUNTS"
        assert provider.sample("DATA_MODEL_CHANGES.BILLS", id="1", at=AT)["type"] == "UPDATE"


class TestRootfiV3(RootfiChecklist):
    """The checklist for the static header."""

    header = "api_key"
    covers_body = False

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return the header of the published example."""
        return self.make("fhsjd"), Request(headers=(("api-key", "fhsjd"),), body=CHANGE), AT

    def test_header_is_redacted(self) -> None:
        """The header stays, its value does not."""
        provider, request, _ = self.fixed()
        assert provider.redact(request) == request.with_headers({"api_key": REDACTED})

    def test_bearer_token(self) -> None:
        """Another header with a prefix can be configured."""
        provider = self.make("token", header="Authorization", prefix="Bearer ")
        assert provider.verify(Request(headers=(("authorization", "Bearer token"),)), at=AT).secret == 0
        bare = Request(headers=(("authorization", "token"),))
        assert self.refusal(provider, bare).reason == "malformed"

    def test_secret_must_fit_into_a_header(self) -> None:
        """What no server passes on is an error at start."""
        with pytest.raises(ConfigError, match="printable ASCII"):
            self.make("schlüssel")

    def test_unknown_version_is_an_error(self) -> None:
        """The versions that exist are named."""
        with pytest.raises(ConfigError, match="'v3', 'v4'"):
            self.make("x", version="v5")


class TestRootfiV4(RootfiChecklist):
    """The checklist for the signature."""

    header = "X-RootFi-Signature"
    options: ClassVar[Mapping[str, Any]] = {"version": "v4"}

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return a signature that openssl made; the vendor publishes none."""
        return self.make("a-signing-key"), Request(body=CONNECTION).with_headers({self.header: HEX}), AT

    @pytest.mark.parametrize("value", [HEX, HEX.upper(), f"sha256={HEX}", BASE64, f"sha256={BASE64}"])
    def test_usual_spellings_are_accepted(self, value: str) -> None:
        """Hex and base64, with and without the digest's name."""
        provider, request, at = self.fixed()
        assert provider.verify(request.with_headers({self.header: value}), at=at).scheme == "hmac"

    @pytest.mark.parametrize("value", [HEX[:-2], BASE64[:-4], f"sha512={HEX}", HEX[:-1] + "x", BASE64 * 2])
    def test_other_spellings_are_refused(self, value: str) -> None:
        """What is neither is malformed."""
        provider, request, at = self.fixed()
        assert self.refusal(provider, request.with_headers({self.header: value}), at=at).reason == "malformed"

    def test_spelling_can_be_fixed(self) -> None:
        """Once a real request has been seen, its spelling is a setting."""
        _, request, at = self.fixed()
        strict = self.make("a-signing-key", encoding="base64", prefix="v1=")
        assert self.refusal(strict, request, at=at).reason == "malformed"
        assert strict.verify(request.with_headers({self.header: f"v1={BASE64}"}), at=at)

    def test_timestamp_can_be_signed(self) -> None:
        """So is the content, should it hold more than the body."""
        provider = self.make(*self.secrets, signed="{timestamp}.{body}", timestamp_header="X-Time", tolerance=60)
        request = self.request(provider)
        assert provider.verify(request, at=AT + 60)
        assert self.refusal(provider, request, at=AT + 61).reason == "stale"

    def test_static_header_is_redacted_too(self) -> None:
        """v4 sends the static headers as well."""
        provider, request, _ = self.fixed()
        both = request.with_headers({"api_key": "fhsjd"})
        assert provider.redact(both) == both.with_headers({"api_key": REDACTED})
