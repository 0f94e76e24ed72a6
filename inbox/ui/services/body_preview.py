"""What can be shown of a body, a payload, or a value in it: bounded, whatever a sender sent. Pure."""

import json
from typing import Any

from inbox.core.errors import Malformed
from inbox.core.models import Payload
from inbox.verify.schemas import parse

LARGEST = 2 * 1024 * 1024
"""Bytes up to which a body is decoded to be shown."""

TEXT = 16 * 1024
HEX = 1024
"""Bytes that are shown of a body that is no JSON, as text or as hex digits."""

VALUE = 2000
"""Characters of JSON up to which a value is shown as it is."""


def preview(body: bytes) -> dict[str, Any]:
    """Return how a body can be shown.

    kind     json, text, binary or empty
    value    the decoded JSON, for "json" only
    text     the beginning as text, hex  as hex digits; None where it is something else
    size     bytes, shown  bytes of them that are in `text` or `hex`
    problem  why it is not shown as JSON, None if it is
    """
    found: dict[str, Any] = {"kind": "empty", "value": None, "text": None, "hex": None, "size": len(body), "shown": 0}
    if not body:
        return {**found, "problem": "the body is empty"}
    problem = f"the body has {len(body)} bytes: only its beginning is shown"
    if len(body) <= LARGEST:
        try:
            return {**found, "kind": "json", "value": parse(body), "shown": len(body), "problem": None}
        except Malformed as error:
            problem = str(error)
    text = _text(body[:TEXT], cut=len(body) > TEXT)
    if text is not None:
        return {**found, "kind": "text", "text": text, "shown": len(text.encode()), "problem": problem}
    return {**found, "kind": "binary", "hex": body[:HEX].hex(), "shown": min(HEX, len(body)), "problem": problem}


def _text(body: bytes, *, cut: bool) -> str | None:
    """Return bytes as text if they are; a character that was cut in two is left out."""
    for end in range(len(body), max(len(body) - (4 if cut else 1), -1), -1):
        try:
            text = body[:end].decode()
        except UnicodeDecodeError:
            continue
        return None if "\0" in text else text
    return None


def brief(value: Payload) -> Payload:
    """Return a value, or a text that says what it is if it is large."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= VALUE else f"{value[:VALUE]} … ({len(value)} characters)"
    text = json.dumps(value, ensure_ascii=False)
    return value if len(text) <= VALUE else f"{text[:VALUE]} … ({len(text)} characters of JSON)"


def find(payload: Payload, pointer: str) -> tuple[bool, Payload]:
    """Return whether there is something at a JSON pointer, and what."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(payload, dict) and key in payload:
            payload = payload[key]
        elif isinstance(payload, list) and key.isdecimal() and key.isascii() and int(key[:9]) < len(payload):
            payload = payload[int(key[:9])]
        else:
            return False, None
    return True, payload
