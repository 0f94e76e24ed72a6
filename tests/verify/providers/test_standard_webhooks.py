"""Standard Webhooks: signatures over id, timestamp and body."""

import json

import pytest

from inbox.core.errors import ConfigError
from inbox.core.models import Request
from inbox.verify.providers.base import Provider
from tests.verify.providers.checklist import AT, VECTORS, ProviderChecklist, recorded


class TestStandardWebhooks(ProviderChecklist):
    """The checklist, and what is special about Standard Webhooks."""

    provider = "standard_webhooks"
    secrets = (
        "whsec_Zmlyc3Qtc2VjcmV0LWZpcnN0LXNlY3JldA==",
        "whsec_c2Vjb25kLXNlY3JldC1zZWNvbmQtc2VjcmV0",
        "whsec_d3Jvbmctc2VjcmV0LXdyb25nLXNlY3JldCE=",
    )
    header = "webhook-signature"
    malformed = (*ProviderChecklist.malformed, "v1", "v1,", "v1,*", "v2,AAAA", "v1a,AAAA", "v1=AAAA")
    event_type = "invoice.paid"
    signs_time = True

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return the vector of the reference libraries."""
        vector = VECTORS["standard-webhooks-1"]
        return self.make(vector["secret"]), recorded(vector), vector["now"]

    def test_asymmetric_vector_is_accepted(self) -> None:
        """Svix's Ed25519 vector is believed under its public key."""
        vector = VECTORS["svix-ed25519"]
        verified = self.make(vector["public_key"]).verify(recorded(vector), at=vector["now"])
        assert str(verified) == "standard webhooks v1a, secret 1"

    def test_id_is_the_key(self) -> None:
        """`webhook-id` is signed and stays the same over retries, so it alone is the key."""
        provider = self.make(*self.secrets[:2])
        request = self.request(provider, id="msg_1")
        later = provider.sign(request, at=AT + 60)
        assert self.key(provider, request) == self.key(provider, later) == "msg_1"
        assert provider.dedupe_for == 0

    def test_svix_id_is_the_key_too(self) -> None:
        """The key is found under Svix's header names."""
        provider, request, at = self.fixed()
        headers = tuple((name.replace("webhook-", "svix-"), value) for name, value in request.headers)
        assert provider.verify(request.replace(headers=headers), at=at).key == "msg_p5jXN8AQM9LWM0D4loKWxJek"

    def test_event_type_serves_where_there_is_no_type(self) -> None:
        """Some senders write `event_type`."""
        provider = self.make(*self.secrets[:2])
        assert provider.type_of(Request(), {"event_type": "a.b"}) == "a.b"
        assert provider.type_of(Request(), {"type": "c", "event_type": "a.b"}) == "c"

    @pytest.mark.parametrize("secret", ["whsec_", "whsec_*", "whpk_AAAA", "not base64"])
    def test_unusable_secret_is_an_error(self, secret: str) -> None:
        """A secret of another form does not start."""
        with pytest.raises(ConfigError, match="a secret is not whsec_ and base64"):
            self.make(secret)

    def test_sample_has_the_recommended_form(self) -> None:
        """The sample is type, timestamp and data."""
        body = json.loads(self.request(self.make(*self.secrets[:2])).body)
        assert list(body) == ["type", "timestamp", "data"]
