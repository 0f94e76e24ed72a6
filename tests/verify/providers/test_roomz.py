"""ROOMZ: HMAC-SHA512 in base64 over the body."""

import json

from inbox.core.models import Request
from inbox.verify.providers.base import Provider
from tests.verify.providers.checklist import AT, VECTORS, ProviderChecklist, recorded


class TestRoomz(ProviderChecklist):
    """The checklist, and what is special about ROOMZ."""

    provider = "roomz"
    header = "Roomz-Signature"
    event_type = "workspace.presence.changed"

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return the vector that was derived from signature.md."""
        vector = VECTORS["roomz-derived"]
        return self.make(vector["secret"]), recorded(vector), AT

    def test_key_is_the_id(self) -> None:
        """The sender's uuid is the key."""
        provider = self.make(*self.secrets[:2])
        assert self.key(provider, self.request(provider, id="e6ae112e")) == "e6ae112e"

    def test_header_has_been_renamed(self) -> None:
        """The header's old name can be configured."""
        provider = self.make(*self.secrets[:2], header="X-Roomz-Signature")
        assert self.request(provider).header("x-roomz-signature")
        assert provider.verify(self.request(provider), at=AT).scheme == "hmac"

    def test_sample_has_the_documented_fields(self) -> None:
        """The sample is spelled as the API spells it, not as the published example does."""
        provider = self.make(*self.secrets[:2])
        payload = json.loads(self.request(provider).body)
        assert set(payload) == {"id", "type", "timestamp", "apiVersion", "data"}
        assert payload["data"]["presenceStatus"] == "Busy"
