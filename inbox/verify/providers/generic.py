"""Senders that have no file of their own: HMAC, a shared token, or HTTP Basic, all by settings.

Needs       provider "hmac": the key in `secrets`, and `header`; "token": the token in `secrets`, `secret_in` and
            `secret_name`; "basic": the password in `secrets`, and `username`. Say where id and type are with `event_id`
            and `event_type`: without them the key is a digest of the body and the type is "unknown"
Proves      "hmac": the body, and what else `signed` names, is the sender's; the timestamp only if it is signed.
            "token" and "basic": the sender knows the secret. The body is not covered, so HTTPS is needed, and the
            credential is redacted before anything is stored
Answers     200 accepted, duplicate, conflict or quarantined (`ack_status` for a sender that wants another 2xx) ·
            400/422 with on_invalid = "reject" · 401 credential missing, malformed or wrong, or signed timestamp out of
            tolerance · 405 not in `methods` · 413 over max_body · 503 store not available
Failure     the sender's affair; keys are kept for ever unless `dedupe_for` is set. A retry that is older than
            `tolerance` by its signed timestamp is refused: where retries keep their timestamp, set it to the length of
            the retry schedule. That lets nobody replay: what was stored is a duplicate
Sources     the sender's documentation; RFC 2104 (HMAC), RFC 7617 (Basic)

Settings of "hmac" for some well-known senders, besides `secrets`:
  GitHub    header = "X-Hub-Signature-256", prefix = "sha256=", event_id = "header:X-GitHub-Delivery",
            event_type = "header:X-GitHub-Event"
  Shopify   header = "X-Shopify-Hmac-Sha256", encoding = "base64", event_id = "header:X-Shopify-Event-Id",
            event_type = "header:X-Shopify-Topic"
  Stripe    header = "Stripe-Signature", list_keys = ["t", "v1"], signed = "{timestamp}.{body}",
            event_id = "json:/id", event_type = "json:/type"
  Slack     header = "X-Slack-Signature", prefix = "v0=", signed = "v0:{timestamp}:{body}",
            timestamp_header = "X-Slack-Request-Timestamp", event_id = "json:/event_id", event_type = "json:/event/type"
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from inbox.core.models import Payload, Request
from inbox.verify.providers.base import Provider
from inbox.verify.schemes.base import Verifier
from inbox.verify.schemes.basic import Basic
from inbox.verify.schemes.hmac import Digest, Encoding, Hmac, KeyEncoding
from inbox.verify.schemes.shared_secret import Location, SharedSecret


@dataclass(frozen=True, kw_only=True)
class _Generic(Provider):
    """What the three have in common: samples that fit the rules for id and type."""

    def sample(self, event_type: str, *, id: str, at: float) -> Payload:
        """Return an object with id and type where the rules look for them, if that is not deeper inside."""
        payload = {**super().sample(event_type, id=id, at=at)}
        for rules, value in ((self.event_id, id), (self.event_type, event_type or "test")):
            name = _named(rules, "json:/")
            if name and "/" not in name:
                payload[name] = value
        return payload

    def compose(self, payload: bytes, event_type: str, *, id: str, at: float) -> Request:
        """Return a request by the first of `methods`, with the headers that the rules name."""
        request = super().compose(payload, event_type, id=id, at=at).replace(method=self.methods[0])
        for rules, value in ((self.event_id, id), (self.event_type, event_type or "test")):
            name = _named(rules, "header:")
            if name:
                request = request.with_headers({name: value})
        return request

    def warnings(self) -> tuple[str, ...]:
        """Return a warning for keys that are a digest and never expire."""
        if self.event_id[:1] in ((), ("body",)) and not self.dedupe_for:
            return ("equal bodies are one event for ever: name the sender's id in event_id, or set dedupe_for",)
        return ()


@dataclass(frozen=True, kw_only=True)
class GenericHmac(_Generic):
    """HMAC webhooks of any sender.

    header            where the signature is
    digest            sha1 (warns), sha256, sha384, sha512
    encoding          of the signature: hex, base64
    prefix            text before the signature, as in "sha256="
    signed            what is signed: {body}, {timestamp} and {id}, other text as it stands
    timestamp_header  where {timestamp} is: whole Unix seconds
    id_header         where {id} is
    list_keys         for a header of the form `t=…,v1=…`: the key of the timestamp and the key of a signature
    tolerance         seconds, both ways, for a timestamp that is signed. A sender that signs each retry anew needs no
                      more than the default; one whose retries keep their timestamp needs his whole retry schedule
    key_encoding      what the secret is written in: utf8 (its bytes are the key), base64, hex
    """

    name: ClassVar[str] = "hmac"
    published: ClassVar[str] = "https://www.rfc-editor.org/rfc/rfc2104"

    header: str = ""
    digest: Digest = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""
    signed: str = "{body}"
    timestamp_header: str = ""
    id_header: str = ""
    list_keys: tuple[str, ...] = ()
    tolerance: float = 300.0
    key_encoding: KeyEncoding = "utf8"

    @cached_property
    def verifier(self) -> Hmac:
        """Return HMAC with these settings."""
        return Hmac(
            header=self.header,
            digest=self.digest,
            encoding=self.encoding,
            prefix=self.prefix,
            signed=self.signed,
            timestamp_header=self.timestamp_header,
            id_header=self.id_header,
            list_keys=self.list_keys,
            tolerance=self.tolerance,
            key_encoding=self.key_encoding,
        )

    def compose(self, payload: bytes, event_type: str, *, id: str, at: float) -> Request:
        """Return a request with the headers that the rules and the template name."""
        request = super().compose(payload, event_type, id=id, at=at)
        return request.with_headers({self.id_header: id}) if self.id_header else request

    def check(self) -> None:
        """Raise ValueError if the settings do not fit together."""
        if not self.header:
            raise ValueError("header is missing; allowed: the name of the header with the signature")
        super().check()

    def warnings(self) -> tuple[str, ...]:
        """Return warnings for SHA-1, and for an id that anybody could change."""
        found = super().warnings()
        if self.digest == "sha1":
            found += ('digest = "sha1" is weak: ask the sender for sha256',)
        if not all(map(self.covers, self.event_id)):
            found += (
                "event_id names something that is not signed: the same content under another id becomes a conflict",
            )
        return found


@dataclass(frozen=True, kw_only=True)
class GenericToken(_Generic):
    """A secret that the sender puts into every request.

    secret_in    header, query, body or path
    secret_name  the header, the query parameter, the JSON pointer of the member, or the number of the path's segment
    prefix       text before the secret in a header, as in "Bearer "
    """

    name: ClassVar[str] = "token"

    secret_in: Location = "header"
    secret_name: str = ""
    prefix: str = ""

    @cached_property
    def verifier(self) -> Verifier:
        """Return the comparison with what stands at the secret's place."""
        return SharedSecret(location=self.secret_in, name=self.secret_name, prefix=self.prefix)

    def check(self) -> None:
        """Raise ValueError if the settings do not fit together."""
        if not self.secret_name and self.secret_in != "path":
            raise ValueError("secret_name is missing; allowed: a header, a query parameter or a JSON pointer")
        super().check()


@dataclass(frozen=True, kw_only=True)
class GenericBasic(_Generic):
    """HTTP Basic; the passwords are the secrets, `username` may be empty."""

    name: ClassVar[str] = "basic"
    published: ClassVar[str] = "https://www.rfc-editor.org/rfc/rfc7617"

    username: str

    @cached_property
    def verifier(self) -> Verifier:
        """Return the comparison of user name and password."""
        return Basic(username=self.username)


def _named(rules: Sequence[str], kind: str) -> str:
    """Return what the first rule of this kind names, "" if there is none."""
    return next((rule.removeprefix(kind) for rule in rules if rule.startswith(kind)), "")
