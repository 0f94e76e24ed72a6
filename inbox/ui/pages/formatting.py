"""How numbers, sizes, durations and instants are written in the pages. Pure; Jinja escapes what comes from outside."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup, escape

from inbox.core.models import iso, utc

NONE = "–"
WIDEST = 8
"""Times as long as in one line, at most, is JSON that is indented."""

_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")
_AGES = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def number(value: float | None) -> str:
    """Return 12,345; a dash for nothing."""
    return NONE if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def size(value: float | None) -> str:
    """Return bytes as 12.3 KiB."""
    if value is None:
        return NONE
    unit = 0
    while value >= 1024 and unit < len(_SIZES) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_SIZES[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {_SIZES[unit]}"


def duration(seconds: float | None) -> str:
    """Return seconds as 12 ms, 1.2 s, 3 min 20 s or 2 d 4 h."""
    if seconds is None:
        return NONE
    if seconds < 0.9995:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.00995 else f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    parts, left = [], float(round(seconds))
    for length, unit in _AGES:
        if left >= length:
            parts.append(f"{left // length:.0f} {unit}")
            left %= length
    return " ".join(parts[:2])


def percent(share: float | None) -> str:
    """Return a share as 99.5 %; only all is 100 %."""
    if share is None:
        return NONE
    shown = f"{share * 100:.1f}"
    return f"{'99.9' if shown == '100.0' and share < 1 else shown.removesuffix('.0')} %"


def ago(seconds: float | None, now: float) -> str:
    """Return how long ago an instant was: 3 min ago, in 5 s."""
    if seconds is None:
        return NONE
    away = now - seconds
    for length, unit in _AGES:
        if abs(away) >= length:
            text = f"{abs(away) // length:.0f} {unit}"
            return f"{text} ago" if away > 0 else f"in {text}"
    return "now"


def when(seconds: float | None, now: float | None = None) -> str | Markup:
    """Return an instant as an element that the script writes in the reader's zone, the exact one on hover.

    With `now` as how long ago it was, else as a date and a time.
    """
    if seconds is None:
        return NONE
    text = ago(seconds, now) if now is not None else f"{utc(seconds):%Y-%m-%d %H:%M:%S} UTC"
    relative = Markup(" data-ago") if now is not None else ""
    return Markup('<time datetime="{}" title="{}"{}>{}</time>').format(iso(seconds), iso(seconds), relative, text)


def pretty(value: Any) -> str:
    """Return a value as indented JSON; in one line if that would make much of little, as deep nesting does."""
    flat = json.dumps(value, ensure_ascii=False)
    parts, left = [], WIDEST * len(flat)
    for part in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(value):
        parts.append(part)
        left -= len(part)
        if left < 0:
            return flat
    return "".join(parts)


def plural(value: int, one: str, many: str = "") -> str:
    """Return 1 event, 2 events."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def marked(text: str) -> Markup:
    """Return a sentence of ours with what stands between backticks as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 and place < len(parts) - 1 else escape(part)
        for place, part in enumerate(parts)
    )


def described(selection: Mapping[str, Any]) -> str:
    """Return which events an action was about."""
    if "ids" in selection:
        return "events " + ", ".join(map(str, selection["ids"][:20])) + (" …" if len(selection["ids"]) > 20 else "")
    shown = {name: iso(value) if name in ("since", "until") else value for name, value in selection.items()}
    return ", ".join(f"{name} = {value}" for name, value in shown.items()) or "all events"


FILTERS: Mapping[str, Callable[..., Any]] = {
    "number": number,
    "size": size,
    "duration": duration,
    "percent": percent,
    "ago": ago,
    "when": when,
    "pretty": pretty,
    "marked": marked,
    "plural": plural,
    "described": described,
}
