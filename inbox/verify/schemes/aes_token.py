"""A token `<scheme>-<base64>` that is an encrypted `<timestamp>;<session>;<api key>` → Verified or NotAuthentic.

Roomle's form: AES-CBC (01) or AES-ECB (02) with PKCS7 padding, the secret's bytes are the key. The token does not cover
the body: it proves that its maker knew secret and API key. Next: `inbox.receive.receiver`.
"""

import base64
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Literal

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from inbox.core.models import Request, Secret, Verified, header_name, iso
from inbox.verify.schemes.base import (
    Verifier,
    check_age,
    check_tolerance,
    compare,
    header_bytes,
    redact_headers,
    refuse,
)

Scheme = Literal["01", "02"]

FURTHER_HEADERS = ("x-token", "authorization")
BLOCK = 16
MAX_TOKEN = 8192
"""Characters; more are not decrypted under every secret and rule."""

_RULES = ("prefix", "zero", "key")
_FIXED_IV = re.compile(r"[0-9a-fA-F]{32}")
_DATE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(?:Z|[+-]\d\d(?::?\d\d)?)")

_FAULTS = (
    "no configured secret decrypts the token: wrong secret, changed token, or the sender has no API key set",
    "the token does not decrypt to date;session;api key: wrong secret, or changed token",
    "the token decrypts, but carries another API key than api_key",
    "the token decrypts, but its date is unreadable: the setting iv may name the wrong rule",
)
"""From the farthest to the nearest miss; the nearest of all readings becomes the diagnosis."""


