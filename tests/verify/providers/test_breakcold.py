"""Breakcold, legacy: a secret in the body."""

import json

from inbox.core.models import REDACTED, Request
from inbox.verify.providers.base import Provider
from tests.verify.providers.checklist import AT, BodySecretChecklist, everything

PUBLISHED = b"""{
    "id_space": "eb8edc65-129a-4cb6-abbe-6bf8979c0658",
    "event": "lead.create",
    "secret": "wh_a46f35f22d9723a",
    "payload": {
        "id": "e106db1f-aba3-40ba-97a7-507b54757ef8",
        "email": null,
        "created_at": "2023-04-29T11:13:55.021Z",
        "first_name": "Jean",
        "contract_value": 0
    }
}"""


class TestBreakcold(BodySecretChecklist):
    """The checklist, and what is special about Breakcold's legacy webhooks."""

    provider = "breakcold"
    event_type = "lead.update"

    def fixed(self) -> tuple[Provider, Request, float]:
        """Return the published example, shortened."""
        return self.make("wh_a46f35f22d9723a"), Request(body=PUBLISHED), AT

    def test_published_example_keeps_its_bytes(self) -> None:
        """Only the secret's string is another one in what is stored."""
        provider, request, _ = self.fixed()
        assert provider.redact(request).body == PUBLISHED.replace(b"wh_a46f35f22d9723a", REDACTED.encode())

    def test_key_is_a_digest(self) -> None:
        """Without an id the body is the identity, for a day."""
        provider, request, _ = self.fixed()
        assert self.key(provider, request).startswith("sha256:")
        assert provider.dedupe_for == 86400

    def test_type_is_the_event(self) -> None:
        """`event` is the type; `lead.create` is what `inbox send` sends by itself."""
        provider, request, _ = self.fixed()
        assert provider.type_of(request, json.loads(request.body)) == "lead.create"
        assert provider.sample("", id="1", at=AT)["event"] == "lead.create"

    def test_everything_else_stays_readable(self) -> None:
        """Redaction takes the secret and nothing else."""
        provider, request, _ = self.fixed()
        assert json.loads(request.body) | {"secret": REDACTED} == json.loads(provider.redact(request).body)
        assert b"Jean" in everything(provider.redact(request))
