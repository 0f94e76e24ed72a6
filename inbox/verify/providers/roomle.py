"""Roomle: e-mail events of the tenant's configurators, with an encrypted token that does not cover the body.

Needs       the secret (16, 24 or 32 characters) in `secrets` and the API key in `api_key`, both issued by Roomle. The
            same API key must be in the tenant's settings; without it Roomle encrypts under a default secret, which
            proves nothing: such a tenant needs provider "unsigned", or "token" with a secret path in the webhook URL
Proves      the token decrypts to date;session;API key and its date is at most `tolerance` seconds away: its maker knew
            the secret then. Not that this body is his: whoever reads a token can send another body with it while it
            is fresh, so HTTPS is needed. Another body under a used token is a conflict and does not run
Answers     200 accepted, duplicate, conflict or quarantined · 400/422 with on_invalid = "reject" · 401 token missing,
            malformed, of a refused scheme, not decryptable, of another API key, or out of tolerance · 405 not POST ·
            413 over max_body · 503 store not available
Failure     2xx says "I send the e-mail"; from 300 on Roomle sends its own instead, and no retry is documented. So every
            refusal and every 503 becomes an e-mail of Roomle's, and a quarantined event becomes none until it is
            replayed. With on_invalid = "reject" Roomle takes over what no handler here could read: a good choice where
            the e-mail matters more than the record
Sources     docs.roomle.com: rapi/Webhook, rubens/rest-api: webhook, endpoints/authentication (form of the token)

No retry means that `tolerance` has to cover clocks and the way only.

Not documented: the header (`token`, as in Roomle's own API; x-token and authorization are tried too), what is in the
webhook's token (taken to be the API's), whether one token serves several posts (`token_reuse`), and the IV. "auto"
tries three rules, and under it whoever has seen a token can rewrite its date: that makes a duplicate or a conflict,
never a new event, as long as the keys are kept. Where tokens turn out to have no IV in front, set `iv` to that rule.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from inbox.core.models import Payload, Request, Secret, Verified
from inbox.verify.providers.base import Provider
from inbox.verify.schemes.aes_token import AesToken, Scheme
from inbox.verify.schemes.base import Verifier


@dataclass(frozen=True, kw_only=True)
class Roomle(Provider):
    """Roomle webhooks.

    header       where the token is
    schemes      "01" (AES-CBC), and "02" (AES-ECB) only if named here
    iv           "auto", "prefix", "zero", "key", or 32 hex digits
    api_key      what the token must carry; env:NAME or file:PATH, as it is half of the credential
    tolerance    seconds, both ways
    token_reuse  "conflict": another body under a used token does not run; "allow": it is another event, and then a
                 captured token makes new events for `tolerance` seconds, or at any time where its date can be rewritten
    """

    name: ClassVar[str] = "roomle"
    published: ClassVar[str] = "https://docs.roomle.com/rapi/Webhook.html"

    header: str = "token"
    schemes: tuple[Scheme, ...] = ("01",)
    iv: str = "auto"
    api_key: Secret | None = None
    tolerance: float = 300.0
    token_reuse: Literal["conflict", "allow"] = "conflict"
    event_id: tuple[str, ...] = ("token",)
    event_type: tuple[str, ...] = ("json:/event",)

    @cached_property
    def verifier(self) -> Verifier:
        """Return the decryption of the token."""
        return AesToken(
            header=self.header, schemes=self.schemes, iv=self.iv, api_key=self.api_key, tolerance=self.tolerance
        )

    def key_of(self, request: Request, payload: Payload, verified: Verified, digest: bytes) -> str:
        """Return the token's digest, with token_reuse = "allow" also the content's."""
        key = super().key_of(request, payload, verified, digest)
        return f"{key}:{digest.hex()}" if self.token_reuse == "allow" and key == verified.key else key

    def sample(self, event_type: str, *, id: str, at: float) -> Payload:
        """Return a saved configuration; its date is in the token."""
        configuration = f"catalogId:itemId:{id}"
        return {
            "event": event_type or "email.savedConfiguration",
            "data": {
                "success": True,
                "email": "ada@example.com",
                "configurationId": configuration,
                "url": f"https://www.roomle.com/t/cp/?id={configuration}&configuratorId=myConfigurator",
                "configuratorId": "myConfigurator",
            },
        }
