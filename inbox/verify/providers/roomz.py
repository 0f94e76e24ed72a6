"""ROOMZ: workspace presence events, signed over the raw body.

Needs       the webhook secret that ROOMZ issues (support or sales) in `secrets`
Proves      header `Roomz-Signature`: base64 of HMAC-SHA512 over the body, key is the UTF-8 secret. Nothing else is
            signed: no timestamp, so a captured request stays valid and only the event id stops a replay
Answers     200 accepted, duplicate, conflict or quarantined · 400/422 with on_invalid = "reject" · 401 signature
            missing, malformed or wrong · 405 not POST · 413 over max_body · 503 store not available
Failure     any status but 2xx is a failed delivery; 30 s time-out; the same event may come several times; the retry
            schedule is not documented, so keys are kept for ever
Sources     github.com/roomz-io/openapi: documentation/signature.md, openapi/spec3.yml, README.MD (March 2025)

The header was `X-Roomz-Signature` until July 2024: set `header` for a sender that still uses it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from inbox.core.models import Payload, iso
from inbox.verify.providers.base import Provider
from inbox.verify.schemes.base import Verifier
from inbox.verify.schemes.hmac import Hmac


@dataclass(frozen=True, kw_only=True)
class Roomz(Provider):
    """ROOMZ webhooks."""

    name: ClassVar[str] = "roomz"
    published: ClassVar[str] = "https://github.com/roomz-io/openapi"
    deadline: ClassVar[float | None] = 30.0

    header: str = "Roomz-Signature"
    event_id: tuple[str, ...] = ("json:/id",)
    event_type: tuple[str, ...] = ("json:/type",)

    @cached_property
    def verifier(self) -> Verifier:
        """Return HMAC-SHA512 in base64 over the body."""
        return Hmac(header=self.header, digest="sha512", encoding="base64")

    def sample(self, event_type: str, *, id: str, at: float) -> Payload:
        """Return a presence change; `data.presenceStatus` is `Busy`."""
        return {
            "id": id,
            "type": event_type or "workspace.presence.changed",
            "timestamp": iso(at),
            "apiVersion": "1.0",
            "data": {"workspaceId": "e6ae112e-2af3-4d72-894b-03435d7afde4", "presenceStatus": "Busy"},
        }
