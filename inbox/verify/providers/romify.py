"""Romify: leads that are scanned or changed, and events that start and end; with a secret of your own.

Needs       a secret that you put into the webhook's own `headers`, `queryParams` or `bodyParams`, or into its address,
            and here into `secrets`; `secret_in` and `secret_name` say where. Name the webhook's type the same way
Proves      the secret stands where it should. No signature, no timestamp: whoever has seen one request can write
            others, so the secret is redacted before anything is stored
Answers     200 accepted, duplicate, conflict or quarantined · 400/422 with on_invalid = "reject" · 401 secret missing,
            twice or wrong · 405 not POST, PUT, GET or DELETE · 413 over max_body · 503 store not available
Failure     not documented: neither retries nor time-outs. The key is a digest of data and type and counts for ten
            minutes, because one lead is sent again at each change and may change back
Sources     help.romify.io: Webhooks, Rest API

Not documented: the fields of leads and events, whether a body names its type, how GET and DELETE carry the data (here:
in the query string, or a JSON body if there is one) and how bodyParams are merged (here: members of the body).
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import ClassVar, Literal

from inbox.core.models import REDACTED, Payload, Request, Verified, iso
from inbox.verify import event_key
from inbox.verify.providers.base import Provider
from inbox.verify.schemes.base import Verifier
from inbox.verify.schemes.shared_secret import SharedSecret

TYPE_HEADER = "X-Romify-Type"
TYPE_PARAMETER = "romify_type"

_DEFAULT = "COMPLETED_FLOW_ALL_CHANGES"
_NAMES = {"header": "X-Romify-Secret", "query": "romify_secret", "body": "/romify_secret", "path": "1"}


@dataclass(frozen=True, kw_only=True)
class Romify(Provider):
    """Romify webhooks.

    secret_in    where the secret is: header, query, body or path
    secret_name  its name there; X-Romify-Secret, romify_secret, /romify_secret or segment 1 if none is given
    prefix       text before the secret in a header, as in "Bearer "
    event_type   rules for a type that the path does not name
    """

    name: ClassVar[str] = "romify"
    published: ClassVar[str] = "https://help.romify.io/Webhooks-126ed69e45e58069928ec87e7e3247a8"

    secret_in: Literal["header", "query", "body", "path"] = "header"
    secret_name: str = ""
    prefix: str = ""
    methods: tuple[str, ...] = ("POST", "PUT", "GET", "DELETE")
    event_type: tuple[str, ...] = (f"header:{TYPE_HEADER}", f"query:{TYPE_PARAMETER}", "json:/webhookType")
    dedupe_for: float = 600.0

    @cached_property
    def verifier(self) -> Verifier:
        """Return the comparison with what stands at the secret's place."""
        return SharedSecret(location=self.secret_in, name=self._name, prefix=self.prefix)

    @property
    def _name(self) -> str:
        return self.secret_name or _NAMES[self.secret_in]

    def type_of(self, request: Request, payload: Payload) -> str:
        """Return the last segment of the path that is not the secret, else what the rules find."""
        segments = [segment for segment in request.path.split("/") if segment]
        if self.secret_in == "path":
            del segments[int(self._name) - 1 : int(self._name)]
        named = [segment for segment in segments if segment != REDACTED]
        if named:
            return event_key.printable(named[-1], event_key.MAX_TYPE)
        return super().type_of(request, payload)

    def key_of(self, request: Request, payload: Payload, verified: Verified, digest: bytes) -> str:
        """Return a digest that covers the type too: two webhooks may send the same data for different reasons."""
        typed = sha256(digest + self.type_of(request, payload).encode()).digest()
        return super().key_of(request, payload, verified, typed)

    def query_payload(self, request: Request) -> Payload:
        """Return the parameters without the secret and the type."""
        hidden = {TYPE_PARAMETER, self._name} if self.secret_in == "query" else {TYPE_PARAMETER}
        return {name: value for name, value in super().query_payload(request).items() if name not in hidden}

    def sample(self, event_type: str, *, id: str, at: float) -> Payload:
        """Return a lead or an event; its fields are made up."""
        return {"id": id, "updatedAt": iso(at)}

    def compose(self, payload: bytes, event_type: str, *, id: str, at: float) -> Request:
        """Return a request by the first of `methods`, with the header that names the webhook's type."""
        request = super().compose(payload, event_type, id=id, at=at).replace(method=self.methods[0])
        return request.with_headers({TYPE_HEADER: event_type or _DEFAULT})
