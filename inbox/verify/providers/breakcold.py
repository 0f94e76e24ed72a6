"""Breakcold, legacy webhooks: CRM events that carry a shared secret in the body.

Needs       the endpoint's secret, which Breakcold shows as `wh_…`, in `secrets`
Proves      body member `secret` equals the configured one. No header, no signature, no timestamp: whoever has seen one
            body can write others, so the secret is redacted before anything is stored
Answers     200 accepted, duplicate, conflict or quarantined · 400/422 with on_invalid = "reject" · 401 body not a JSON
            object, secret missing or wrong · 405 not POST · 413 over max_body · 503 store not available
Failure     a failed delivery is not sent again; after ten of them the endpoint is paused
Sources     developer.breakcold.com/webhook

Not documented: an id of the event or delivery, a timestamp, the payloads of most events. So the key is a digest of the
body, and it counts for a day: a later event may look exactly the same. The triple of event, payload.id and
payload.updated_at would be a weaker key and is not used, because nothing says that every change moves updated_at.
For the signed webhooks of docs.breakcold.com use the provider `breakcold_v2`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from inbox.core.models import REDACTED, Payload, iso
from inbox.verify.providers.base import Provider
from inbox.verify.schemes.base import Verifier
from inbox.verify.schemes.shared_secret import SharedSecret


@dataclass(frozen=True, kw_only=True)
class Breakcold(Provider):
    """Breakcold webhooks with a secret in the body."""

    name: ClassVar[str] = "breakcold"
    published: ClassVar[str] = "https://developer.breakcold.com/webhook"
    retries_for: ClassVar[float | None] = 0.0

    event_type: tuple[str, ...] = ("json:/event",)
    dedupe_for: float = 86400.0

    @cached_property
    def verifier(self) -> Verifier:
        """Return the comparison with the body's member `secret`."""
        return SharedSecret(location="body", name="/secret")

    def sample(self, event_type: str, *, id: str, at: float) -> Payload:
        """Return a new lead; the secret's place is kept for `sign`."""
        return {
            "id_space": "eb8edc65-129a-4cb6-abbe-6bf8979c0658",
            "event": event_type or "lead.create",
            "secret": REDACTED,
            "payload": {
                "id": id,
                "email": None,
                "company": None,
                "notes": None,
                "created_at": iso(at),
                "updated_at": None,
                "first_name": "Jean",
                "icebreaker": "",
                "last_name": "remove",
                "is_deleted": False,
                "custom_fields": None,
                "order": 0,
                "contract_value": 0,
                "is_tracked": False,
                "id_space": "eb8edc65-129a-4cb6-abbe-6bf8979c0658",
            },
        }
