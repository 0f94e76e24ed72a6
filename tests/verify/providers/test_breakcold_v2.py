"""Breakcold, current: HMAC-SHA256 over timestamp and body."""

import json

import pytest

from inbox.core.errors import ConfigError
from inbox.core.models import Request
from inbox.verify.providers.base import Provider
from tests.verify.providers.checklist import AT, SCHEMAS, VECTORS, ProviderChecklist, recorded

EVENTS = [
    *("record.created", "record.updated", "record.deleted", "relation.added", "relation.removed"),
    *("note.created", "note.updated", "note.deleted", "task.created", "task.completed"),
    *("call.linked", "call.unlinked", "file.uploaded", "file.deleted"),
]


class TestBreakcoldV2(ProviderChecklist):
    """The checklist, and what is special about Breakcold's signed webhooks."""

    provider = "breakcold_v2"
    header = "X-Webhook-Signature"
    malformed = (*ProviderChecklist.malformed, "sha256=", "sha256=" + "0" * 63, "sha1=" + "0" * 40, "0" * 64)
    event_type = "task.completed"
    signs_time = True

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return the vector that was derived from the vendor's page."""
        vector = VECTORS["breakcold-v2-derived"]
        return self.make(vector["secret"]), recorded(vector), vector["now"]

    def test_signed_id_and_type_come_first(self) -> None:
        """Changing the headers that are not signed changes neither key nor type."""
        provider, request, _ = self.fixed()
        forged = request.with_headers({"X-Webhook-Delivery-Id": "evt_other", "X-Webhook-Event": "note.created"})
        payload = json.loads(forged.body)
        assert self.key(provider, forged) == "evt_abc123"
        assert provider.type_of(forged, payload) == "record.deleted"

    def test_headers_serve_where_the_body_has_nothing(self) -> None:
        """Without `eventId` and `event` the headers name the event."""
        provider, request, _ = self.fixed()
        bare = provider.sign(request.replace(body=b"{}"), at=AT)
        assert self.key(provider, bare) == "evt_abc123"
        assert provider.type_of(bare, {}) == "record.deleted"

    def test_missing_timestamp_is_refused(self) -> None:
        """A signature without its timestamp cannot be checked."""
        provider, request, at = self.fixed()
        headers = tuple(pair for pair in request.headers if pair[0] != "x-webhook-timestamp")
        assert self.refusal(provider, request.replace(headers=headers), at=at).reason == "missing"

    def test_changed_timestamp_is_refused(self) -> None:
        """The timestamp is signed: a captured request cannot be made younger."""
        provider, request, at = self.fixed()
        younger = request.with_headers({"X-Webhook-Timestamp": str(int(at) + 600)})
        assert self.refusal(provider, younger, at=at + 600).reason == "mismatch"

    def test_tolerance_is_a_setting(self) -> None:
        """A wider window takes an older request."""
        _, request, at = self.fixed()
        assert self.make("test_signing_secret", tolerance=600).verify(request, at=at + 600)
        with pytest.raises(ConfigError, match="tolerance"):
            self.make("test_signing_secret", tolerance=0)
        with pytest.raises(ConfigError, match="tolerance"):
            self.make("test_signing_secret", tolerance=float("nan"))

    @pytest.mark.parametrize("event_type", EVENTS)
    def test_every_sample_matches_its_schema(self, event_type: str) -> None:
        """Each documented event can be sent and carries what its family carries."""
        payload = self.make("s").sample(event_type, id="evt_1", at=AT)
        assert payload["event"] == event_type
        assert SCHEMAS.violations(self.provider, event_type, payload, formats="assert") == ()

    def test_composed_request_names_event_and_delivery(self) -> None:
        """`inbox send` sets the headers that the sender sets."""
        request = self.request(self.make(*self.secrets[:2]), id="evt_1")
        assert request.header("X-Webhook-Delivery-Id") == "evt_1"
        assert request.header("X-Webhook-Event") == "task.completed"
