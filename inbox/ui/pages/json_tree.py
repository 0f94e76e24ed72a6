"""A payload as nested lists that fold, each violation at its place. Everything from outside is escaped here."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

LARGEST = 4000
"""Values up to which a payload is shown as a tree; a larger one is shown as text."""

DEEPEST = 40
OPEN = 3
"""Levels that are unfolded at first."""


def tree(payload: Any, violations: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Return the payload as HTML; None if it is too large or too deep for that.

    A violation of what is not there is shown at the object in which it is missing.
    """
    if _values(payload, DEEPEST, LARGEST) <= 0:
        return None
    wrong: dict[str, list[str]] = {}
    for each in violations:
        wrong.setdefault(each["pointer"], []).append(each["message"])
    return Markup("<ul>{}</ul>").format(Markup("").join(_node("", None, payload, wrong, 0)))


def _values(value: Any, depth: int, left: int) -> int:
    """Return how many more values there may be; 0 or less if there are too many, or too deep."""
    left -= 1
    if isinstance(value, dict | list):
        if depth == 0:
            return 0
        for item in value.values() if isinstance(value, dict) else value:
            left = _values(item, depth - 1, left)
            if left <= 0:
                return 0
    return left


def _node(
    pointer: str, name: str | int | None, value: Any, wrong: Mapping[str, list[str]], depth: int
) -> Iterator[Markup]:
    label = Markup("") if name is None else Markup('<span class="name">{}</span>: ').format(_name(name))
    problems = wrong.get(pointer, [])
    why = Markup("").join(Markup(' <span class="why">← {}</span>').format(text) for text in problems)
    mark = Markup(' class="wrong"') if problems else Markup("")
    if not isinstance(value, dict | list) or not value:
        yield Markup("<li><span{}>{}{}{}</span></li>").format(mark, label, _leaf(value), why)
        return
    many = len(value)
    what = f"{{{many} key{'s' * (many > 1)}}}" if isinstance(value, dict) else f"[{many} item{'s' * (many > 1)}]"
    unfolded = depth < OPEN or any(place.startswith(pointer + "/") for place in wrong)
    yield Markup('<li><details{}><summary><span{}>{}<span class="soft">{}</span>{}</span></summary><ul>').format(
        Markup(" open") if unfolded else Markup(""), mark, label, what, why
    )
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        step = str(key).replace("~", "~0").replace("/", "~1")
        yield from _node(f"{pointer}/{step}", key, item, wrong, depth + 1)
    yield Markup("</ul></details></li>")


def _name(name: str | int) -> str:
    return _UNSEEN.sub(_code, str(name))


def _leaf(value: Any) -> Markup:
    kind = "text" if isinstance(value, str) else "value"
    return Markup('<span class="{}">{}</span>').format(
        kind, escape(_UNSEEN.sub(_code, json.dumps(value, ensure_ascii=False)))
    )


_UNSEEN = re.compile("[\x00-\x1f\x7f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Characters that nobody sees, or that turn the text after them round: written as JSON can write them."""


def _code(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