@dataclass(frozen=True, kw_only=True)
class AesToken(Verifier):
    """An encrypted token in a header.

    header     where the token is; `x-token` and `authorization` are tried after it
    schemes    "01" (CBC) and, only if named here, "02" (ECB); "03" is not encrypted and never taken
    iv         where the IV of 01 comes from: "prefix" (the first block), "zero", "key" (the key's first 16 bytes),
               32 hex digits, or "auto": the first of prefix, zero and key that yields a date
    api_key    what the last part of the token must be
    tolerance  seconds between the token's date and now, both ways

    The key of a Verified is the digest of the last two cipher blocks of a 01 token. Whoever holds such a token, but not
    the secret, can rewrite its date through the IV in front, put an IV in front of a token that has none (with "auto"),
    and put blocks into its session part: it still decrypts. But its end must read as the API key and right padding,
    and a block reads so after one block only: the last two are the same in every variant, and under every IV rule.
    CBC chains, so they depend on all that comes before and no two honest tokens share them. ECB does not: there the
    whole ciphertext is taken, and blocks put into the session part do make another key, within the tolerance.
    """

    header: str = "token"
    schemes: tuple[Scheme, ...] = ("01",)
    iv: str = "auto"
    api_key: Secret | None = None
    tolerance: float = 300.0

    def verify_head(self, request: Request, secrets: Sequence[Secret], *, at: float) -> Verified:
        """Decrypt the token under each secret, then check API key and age."""
        scheme, data = self._read(request)
        nearest = 0
        for index, secret in enumerate(secrets):
            for plain in self._decrypted(scheme, data, secret.reveal()):
                fault, date = self._parse(plain)
                if not fault:
                    check_age(date, at, self.tolerance)
                    return Verified("aes token", index, f"token:{sha256(_unchanging(scheme, data)).hexdigest()}")
                nearest = max(nearest, fault)
        refuse("mismatch", _FAULTS[nearest])

    def sign(self, request: Request, secret: Secret, *, at: float) -> Request:
        """Return the request with a fresh anonymous token."""
        api_key = self.api_key.reveal() if self.api_key else b""
        plain = b";".join((iso(at).encode(), b"anonymous", api_key))
        scheme = "01" if "01" in self.schemes else "02"
        rule = "prefix" if self.iv == "auto" else self.iv
        front = os.urandom(BLOCK) if rule == "prefix" and scheme == "01" else b""
        padder = PKCS7(BLOCK * 8).padder()
        encryptor = _cipher(scheme, secret.reveal(), front or _iv(rule, secret.reveal())).encryptor()
        data = front + encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
        return request.with_headers({self.header: f"{scheme}-{base64.b64encode(data).decode()}"})

    def redact(self, request: Request, secrets: Sequence[Secret]) -> Request:
        """Return the request without its token, which anybody could send again while it is fresh."""
        return redact_headers(request, self._headers)

    def covers(self, rule: str) -> bool:
        """Tell that there is nothing to bind: whoever captured a token can put any body beside it."""
        return True

    def check(self, secrets: Sequence[Secret]) -> None:
        """Raise ValueError if a secret is no AES key, or the settings leave nothing to check."""
        if not self.header:
            raise ValueError('header is missing; the default is "token"')
        if not self.schemes or not set(self.schemes) <= {"01", "02"}:
            raise ValueError('schemes must be of "01", "02"')
        if self.iv not in ("auto", *_RULES) and not _FIXED_IV.fullmatch(self.iv):
            raise ValueError(f"iv must be auto, {', '.join(_RULES)}, or 32 hex digits")
        api_key = self.api_key.reveal() if self.api_key else b""
        if not api_key or b";" in api_key:
            raise ValueError("api_key is missing, or contains a semicolon; without it a token proves nothing")
        check_tolerance(self.tolerance)
        for secret in secrets:
            if len(secret.reveal()) not in (16, 24, 32):
                raise ValueError(f"a secret has {len(secret.reveal())} bytes; an AES key has 16, 24 or 32")

    @property
    def _headers(self) -> tuple[str, ...]:
        return (header_name(self.header), *FURTHER_HEADERS)

    def _read(self, request: Request) -> tuple[str, bytes]:
        name = next((name for name in self._headers if request.header(name) is not None), self.header)
        scheme, dash, text = header_bytes(request, name).partition(b"-")
        if not dash or not re.fullmatch(rb"\d\d", scheme):
            refuse("malformed", f"the header {name} is not a token of the form 01-…")
        if scheme == b"03":
            refuse("forbidden", "the token is of scheme 03, which is not encrypted and proves nothing")
        if scheme.decode() not in self.schemes:
            refuse("forbidden", f"the token is of scheme {scheme.decode()}; schemes allows {', '.join(self.schemes)}")
        if len(text) > MAX_TOKEN:
            refuse("malformed", f"the token in the header {name} has {len(text)} characters, more than {MAX_TOKEN}")
        try:
            data = _base64(text)
        except ValueError:
            refuse("malformed", f"the token in the header {name} is not base64")
        if not data or len(data) % BLOCK:
            refuse("malformed", f"the token holds {len(data)} bytes, not whole blocks of {BLOCK}. Was it cut off?")
        return scheme.decode(), data

    def _decrypted(self, scheme: str, data: bytes, key: bytes) -> Iterator[bytes]:
        """Yield what the token reads under each IV rule that leaves right padding."""
        rules = _RULES if self.iv == "auto" else (self.iv,)
        for rule in rules if scheme == "01" else ("zero",):
            iv, rest = (data[:BLOCK], data[BLOCK:]) if rule == "prefix" else (_iv(rule, key), data)
            decryptor = _cipher(scheme, key, iv).decryptor()
            unpadder = PKCS7(BLOCK * 8).unpadder()
            try:
                yield unpadder.update(decryptor.update(rest) + decryptor.finalize()) + unpadder.finalize()
            except ValueError:
                continue

    def _parse(self, plain: bytes) -> tuple[int, float]:
        """Return the date in Unix seconds; the first figure is 0, or the index of what is wrong in _FAULTS."""
        parts = plain.split(b";")
        if len(parts) != 3:
            return 1, 0.0
        if self.api_key is None or not compare(parts[2], self.api_key.reveal()):
            return 2, 0.0
        try:
            return 0, _seconds(parts[0])
        except ValueError:
            return 3, 0.0


def _unchanging(scheme: str, data: bytes) -> bytes:
    return data[-2 * BLOCK :] if scheme == "01" else data


def _seconds(date: bytes) -> float:
    if not _DATE.fullmatch(date):
        raise ValueError(date)
    return datetime.fromisoformat(date.decode()).timestamp()


def _iv(rule: str, key: bytes) -> bytes:
    if rule in ("zero", "prefix"):
        return bytes(BLOCK)
    return key[:BLOCK] if rule == "key" else bytes.fromhex(rule)


def _cipher(scheme: str, key: bytes, iv: bytes) -> Cipher[modes.CBC] | Cipher[modes.ECB]:
    if scheme == "01":
        return Cipher(algorithms.AES(key), modes.CBC(iv))
    return Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 - the sender's scheme 02, only where schemes names it


def _base64(text: bytes) -> bytes:
    """Decode standard base64; `-` and `_` for `+` and `/`, and missing padding, are as good."""
    standard = text.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    return base64.b64decode(standard + b"=" * (-len(standard) % 4), validate=True)
