"""Lemlist: activities of outreach campaigns, with a shared secret in the body.

Needs       the `secret` that was given when the hook was created, in `secrets`. A hook that was created without one
            sends none and is refused: make it anew. A hook's secret cannot be changed either, so a rotation is a
            second hook, with both secrets live here until the first one is deleted
Proves      body member `secret` equals the configured one. No header, no signature, no timestamp: whoever has seen one
            body can write others, so the secret is redacted before anything is stored
Answers     200 accepted, duplicate, conflict or quarantined · 400/422 with on_invalid = "reject" · 401 body not a JSON
            object, secret missing or wrong · 405 not POST · 413 over max_body · 503 store not available
Failure     not documented: neither retries nor time-outs nor what many failures lead to. So keys are kept for ever
Sources     developer.lemlist.com: webhooks/add-webhook, objects-definitions/webhook;
            github.com/l3mpire/lemlist-developer

The copies of the vendor's page that were read end before the secret; that it comes back in the body is from a capture
of that page and from three receivers that compare it. The key is `_id` of the activity; `enrichmentDone` may come
without one, and then the key is a digest of the body.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from inbox.core.models import REDACTED, Payload, iso
from inbox.verify.providers.base import Provider
from inbox.verify.schemes.base import Verifier
from inbox.verify.schemes.shared_secret import SharedSecret


@dataclass(frozen=True, kw_only=True)
class Lemlist(Provider):
    """Lemlist webhooks."""

    name: ClassVar[str] = "lemlist"
    published: ClassVar[str] = "https://developer.lemlist.com/api-reference/endpoints/webhooks/add-webhook"

    event_id: tuple[str, ...] = ("json:/_id",)
    event_type: tuple[str, ...] = ("json:/type",)

    @cached_property
    def verifier(self) -> Verifier:
        """Return the comparison with the body's member `secret`."""
        return SharedSecret(location="body", name="/secret")

    def sample(self, event_type: str, *, id: str, at: float) -> Payload:
        """Return an activity of a campaign; the secret's place is kept for `sign`."""
        return {
            "_id": id,
            "isFirst": True,
            "type": event_type or "emailsSent",
            "teamId": "tea_aaqam5a3BkY8zje24",
            "createdAt": iso(at),
            "sendUserId": "usr_aawMB5Gd5JJCFYvjp",
            "sendUserEmail": "richard@piedpiper.com",
            "sendUserName": "Richard Hendricks",
            "leadId": "lea_aafF6i3BjsDRDNAWN",
            "leadFirstName": "Jeanne",
            "leadLastName": "Doe",
            "leadEmail": "jeanne@doe.com",
            "campaignId": "cam_aaktcZg9z9xJKQgqK",
            "campaignName": "Campaign1",
            "sequenceId": "seq_aaPoZgbALLQhcLmqz",
            "sequenceStep": 2,
            "emailId": "eml_aaFHxT2ejiz7apYnn",
            "secret": REDACTED,
        }
