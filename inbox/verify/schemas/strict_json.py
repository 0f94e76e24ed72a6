"""Body bytes → payload, strictly: what two readers could understand in two ways is Malformed.

Next: `inbox.verify.schemas.validator` says where a payload breaks its schema.
"""

import json
from collections import Counter
from math import isinf
from typing import Any, NoReturn

from inbox.core.errors import Malformed
from inbox.core.models import Payload

MAX_TEXT = 300
"""Characters of a violation's pointer and of its message."""
MAX_DEPTH = 100
"""Levels of nesting. Python's own limit is higher, but depends on the caller's stack and not only on the body."""

_TOO_DEEP = f"is JSON nested deeper than {MAX_DEPTH} levels"


class _Unreadable(ValueError):
    """Text that is JSON to some readers only; the message says why."""


def parse(body: bytes, subject: str = "the body", most: int | None = None) -> Payload:
    """Return the JSON value that the body holds. A UTF-8 byte order mark in front is skipped (RFC 8259, section 8.1).

    Raises Malformed for anything that two readers could understand in two ways: invalid UTF-8, NaN and Infinity,
    a key that stands twice in one object, nesting or numbers beyond what can be read, and an empty body; and before
    any object is made, for what may have more than `most` values. `subject` is how the diagnosis begins.
    """
    try:
        if most is not None and len(body) > most and values_at_most(body) > most:
            raise _Unreadable(f"may be JSON with more than {most} values, too many for a sender that proves nothing")
        text = body.decode("utf-8").removeprefix("\ufeff")
        if not text.strip(" \t\r\n"):
            raise _Unreadable("is empty")
        payload = _decode(text)
        _check_depth(text, payload)
        return payload
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8: byte {error.start} cannot be decoded"
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}"
    except _Unreadable as error:
        problem = str(error)
    except RecursionError:
        problem = _TOO_DEEP
    except ValueError:
        problem = "is JSON with a whole number of too many digits"
    raise Malformed(f"{subject} {problem}")


def values_at_most(body: bytes) -> int:
    """Return a number of values that the JSON text has at most: each is the first, or follows a bracket or a comma."""
    return 1 + body.count(b",") + body.count(b"[") + body.count(b"{") + body.count(b":")


def _decode(text: str) -> Payload:
    if text.startswith("\ufeff"):
        raise json.JSONDecodeError("Unexpected UTF-8 BOM (decode using utf-8-sig)", text, 0)
    return _DECODER.decode(text)


def _no_constant(name: str) -> NoReturn:
    raise _Unreadable(f"is not JSON: {name} is not a JSON number")


def _finite(text: str) -> float:
    """Return the number; 1e999 would become Infinity, which is not JSON any more."""
    number = float(text)
    if isinf(number):
        raise _Unreadable(f"is JSON with the number {text[:20]}, which is too large to be read")
    return number


def _unique(pairs: list[tuple[str, Payload]]) -> dict[str, Payload]:
    found = dict(pairs)
    if len(found) != len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise _Unreadable(f"is JSON with the key {line(repr(twice))} twice in one object")
    return found


def _check_depth(text: str, payload: Payload) -> None:
    """Raise _Unreadable if the payload is nested too deeply; one with few brackets cannot be."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    level: list[Any] = [[payload]]
    for _ in range(MAX_DEPTH + 1):
        inside = [item.values() if type(item) is dict else item for item in level]
        level = [child for children in inside for child in children if type(child) is dict or type(child) is list]
        if not level:
            return
    raise _Unreadable(_TOO_DEEP)


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_unique)
"""Made once: `json.loads` makes one for every call that has hooks."""


def line(text: str) -> str:
    """Return the text in at most MAX_TEXT printable characters: it goes into tables, logs and answers."""
    return _cut("".join(char if char.isprintable() else ascii(char)[1:-1] for char in _cut(text)))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:200]} … {text[-80:]}"
