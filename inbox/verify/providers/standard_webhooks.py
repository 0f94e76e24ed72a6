"""Standard Webhooks: any sender that follows the specification, and Svix, which signs for many.

Needs       the endpoint's secret in `secrets`: `whsec_…` for v1, the public key `whpk_…` for v1a; both kinds may be
            live together. `inbox send` signs with the first one, which must be `whsec_…` or `whsk_…` for that
Proves      header `webhook-signature`: one of its items is HMAC-SHA256 (v1) or Ed25519 (v1a) over
            `{webhook-id}.{webhook-timestamp}.{body}`, and the timestamp is at most `tolerance` seconds away. The id is
            signed, so it is the event key. Svix's own `svix-…` headers are taken in the same way
Answers     200 accepted, duplicate, conflict or quarantined · 400/422 with on_invalid = "reject" · 401 a header missing
            or malformed, no signature fits, or the timestamp is out of tolerance · 405 not POST · 413 over max_body ·
            503 store not available, with Retry-After, which senders should honour
Failure     any status but 2xx, redirects included, is a failed delivery, and 410, which is never sent here, would
            disable the endpoint; 429, 502 and 504 slow the sender down; 15 to 30 s time-out. Retries keep the id and
            have a new timestamp; the example schedule is ten attempts in three days, so keys are kept for ever
Sources     github.com/standard-webhooks/standard-webhooks: spec/standard-webhooks.md 1.0.0 and its libraries;
            github.com/svix/svix-webhooks for the layout of `whsk_` keys

Not documented: the exact tolerance; the reference libraries have 300 s, both ways. Each attempt is signed anew, so that
is enough for the retries of three days. A sender that keeps the timestamp over retries breaks the specification: set
`tolerance` to the length of its schedule.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from inbox.core.models import Payload, Request, iso
from inbox.verify.providers.base import Provider
from inbox.verify.schemes import standard_webhooks
from inbox.verify.schemes.base import Verifier


@dataclass(frozen=True, kw_only=True)
class StandardWebhooks(Provider):
    """Standard Webhooks. `tolerance` is in seconds, both ways."""

    name: ClassVar[str] = "standard_webhooks"
    published: ClassVar[str] = "https://github.com/standard-webhooks/standard-webhooks"
    deadline: ClassVar[float | None] = 15.0

    tolerance: float = 300.0
    event_id: tuple[str, ...] = ("token",)
    event_type: tuple[str, ...] = ("json:/type", "json:/event_type")

    @cached_property
    def verifier(self) -> Verifier:
        """Return the check of the three headers."""
        return standard_webhooks.StandardWebhooksScheme(tolerance=self.tolerance)

    def sample(self, event_type: str, *, id: str, at: float) -> Payload:
        """Return a payload of the form that the specification recommends."""
        return {"type": event_type or "contact.created", "timestamp": iso(at), "data": {"id": id}}

    def compose(self, payload: bytes, event_type: str, *, id: str, at: float) -> Request:
        """Return a request with its id; the signature adds the other two headers."""
        return super().compose(payload, event_type, id=id, at=at).with_headers({"webhook-id": id})
