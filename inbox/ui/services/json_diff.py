"""Two payloads → where they differ, as JSON pointers; bounded in number and size."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, TypeAlias

from inbox.core.models import Payload
from inbox.ui.services.body_preview import brief

MOST = 200
"""Differences that are told."""

Difference: TypeAlias = tuple[str, str, Payload, Payload]
_NOTHING = object()


def differences(before: Payload, after: Payload, most: int = MOST) -> dict[str, Any]:
    """Return `changes`, a list of {pointer, kind, before, after}, and whether there are `more`.

    kind    added, removed or changed; also a change of type, 1 → true, is one
    before, after
            the value there, cut if it is large (see `brief`); None where there was none
    """
    found = list(islice(_walk("", before, after), most + 1))
    changes = [
        {"pointer": pointer, "kind": kind, "before": brief(old), "after": brief(new)}
        for pointer, kind, old, new in found[:most]
    ]
    return {"changes": changes, "more": len(found) > most}


def _walk(pointer: str, before: Any, after: Any) -> Iterator[Difference]:
    """Yield differences, objects by key and arrays by position."""
    if before == after and repr(before) == repr(after):  # 1 == True; texts differ also where only the order does
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            place = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
            yield from _pair(place, before.get(key, _NOTHING), after.get(key, _NOTHING))
    elif isinstance(before, list) and isinstance(after, list):
        for number in range(max(len(before), len(after))):
            yield from _pair(f"{pointer}/{number}", _at(before, number), _at(after, number))
    elif type(before) is not type(after) or before != after:
        yield pointer, "changed", before, after


def _pair(pointer: str, before: Any, after: Any) -> Iterator[Difference]:
    if before is _NOTHING:
        yield pointer, "added", None, after
    elif after is _NOTHING:
        yield pointer, "removed", before, None
    else:
        yield from _walk(pointer, before, after)


def _at(items: list[Any], place: int) -> Any:
    return items[place] if place < len(items) else _NOTHING
