"""Passwords of those who may see the pages: hashed with Argon2id, so that a stolen database gives none of them away."""

import os
import threading
import unicodedata

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

SHORTEST = 15
"""Characters. Without a second factor 15 are asked for by https://pages.nist.gov/800-63-4/sp800-63b.html."""

LONGEST = 1024

MEMORY = 47_104
"""KiB, with one pass, https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html."""

_one_at_a_time = threading.Lock()


def hashed(password: str) -> str:
    """Return the password's hash in PHC form, with a new salt."""
    with _one_at_a_time:  # many at once would take the memory of all of them
        salt = os.urandom(16)
        made = Argon2id(salt=salt, length=32, iterations=1, lanes=1, memory_cost=MEMORY)
        return made.derive_phc_encoded(_bytes(password))


def matches(password: str, known: str) -> bool:
    """Tell whether it is the password of this hash; takes as long if not."""
    with _one_at_a_time:
        try:
            Argon2id.verify_phc_encoded(_bytes(password), known)
        except InvalidKey:
            return False
        return True


def _bytes(password: str) -> bytes:
    """Return the same bytes for what looks the same, however a keyboard composes it (RFC 8265)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
