"""Standard Webhooks: `id.timestamp.body` under HMAC-SHA256 (v1) or Ed25519 (v1a) → Verified or NotAuthentic.

Takes the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, or the same three of Svix (`svix-…`).
Specification: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md. Next:
`inbox.receive.receiver`.
"""

import base64
import binascii
import hmac
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from inbox.core.models import Request, Secret, Verified
from inbox.verify.schemes.base import (
    MAX_SIGNATURES,
    ByHead,
    Verifier,
    any_equal,
    check_tolerance,
    compare,
    header_bytes,
    refuse,
    timestamp,
)
from inbox.verify.schemes.hmac import rewritten

PREFIXES = ("webhook-", "svix-")
PARTS = ("id", "timestamp", "signature")
MAX_ASYMMETRIC = 4
"""Of the MAX_SIGNATURES that are examined: each is compared with each key by arithmetic that takes a tenth of a ms."""

SIZES = {b"v1": 32, b"v1a": 64}
"""Bytes of a signature."""

_ID = re.compile(rb"[ -~]+")
_TIMESTAMP_WITHIN = re.compile(rb"\.\d+(?:\.|\Z)")
Key = bytes | Ed25519PrivateKey | Ed25519PublicKey


@dataclass(frozen=True, kw_only=True)
class StandardWebhooksScheme(Verifier):
    """A list of signatures, of which any one may match any secret.

    A secret is `whsec_` (or nothing) and base64: checks and makes v1; `whpk_` and the base64 of a public key: checks
    v1a; `whsk_` and the base64 of seed and public key: checks and makes v1a. `tolerance` is in seconds, both ways.
    """

    tolerance: float = 300.0

    def verify_head(self, request: Request, secrets: Sequence[Secret], *, at: float) -> ByHead:
        """Read id, timestamp and signatures; what they sign decides."""
        return partial(self._signed, secrets, _head(request), at)

    def _signed(self, secrets: Sequence[Secret], head: "_Head", at: float, request: Request) -> Verified:
        """Check the signatures, then the age of the timestamp. Raises NotAuthentic."""
        prefix, event_id, stamp, given = head
        for index, secret in enumerate(secrets):
            key = _key(secret)
            if _matches(key, given, b".".join((event_id, stamp, request.body))):
                timestamp(stamp, at, self.tolerance, f"the header {prefix}timestamp")
                version = "v1" if isinstance(key, bytes) else "v1a"
                return Verified(f"standard webhooks {version}", index, event_id.decode(), whole=True)
        refuse("mismatch", partial(_diagnose, request, secrets, given, b".".join((event_id, stamp, b""))))

    def sign(self, request: Request, secret: Secret, *, at: float) -> Request:
        """Return the request with the three headers; its `webhook-id` stays, if it has one.

        Raises ValueError for a `whpk_` key, which cannot sign.
        """
        event_id = request.header("webhook-id") or f"msg_{os.urandom(12).hex()}"
        content = b".".join((event_id.encode("latin-1"), str(int(at)).encode(), request.body))
        key = _key(secret)
        if isinstance(key, Ed25519PublicKey):
            raise ValueError("a whpk_ key checks signatures and cannot make any; signing takes the whsk_ key")
        version, signature = ("v1", _hmac(key, content)) if isinstance(key, bytes) else ("v1a", key.sign(content))
        value = f"{version},{base64.b64encode(signature).decode()}"
        headers = {"webhook-id": event_id, "webhook-timestamp": str(int(at)), "webhook-signature": value}
        return request.with_headers(headers)

    def redact(self, request: Request, secrets: Sequence[Secret]) -> Request:
        """Return the request unchanged: a signature does not reveal its key."""
        return request

    def covers(self, rule: str) -> bool:
        """Tell whether the signature covers what a rule names: body and id, which the rule `token` finds.

        Not `header:webhook-id`: beside signed `svix-…` headers anybody can put a `webhook-id` of his own.
        """
        return not rule.startswith(("header:", "query:", "path"))

    def check(self, secrets: Sequence[Secret]) -> None:
        """Raise ValueError if a secret is empty or does not decode."""
        check_tolerance(self.tolerance)
        for secret in secrets:
            _key(secret)


def _prefix(request: Request) -> str:
    """Return the prefix of which most headers are there, so that the diagnosis names the missing one."""
    return max(PREFIXES, key=lambda prefix: sum(request.header(prefix + part) is not None for part in PARTS))


