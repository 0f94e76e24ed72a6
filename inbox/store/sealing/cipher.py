"""Bytes → sealed bytes and back: AES-256-GCM, RFC 3394 to wrap keys, HKDF and HMAC over SHA-256.

The only module of the store that knows cryptography. It knows no rows. Next: `seal` says what is bound to what.
"""

import binascii
import os
from base64 import b64decode
from dataclasses import dataclass, field
from unicodedata import normalize

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from inbox.core.errors import ConfigError
from inbox.core.models import Secret
from inbox.store.sealing.key_file import WHERE, KeyFileDamaged

KEY, NONCE, SALT = 32, 12, 16


@dataclass(frozen=True, slots=True)
class Master:
    """A master key; its name is derived from it, and tells it from others."""

    name: str
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: Secret) -> "Master":
        """Return the key that a secret spells. Raises ConfigError."""
        text = secret.reveal().strip()
        try:
            key = bytes.fromhex(text.decode()) if len(text) == 2 * KEY else b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            key = b""
        if len(key) != KEY:
            raise ConfigError(
                WHERE, "not a key of 32 bytes; allowed: 64 hex digits or base64, as of openssl rand -hex 32"
            )
        return cls(derived(key, b"name")[:4].hex(), derived(key, b"wrap"))

    def wrap(self, key: bytes) -> bytes:
        """Return a data key that only this master key unwraps."""
        return aes_key_wrap(self.key, key)

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return a data key. Raises KeyFileDamaged."""
        try:
            return aes_key_unwrap(self.key, wrapped)
        except InvalidUnwrap:
            raise KeyFileDamaged from None


def seal(plain: bytes, bound: bytes) -> tuple[bytes, bytes]:
    """Return a new key and what it seals; it opens only with the same `bound`."""
    random = os.urandom(KEY + NONCE)
    key, nonce = random[:KEY], random[KEY:]
    return key, nonce + AESGCM(key).encrypt(nonce, plain, bound)


def open_sealed(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """Return what `seal` sealed. Raises KeyFileDamaged."""
    return _opened(key, sealed[:NONCE], sealed[NONCE:], bound)


def seal_row(key: bytes, plain: bytes, bound: bytes) -> bytes:
    """Seal under a key of its own, so that no number of rows repeats a nonce."""
    salt = os.urandom(SALT)
    return salt + AESGCM(derived(key, salt)).encrypt(bytes(NONCE), plain, bound)


def open_row(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """Return what `seal_row` sealed. Raises KeyFileDamaged."""
    return _opened(derived(key, sealed[:SALT]), bytes(NONCE), sealed[SALT:], bound)


def derived(key: bytes, info: bytes) -> bytes:
    """Return the key for one use that follows from a key."""
    return HKDFExpand(SHA256(), KEY, b"webhook-inbox " + info).derive(key)


def subject(key: bytes, source: str, value: str) -> bytes:
    """Return the keyed hash of a subject; case, white space around it and how accents are composed do not matter."""
    digest = HMAC(key, SHA256())
    written = normalize("NFKC", normalize("NFKC", value.strip()).casefold())
    digest.update(f"{source}\0{written}".encode("utf-8", "surrogatepass"))
    return digest.finalize()


def _opened(key: bytes, nonce: bytes, sealed: bytes, bound: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(nonce, sealed, bound)
    except (InvalidTag, ValueError):
        raise KeyFileDamaged from None
