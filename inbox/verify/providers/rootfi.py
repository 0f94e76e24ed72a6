"""Rootfi: changes of accounting, payment, commerce and CRM data; v3 (docs.rootfi.dev) and v4 (Commenda).

Needs       `secrets`: for v3 the value of a static header that you set when you create the webhook (`headers`), for v4
            its `signing_key`. Name the webhook's type in its address (`/in/SOURCE/SYNC_COMPLETED`) or in a static
            header `X-Rootfi-Type`, because most payloads do not
Proves      v3: `header` equals the secret, which says nothing about the body. v4: `signature_header` is an HMAC of the
            body under the key; the type's header is not signed. No timestamp in either
Answers     200 accepted, duplicate, conflict or quarantined · 400/422 with on_invalid = "reject" · 401 header missing,
            malformed or wrong · 405 not POST · 413 over max_body · 503 store not available
Failure     v3: three retries with an exponential delay (an older page); v4: attempts are logged, no schedule is given.
            If v4 turns out to sign a timestamp, `tolerance` has to be as long as its retries last
Sources     docs.rootfi.dev and docs.integrationlabs.co: concepts/webhooks, v3/core/webhooks;
            integrations.docs.commenda.io: v4/core/webhooks

Servers cannot tell `api_key` from `api-key`, and here they are the same; nginx drops names with an underscore unless
told otherwise. Not documented: an event id, so the key is a digest of body and type and counts for a day; the payloads
of syncs; and of v4's signature the digest, encoding and content, so these are settings: HMAC-SHA256 of the body, as hex
or base64 with or without `sha256=`. Look at one real request before you rely on v4.
A full sync sends unchanged rows again as UPDATE, and a CREATE may hold only some of the fields.
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import ClassVar, Literal
from zlib import crc32

from inbox.core.models import Payload, Request, Verified, header_name, iso
from inbox.verify import event_key
from inbox.verify.providers.base import Provider
from inbox.verify.schemes.base import Verifier, redact_headers
from inbox.verify.schemes.hmac import Digest, Hmac, LenientHmac
from inbox.verify.schemes.shared_secret import SharedSecret

CHANGES = "DATA_MODEL_CHANGES"
TYPES = (CHANGES, "CONNECTION_CHANGED", "SYNC_COMPLETED", "SYNC_STARTED", "INTEGRATION")
TYPE_HEADER = "X-Rootfi-Type"


@dataclass(frozen=True, kw_only=True)
class Rootfi(Provider):
    """Rootfi webhooks.

    version           "v3": static header; "v4": signature
    header            v3: the static header that holds the secret
    signature_header  v4: the header of the signature
    prefix            text before the secret or the signature
    digest, encoding, signed, timestamp_header, tolerance
                      v4: as the provider `hmac` has them; encoding "auto" takes hex and base64
    """

    name: ClassVar[str] = "rootfi"
    published: ClassVar[str] = "https://docs.rootfi.dev/documentation/concepts/webhooks"

    version: Literal["v3", "v4"] = "v3"
    header: str = "api_key"
    signature_header: str = "X-RootFi-Signature"
    prefix: str = ""
    digest: Digest = "sha256"
    encoding: Literal["auto", "hex", "base64"] = "auto"
    signed: str = "{body}"
    timestamp_header: str = ""
    tolerance: float = 300.0
    dedupe_for: float = 86400.0

    @cached_property
    def verifier(self) -> Verifier:
        """Return the comparison with a header for v3, an HMAC for v4."""
        if self.version == "v3":
            return SharedSecret(location="header", name=self.header, prefix=self.prefix)
        return (LenientHmac if self.encoding == "auto" else Hmac)(
            header=self.signature_header,
            digest=self.digest,
            encoding="hex" if self.encoding == "auto" else self.encoding,
            prefix=self.prefix,
            signed=self.signed,
            timestamp_header=self.timestamp_header,
            tolerance=self.tolerance,
        )

    def redact(self, request: Request) -> Request:
        """Return the request without the value of the static header, which v4 may send as well."""
        return redact_headers(super().redact(request), [header_name(self.header)])

    def type_of(self, request: Request, payload: Payload) -> str:
        """Return the webhook's type, for changes of data with model and operation: `DATA_MODEL_CHANGES.BILLS.CREATE`.

        From `event_type` where that is set, else from the path, the header or what the payload looks like.
        """
        chosen = super().type_of(request, payload)
        if chosen != event_key.UNKNOWN_TYPE:
            return chosen
        members = payload if isinstance(payload, dict) else {}
        parts = [_named(request) or _inferred(members)]
        if parts == [CHANGES]:
            found = (members.get("data_model"), members.get("type"))
            parts += [part for part in found if isinstance(part, str) and part]
        return event_key.printable(".".join(parts), event_key.MAX_TYPE)

    def key_of(self, request: Request, payload: Payload, verified: Verified, digest: bytes) -> str:
        """Return a digest that covers the type too: it may stand outside the body, and bodies may be short.

        Of a signed body only the known types count: the type's header is not signed, and a captured body must not be
        a new event under each word that somebody puts there.
        """
        chosen = self.type_of(request, payload)
        known = self.version == "v3" or chosen.partition(".")[0] in TYPES
        typed = sha256(digest + (chosen if known else event_key.UNKNOWN_TYPE).encode()).digest()
        return super().key_of(request, payload, verified, typed)

    def sample(self, event_type: str, *, id: str, at: float) -> Payload:
        """Return a payload of that type; what is in `data`, and a sync's payload, is made up."""
        base, _, rest = (event_type or CHANGES).partition(".")
        company = crc32(id.encode())
        if base == "CONNECTION_CHANGED":
            return {"event": "connection.changed", "company_id": company}
        if base != CHANGES:
            return {"company_id": company, "syncId": id}
        model, _, operation = (rest or "ACCOUNTS.UPDATE").partition(".")
        return {
            "company_id": company,
            "created_at": iso(at)[:10],
            "data_model": model,
            "integration_type": "XERO",
            "type": operation or "UPDATE",
            "data": {"id": id},
        }

    def compose(self, payload: bytes, event_type: str, *, id: str, at: float) -> Request:
        """Return a request with the header that names the webhook's type."""
        request = super().compose(payload, event_type, id=id, at=at)
        return request.with_headers({TYPE_HEADER: (event_type or CHANGES).partition(".")[0]})


def _named(request: Request) -> str | None:
    """Return the type that path or header name; in the path only a known one, as other segments may stand there."""
    segment = (event_key.find("path:1", request, None) or "").upper()
    if segment in TYPES:
        return segment
    header = (request.header(TYPE_HEADER) or "").strip()
    return header.upper() if header.upper() in TYPES else header or None


def _inferred(members: dict[str, Payload]) -> str:
    if "data_model" in members:
        return CHANGES
    return "CONNECTION_CHANGED" if members.get("event") == "connection.changed" else event_key.UNKNOWN_TYPE
