"""JSON text → the strings of its members that have a name, without making objects of the rest, in linear time.

It does not check the JSON: in text that is none it may find more or less. Next: `inbox.verify.schemes.shared_secret`.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache

_SHORT = {'"': r"\"", "\\": r"\\", "/": r"\/", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
"""What JSON may write instead of a character (RFC 8259, section 7)."""

_VALUE = rb'"\s*+:\s*+("[^"\\]*+(?:\\.[^"\\]*+)*+")'


def strings(body: bytes, name: str) -> Iterator[bytes]:
    """Yield the different strings of members with this name, at any depth, as UTF-8.

    The name is no secret, so the time that the search takes tells nothing.
    """
    for string in set(_member(name).findall(body)):
        with suppress(ValueError):
            yield decoded(string)


def decoded(string: bytes) -> bytes:
    """Return what a JSON string says, as UTF-8. Raises ValueError for a wrong escape."""
    return json.loads(string).encode("utf-8", "surrogatepass") if b"\\" in string else string[1:-1]


@lru_cache(maxsize=64)
def _member(name: str) -> re.Pattern[bytes]:
    """Return a pattern that finds these strings, in any way in which JSON may write the name; no two begin alike."""
    return re.compile(b'"' + b"".join(map(_ways, name)) + _VALUE, re.DOTALL)


def _ways(char: str) -> bytes:
    """Return a pattern for the ways in which JSON may write a character."""
    units = char.encode("utf-16-be", "surrogatepass")
    long = "".join(rf"\\u(?i:{units[place : place + 2].hex()})" for place in range(0, len(units), 2))
    ways = [re.escape(char), long, *([re.escape(_SHORT[char])] if char in _SHORT else [])]
    return f"(?:{'|'.join(ways)})".encode("utf-8", "surrogatepass")
