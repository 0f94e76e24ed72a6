"""HMAC over a template of body, timestamp and id, as most senders do it → Verified or NotAuthentic.

One class covers ROOMZ, Breakcold, GitHub, Shopify, Slack and Stripe by its settings. Next: `inbox.receive.receiver`.
"""

import base64
import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from inbox.core.models import Request, Secret, Verified, header_name
from inbox.verify.schemes.base import (
    MAX_SIGNATURES,
    ByHead,
    Verifier,
    any_equal,
    check_tolerance,
    header_bytes,
    refuse,
    timestamp,
)

Digest = Literal["sha1", "sha256", "sha384", "sha512"]
Encoding = Literal["hex", "base64"]
KeyEncoding = Literal["utf8", "base64", "hex"]

_DIAGNOSED = 16_384
_NESTED = 20
"""Bytes and levels; what is larger or deeper is not rewritten for a diagnosis, so that a stranger cannot make us work:
64 KiB nested 900 levels deep were 59 MB when indented."""

_SIZES: Mapping[Digest, int] = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}
"""Bytes of a signature."""

_ITEMS = 64
"""Items of a list of signatures that are read; of those, MAX_SIGNATURES are signatures that are examined."""

_BESIDE = 1024
"""Bytes; in so many at the end of the body that is next to the timestamp could be an id."""

