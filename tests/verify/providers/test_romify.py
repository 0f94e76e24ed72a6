"""Romify: a secret of the owner's own, in one of four places, by four methods."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from inbox.core.errors import ConfigError
from inbox.core.models import REDACTED, Request
from inbox.verify import event_key
from inbox.verify.providers.base import Provider
from tests.verify.providers.checklist import AT, ProviderChecklist, everything


class RomifyChecklist(ProviderChecklist):
    """What holds wherever the secret is."""

    provider = "romify"
    event_type = "EVENT_STARTS"
    covers_body = False


class TestRomifyHeader(RomifyChecklist):
    """The checklist for a secret in a header, and what is special about Romify."""

    header = "X-Romify-Secret"

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return a request with the secret as it would be typed into the webhook's headers."""
        return self.make("first-Secret-0001"), Request(headers=(("x-romify-secret", "first-Secret-0001"),)), AT

    def test_type_is_in_the_path(self) -> None:
        """The address's last segment wins over everything else."""
        provider = self.make("s")
        request = Request(path="a/EVENT_ENDS/", query="romify_type=B").with_headers({"X-Romify-Type": "C"})
        assert provider.type_of(request, {"webhookType": "D"}) == "EVENT_ENDS"
        assert provider.type_of(Request(path="a\n" * 200), {})[:3] == "a\\n"
        assert len(provider.type_of(Request(path="a\n" * 200), {})) == 200

    def test_type_is_found_without_a_path(self) -> None:
        """Header, query and body follow, in this order; `event_type` changes it."""
        request = Request(query="romify_type=B")
        provider = self.make("s")
        assert provider.type_of(request.with_headers({"X-Romify-Type": "C"}), {"webhookType": "D"}) == "C"
        assert provider.type_of(request, {"webhookType": "D"}) == "B"
        assert provider.type_of(Request(), {"webhookType": "D"}) == "D"
        assert provider.type_of(Request(), {}) == "unknown"
        assert self.make("s", event_type=["=lead"]).type_of(request, {}) == "lead"

    def test_key_covers_the_type(self) -> None:
        """Two webhooks that send the same event for different reasons are two events, for ten minutes."""
        provider = self.make(*self.secrets[:2])
        first = self.request(provider)
        assert self.key(provider, first) != self.key(provider, first.with_headers({"X-Romify-Type": "EVENT_ENDS"}))
        assert provider.dedupe_for == 600

    def test_first_method_is_sent(self) -> None:
        """`inbox send` uses a method that the source takes."""
        assert self.request(self.make("s")).method == "POST"
        assert self.request(self.make("s", methods=["PUT"])).method == "PUT"

    def test_default_type(self) -> None:
        """A lead is what is sent if no type is asked for."""
        composed = self.make("s").compose(b"{}", "", id="1", at=AT)
        assert composed.header("X-Romify-Type") == "COMPLETED_FLOW_ALL_CHANGES"

    def test_unknown_place_is_an_error(self) -> None:
        """The four places are named."""
        with pytest.raises(ConfigError, match="'header', 'query', 'body', 'path'"):
            self.make("s", secret_in="cookie")


class TestRomifyQuery(RomifyChecklist):
    """The checklist for a secret in the query string."""

    options: ClassVar[Mapping[str, Any]] = {"secret_in": "query"}

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return a request as a browser would write it."""
        return self.make("a secret & more"), Request(query="a=1&romify_secret=a+secret+%26+more"), AT

    def forge(self, request: Request, credential: str | None) -> Request:
        """Return the request with another parameter; None removes it."""
        return request.replace(query="" if credential is None else f"romify_secret={credential}")

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_payload_is_the_query_without_secret_and_type(self, method: str) -> None:
        """What handlers get is the data and nothing else."""
        provider = self.make("s3cret")
        request = Request(method=method, query="id=1&romify_secret=s3cret&name=J%C3%BCrg&romify_type=EVENT_ENDS&empty=")
        stored = provider.redact(request)
        assert provider.verify(request, at=AT)
        assert stored.query == "id=1&romify_secret=[redacted]&name=J%C3%BCrg&romify_type=EVENT_ENDS&empty="
        assert provider.query_payload(stored) == {"id": "1", "name": "Jürg", "empty": ""}
        assert provider.type_of(stored, provider.query_payload(stored)) == "EVENT_ENDS"

    def test_parameters_may_change_their_order(self) -> None:
        """The same data in another order, under the other secret, is the same event."""
        provider = self.make("one", "two")
        keys = set()
        for query in ("a=1&b=2&romify_secret=one", "romify_secret=two&b=2&a=1"):
            request = Request(method="GET", query=query)
            stored, payload = provider.redact(request), provider.query_payload(request)
            verified = provider.verify(request, at=AT)
            keys.add(provider.key_of(stored, payload, verified, event_key.content_digest(stored)))
        assert len(keys) == 1

    def test_name_is_a_setting(self) -> None:
        """Another parameter can hold the secret, and is left out of the payload instead."""
        provider = self.make("s", secret_name="key")
        request = Request(method="GET", query="key=s&romify_secret=1")
        assert provider.verify(request, at=AT)
        assert provider.query_payload(provider.redact(request)) == {"romify_secret": "1"}


class TestRomifyBody(RomifyChecklist):
    """The checklist for a secret among the bodyParams."""

    options: ClassVar[Mapping[str, Any]] = {"secret_in": "body"}
    in_body = True

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return a body with one member more."""
        return self.make("s3cret"), Request(method="PUT", body=b'{"id":"1","romify_secret":"s3cret"}'), AT

    def forge(self, request: Request, credential: str | None) -> Request:
        """Return the request with another member; None removes it."""
        payload: dict[str, Any] = {**json.loads(request.body), "romify_secret": credential}
        return request.replace(body=json.dumps(payload).encode())

    def test_query_is_data_without_its_type(self) -> None:
        """A parameter called like the body's secret is data."""
        payload = self.make("s").query_payload(Request(query="/romify_secret=1&romify_type=x"))
        assert payload == {"/romify_secret": "1"}


class TestRomifyPath(RomifyChecklist):
    """The checklist for a secret in the address."""

    options: ClassVar[Mapping[str, Any]] = {"secret_in": "path"}

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return what follows `/in/SOURCE/`."""
        return self.make("s3cret"), Request(path="s3cret/EVENT_ENDS"), AT

    def forge(self, request: Request, credential: str | None) -> Request:
        """Return the request with another address."""
        return request.replace(path=credential or "")

    def test_secret_is_not_the_type(self) -> None:
        """The type is the last segment beside the secret, before and after redaction."""
        provider, request, _ = self.fixed()
        assert provider.type_of(request, {}) == "EVENT_ENDS"
        paths = {"s3cret/EVENT_ENDS": "EVENT_ENDS", "s3cret": "unknown", "s3cret/s3cret": "unknown"}
        for path, found in paths.items():
            stored = provider.redact(request.replace(path=path))
            assert provider.type_of(stored, {}) == found
            assert b"s3cret" not in everything(stored)

    def test_segment_is_a_setting(self) -> None:
        """The secret may follow the type."""
        provider = self.make("s3cret", secret_name="2")
        request = Request(path="EVENT_ENDS/s3cret")
        assert provider.verify(request, at=AT)
        assert provider.redact(request).path == f"EVENT_ENDS/{REDACTED}"
        assert provider.type_of(request, {}) == "EVENT_ENDS"
