"""Members found in JSON text without decoding it: no way of writing hides one, and no text takes long."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.verify.schemes.json_text import strings

NAMES = ("secret", 'q"uo\\te', "/", "ö\U0001f600", "a\tb", "\x7f")
TEXTS = st.sampled_from(NAMES) | st.text()
PAYLOADS = st.recursive(
    st.none() | st.integers() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20
)


def members(payload: Any, name: str) -> set[str]:
    """Return the strings of members with this name, as a decoder finds them."""
    if isinstance(payload, list):
        return set().union(*(members(item, name) for item in payload))
    if not isinstance(payload, dict):
        return set()
    own = {value for key, value in payload.items() if key == name and isinstance(value, str)}
    return own.union(*(members(value, name) for value in payload.values()))


def spelled(text: str, style: int) -> str:
    """Write a string as JSON with escapes for nothing, for all but ASCII, or for every character."""
    if style < 2:
        return json.dumps(text, ensure_ascii=bool(style))
    units = text.encode("utf-16-be", "surrogatepass")
    codes = (int.from_bytes(units[place : place + 2]) for place in range(0, len(units), 2))
    return '"' + "".join(f"\\u{code:04x}" if style == 2 else f"\\u{code:04X}" for code in codes) + '"'


def written(payload: Any, style: int, space: str) -> str:
    if isinstance(payload, dict):
        items = (
            f"{spelled(key, style)}{space}:{space}{written(value, style, space)}" for key, value in payload.items()
        )
        return "{" + ",".join(items) + "}"
    if isinstance(payload, list):
        return "[" + ",".join(written(item, style, space) for item in payload) + "]"
    return spelled(payload, style) if isinstance(payload, str) else json.dumps(payload)


@given(PAYLOADS, st.sampled_from(NAMES), st.integers(0, 3), st.sampled_from(["", " ", "\r\n\t"]))
def test_every_member_is_found_however_it_is_written(payload: Any, name: str, style: int, space: str) -> None:
    """A decoder would find no other: what is not found is not there, so the body need not be decoded."""
    text = written({"x": payload, name: "value"}, style, space)
    assert json.loads(text) == {"x": payload, name: "value"}
    found = set(strings(text.encode("utf-8", "surrogatepass"), name))
    assert {item.encode("utf-8", "surrogatepass") for item in members(json.loads(text), name)} <= found


@pytest.mark.parametrize("short", [r"a\/b", r"a\u002fb", r"a\u002Fb", "a/b"])
def test_short_escapes_are_ways_of_writing_too(short: str) -> None:
    """Also those that `json.dumps` never writes."""
    assert [b"v/w"] == list(strings(f'{{"{short}": "v\\/w"}}'.encode(), "a/b"))


@pytest.mark.parametrize(
    "part",
    [b'"', b'"secret', b'"secret"', b'"secret":', b'"secret":"', b'"secret":"\\', b"\\", b'"secret"   ', b"[]", b'\\"'],
)
def test_no_text_takes_long(part: bytes) -> None:
    """A second at most for a MiB of anything: twice as much takes about twice as long."""
    body = part * (2**20 // len(part))
    begun = time.monotonic()
    for _ in strings(body, "secret"):
        pass
    assert time.monotonic() - begun < 10