_FIELD = re.compile(r"\{(\w+)\}")
_ID_BESIDE_BODY = re.compile(r"\{id\}[^{]*\{body\}|\{body\}[^{]*\{id\}")
_ID_BESIDE_TIMESTAMP = re.compile(r"\{id\}\d*\{timestamp\}")
_ID_FIRST = re.compile(r"\{id\}([^{]*)\{timestamp\}([^{]*)\{body\}")
_ID_LAST = re.compile(r"\{body\}([^{]*)\{timestamp\}([^{]*)\{id\}")
_BRACKET = re.compile(rb"[\[\]{}\"]")
_BRACKETED = re.compile(rb"\s*[\[{].*[\]}]\s*", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Hmac(Verifier):
    """HMAC of `signed` under the secret, in a header.

    signed            template of what is signed: {body}, {timestamp} and {id}, other text as it stands; where {id} and
                      {body} are neighbours, only JSON objects and lists are believed, and where {timestamp} stands
                      between them no id in which a number looks like one, as they must be told apart
    prefix            text before the encoded signature
    timestamp_header  where {timestamp} comes from: whole Unix seconds, at most `tolerance` seconds away, both ways
    id_header         where {id} comes from
    list_keys         for headers of the form `t=…,v1=…[,v1=…]` (Stripe): (key of the timestamp, key of a signature)
    key_encoding      how the configured secret becomes the key
    """

    header: str
    digest: Digest = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""
    signed: str = "{body}"
    timestamp_header: str = ""
    id_header: str = ""
    list_keys: tuple[str, ...] = ()
    tolerance: float = 300.0
    key_encoding: KeyEncoding = "utf8"

    def verify_head(self, request: Request, secrets: Sequence[Secret], *, at: float) -> ByHead:
        """Read signature, timestamp and id; what they sign decides."""
        stamp, signatures = self._read(request)
        if "{id}" in self.signed:
            header_bytes(request, self.id_header)
        return partial(self._signed, secrets, stamp, signatures, at)

    def _signed(
        self, secrets: Sequence[Secret], stamp: bytes, signatures: list[bytes], at: float, request: Request
    ) -> Verified:
        """Check the signature, then the age of the timestamp where one is signed. Raises NotAuthentic."""
        content = self._content(request, stamp)
        for index, secret in enumerate(secrets):
            expected = self._digest(secret, content)
            if any_equal(signatures, [expected]):
                if "{timestamp}" in self.signed:
                    timestamp(stamp, at, self.tolerance, "the signed timestamp")
                self._check_boundary(request)
                return Verified("hmac", index, whole=True)
        refuse("mismatch", partial(self._diagnose, request, secrets, stamp, signatures))

    def sign(self, request: Request, secret: Secret, *, at: float) -> Request:
        """Return the request with signature, timestamp and id headers."""
        stamp = str(int(at)) if "{timestamp}" in self.signed else ""
        if stamp and self.timestamp_header:
            request = request.with_headers({self.timestamp_header: stamp})
        signature = self._encode(self._digest(secret, self._content(request, stamp.encode())))
        value = f"{self.prefix}{signature}"
        if self.list_keys:
            value = f"{self.list_keys[0]}={stamp},{self.list_keys[1]}={value}"
        return request.with_headers({self.header: value})

    def redact(self, request: Request, secrets: Sequence[Secret]) -> Request:
        """Return the request unchanged: a signature does not reveal its key."""
        return request

    def check(self, secrets: Sequence[Secret]) -> None:
        """Raise ValueError if a secret does not decode, or a placeholder has no header to come from."""
        unknown = set(_FIELD.findall(self.signed)) - {"body", "timestamp", "id"}
        if unknown or "{body}" not in self.signed:
            raise ValueError(f"signed = {self.signed!r} must contain {{body}} and may contain {{timestamp}} and {{id}}")
        if "{timestamp}" in self.signed and not (self.timestamp_header or self.list_keys):
            raise ValueError("signed contains {timestamp}, so timestamp_header is needed")
        if "{id}" in self.signed and not self.id_header:
            raise ValueError("signed contains {id}, so id_header is needed")
        if _ID_BESIDE_TIMESTAMP.search(self.signed):
            raise ValueError("signed needs text that is no digit between {id} and {timestamp}, to tell them apart")
        if len(self.list_keys) not in (0, 2):
            raise ValueError("list_keys must be two: the key of the timestamp and the key of a signature")
        check_tolerance(self.tolerance)
        for secret in secrets:
            if not self._key(secret):
                raise ValueError("a secret is empty")

    def covers(self, rule: str) -> bool:
        """Tell whether the signature covers what a rule names: the body, and the id's header if it is signed."""
        kind, _, name = rule.partition(":")
        if kind == "header":
            return "{id}" in self.signed and header_name(name) == header_name(self.id_header)
        return kind not in ("query", "path")

    def _read(self, request: Request) -> tuple[bytes, list[bytes]]:
        value = header_bytes(request, self.header)
        stamp = b""
        items = [value]
        if self.list_keys:
            pairs = [item.strip().partition(b"=") for item in value.split(b",", _ITEMS)[:_ITEMS]]
            stamp = next((text for key, _, text in pairs if key == self.list_keys[0].encode()), b"")
            items = [text for key, _, text in pairs if key == self.list_keys[1].encode()][:MAX_SIGNATURES]
        if self.timestamp_header and "{timestamp}" in self.signed:
            stamp = header_bytes(request, self.timestamp_header)
        if "{timestamp}" in self.signed and not stamp:
            refuse("missing", f"the header {self.header} has no timestamp")
        return stamp, [self._decode(item) for item in items] or refuse("missing", f"{self.header} has no signature")

    def _decode(self, value: bytes) -> bytes:
        prefix = self.prefix.encode()
        if not value.startswith(prefix):
            refuse("malformed", f"the header {self.header} does not start with {self.prefix!r}")
        text = value.removeprefix(prefix)
        try:
            given = bytes.fromhex(text.decode("ascii")) if self.encoding == "hex" else _base64(text)
        except ValueError:
            refuse("malformed", f"the header {self.header} is not {self.encoding}")
        size = _SIZES[self.digest]
        if len(given) != size:
            refuse("malformed", f"{self.header} holds {len(given)} bytes; {self.digest} has {size}. Another digest?")
        return given

    def _content(self, request: Request, stamp: bytes) -> bytes:
        if self.signed == "{body}":
            return request.body
        values = {"body": request.body, "timestamp": stamp}
        if "{id}" in self.signed:
            values["id"] = header_bytes(request, self.id_header)
        parts = _FIELD.split(self.signed)
        return b"".join(values[part] if odd % 2 else part.encode() for odd, part in enumerate(parts))

    def _check_boundary(self, request: Request) -> None:
        """Raise NotAuthentic if it cannot be told where the signed id ends and the body or the timestamp begins.

        Whoever captured a request could move bytes from one to the other. No end of a JSON object or list fits an id.
        """
        if "{id}" not in self.signed:
            return
        if self._could_be_cut_elsewhere(request):
            refuse(
                "malformed", "the id or the body holds a number that could be the timestamp: they cannot be told apart"
            )
        if not _ID_BESIDE_BODY.search(self.signed):
            return
        if _BRACKET.search(header_bytes(request, self.id_header)) or not _BRACKETED.fullmatch(request.body):
            refuse(
                "malformed", "the id is signed next to the body, which is not a JSON object: they cannot be told apart"
            )

    def _could_be_cut_elsewhere(self, request: Request) -> bool:
        """Tell whether the same signed bytes are another id, timestamp and body, too, the timestamp between the others.

        Then the longer id holds a number between the template's own text, and so does the longer body outside its JSON.
        """
        if found := _ID_FIRST.search(self.signed):
            before, after = (re.escape(text.encode()) for text in found.groups())
            id_holds, body_holds = before + rb"\d+(?:" + after + rb"|\Z)", rb"(?:\A|" + before + rb")\d{9,12}" + after
            beside = _BRACKET.split(request.body[:_BESIDE], maxsplit=1)[0]
        elif found := _ID_LAST.search(self.signed):
            before, after = (re.escape(text.encode()) for text in found.groups())
            id_holds, body_holds = rb"(?:\A|" + before + rb")\d+" + after, before + rb"\d{9,12}(?:" + after + rb"|\Z)"
            beside = _BRACKET.split(request.body[-_BESIDE:])[-1]
        else:
            return False
        return bool(re.search(id_holds, header_bytes(request, self.id_header)) or re.search(body_holds, beside))

    def _key(self, secret: Secret) -> bytes:
        value = secret.reveal()
        if self.key_encoding == "utf8":
            return value
        return bytes.fromhex(value.decode("ascii")) if self.key_encoding == "hex" else _base64(value)

    def _digest(self, secret: Secret, content: bytes) -> bytes:
        """Return the HMAC. `hmac.digest` lets go of the interpreter's lock, which for 1 KiB costs more than that."""
        return hmac.new(self._key(secret), content, self.digest).digest()

    def _encode(self, digest: bytes) -> str:
        return digest.hex() if self.encoding == "hex" else base64.b64encode(digest).decode()

    def _diagnose(self, request: Request, secrets: Sequence[Secret], stamp: bytes, given: list[bytes]) -> str:
        """Try the usual mistakes: what would have matched tells the owner what went wrong on the way."""
        for body, cause in rewritten(request.body):
            content = self._content(request.replace(body=body), stamp)
            if any_equal(given, [self._digest(secret, content) for secret in secrets]):
                return f"the signature fits the body {cause}: something between sender and inbox changed it"
        content = self._content(request, stamp)
        stripped = (secret.reveal().strip() for secret in secrets)
        if any_equal(given, [hmac.digest(value, content, self.digest) for value in stripped]):
            return "the signature fits the secret without the white space around it: correct the secret"
        return "the signature fits none of the configured secrets: wrong secret, or a body that was changed on the way"


class LenientHmac(Hmac):
    """HMAC as Hmac has it, for a sender that does not say how he writes it.

    Believes hex and base64, each with or without `prefix` (the digest's name and "=", if there is none).
    """

    def _decode(self, value: bytes) -> bytes:
        text = value.removeprefix((self.prefix or f"{self.digest}=").encode())
        is_hex = len(text) == 2 * _SIZES[self.digest]
        plain = Hmac(header=self.header, digest=self.digest, encoding="hex" if is_hex else "base64")
        return plain._decode(text)


def _base64(text: bytes) -> bytes:
    return base64.b64decode(text, validate=True)


def rewritten(body: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield what proxies and frameworks make of a body, each with its name; for a diagnosis."""
    yield body.rstrip(b"\r\n"), "without its final line break"
    yield body + b"\n", "with a final line break"
    yield body.replace(b"\r\n", b"\n"), "with LF line endings"
    yield body.removeprefix(b"\xef\xbb\xbf"), "without its byte order mark"
    if len(body) > _DIAGNOSED:
        return
    try:
        payload = json.loads(body)
        for style in _STYLES if _is_shallow(payload) else ():
            written = json.dumps(payload, **style).encode("utf-8", "surrogatepass")
            yield written, "with its JSON written in another way (spaces, escapes)"
    except (ValueError, RecursionError):
        return


def _is_shallow(payload: Any) -> bool:
    level = [payload]
    for _ in range(_NESTED):
        lists = [list(item.values()) if isinstance(item, dict) else item for item in level]
        level = [child for item in lists if isinstance(item, list) for child in item]
    return not any(isinstance(item, (dict, list)) for item in level)


_STYLES: tuple[dict[str, Any], ...] = (
    {},
    {"separators": (",", ":")},
    {"ensure_ascii": False},
    {"separators": (",", ":"), "ensure_ascii": False},
    {"indent": 2},
)