class _Head(NamedTuple):
    """What the headers say: their prefix, and the signatures by version."""

    prefix: str
    event_id: bytes
    stamp: bytes
    signatures: dict[bytes, list[bytes]]


def _head(request: Request) -> _Head:
    """Return what the headers say. Raises NotAuthentic."""
    prefix = _prefix(request)
    event_id, stamp = _event_id(request, prefix), header_bytes(request, f"{prefix}timestamp")
    return _Head(prefix, event_id, stamp, _signatures(request, prefix))


def _event_id(request: Request, prefix: str) -> bytes:
    event_id = header_bytes(request, f"{prefix}id")
    if not _ID.fullmatch(event_id):
        refuse("malformed", f"the header {prefix}id holds something else than printable ASCII")
    if _TIMESTAMP_WITHIN.search(event_id):
        refuse("malformed", f"the header {prefix}id holds a number between full stops, which could be a timestamp")
    return event_id


def _signatures(request: Request, prefix: str) -> dict[bytes, list[bytes]]:
    """Return the decoded signatures by version; other versions, other sizes and what is not base64 are left out."""
    found: dict[bytes, list[bytes]] = {b"v1": [], b"v1a": []}
    for item in header_bytes(request, f"{prefix}signature").split(maxsplit=MAX_SIGNATURES)[:MAX_SIGNATURES]:
        version, _, text = item.partition(b",")
        try:
            signature = base64.b64decode(text, validate=True)
            if len(signature) == SIZES[version]:
                found[version].append(signature)
        except (KeyError, binascii.Error):
            continue
    if not any(found.values()):
        refuse("malformed", f"the header {prefix}signature holds no signature of the form v1,… or v1a,…")
    return {b"v1": found[b"v1"], b"v1a": found[b"v1a"][:MAX_ASYMMETRIC]}


def _key(secret: Secret) -> Key:
    """Return the key that a secret stands for. Raises ValueError, which never shows it."""
    kind, mark, text = secret.reveal().strip().rpartition(b"_")
    value = _decode(text)
    match kind + mark:
        case b"" | b"whsec_" if value:
            return value
        case b"whpk_" if len(value) == 32:
            return Ed25519PublicKey.from_public_bytes(value)
        case b"whsk_" if len(value) == 64:
            private = Ed25519PrivateKey.from_private_bytes(value[:32])
            if compare(private.public_key().public_bytes_raw(), value[32:]):
                return private
    raise ValueError("a secret is not whsec_ and base64, whpk_ and 32 bytes, or whsk_ and 32 + 32 bytes in base64")


def _decode(text: bytes) -> bytes:
    """Decode standard base64 with or without padding; b"" if it is none."""
    try:
        return base64.b64decode(text.rstrip(b"=") + b"=" * (-len(text.rstrip(b"=")) % 4), validate=True)
    except binascii.Error:
        return b""


def _matches(key: Key, given: dict[bytes, list[bytes]], content: bytes) -> bool:
    if isinstance(key, bytes):
        return any_equal(given[b"v1"], [_hmac(key, content)])
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return any(_signed(public, signature, content) for signature in given[b"v1a"])


def _hmac(key: bytes, content: bytes) -> bytes:
    return hmac.new(key, content, "sha256").digest()


def _signed(key: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _diagnose(request: Request, secrets: Sequence[Secret], given: dict[bytes, list[bytes]], head: bytes) -> str:
    """Try the usual mistakes: what would have matched tells the owner what went wrong on the way."""
    keys = [_key(secret) for secret in secrets]
    wanted = {b"v1" if isinstance(key, bytes) else b"v1a" for key in keys}
    held = {version for version, signatures in given.items() if signatures}
    if not wanted & held:
        ours, theirs = (" and ".join(sorted(map(bytes.decode, versions))) for versions in (wanted, held))
        return f"the secrets are for {ours}, the signatures are {theirs}: ask the sender for the other kind of key"
    few = {version: signatures[:2] for version, signatures in given.items()}
    for body, cause in rewritten(request.body):
        if any(_matches(key, few, head + body) for key in keys):
            return f"the signature fits the body {cause}: something between sender and inbox changed it"
    for secret in secrets:
        if _matches(secret.reveal(), few, head + request.body):
            return "the signature fits the secret as text: this sender does not decode it; use provider hmac"
    return "the signature fits none of the configured secrets: wrong secret, or a body that was changed on the way"
