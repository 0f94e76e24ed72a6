"""An address ↔ the events and numbers that it means. Raises BadRequest with what is allowed."""

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

from inbox.core.errors import NotFound
from inbox.core.times import moment
from inbox.store.filters import EVENT_STATUSES, Filter

FIELDS = ("text", "source", "type", "status", "handler", "since", "until")
"""What a filter can ask for, as the address has it; `before` and `after` turn pages."""

_LARGEST = 2**63 - 1


def wanted(query: MultiDict[str, str], now: float) -> Filter:
    """Return the filter that an address means; what is empty is not asked for. Times without a zone are UTC."""
    given = {name: value for name in FIELDS if (value := query.get(name, "").strip())}
    if given.get("status", EVENT_STATUSES[0]) not in EVENT_STATUSES:
        raise BadRequest(f"There is no status {given['status']!r}; allowed: {', '.join(EVENT_STATUSES)}.")
    times = {name: _time(name, given.pop(name), now) for name in ("since", "until") if name in given}
    places = {name: number(query[name], name) for name in ("before", "after") if query.get(name)}
    return Filter(**given, **times, **places)  # type: ignore[arg-type]


def number(text: str, name: str) -> int:
    """Return a number of an address."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 19 or int(text) > _LARGEST:
        raise BadRequest(f"{name} is a whole number, not {text[:40]!r}.")
    return int(text)


def known(number: int, what: str) -> int:
    """Return the number of a row in the path of an address. Raises NotFound if SQLite could not hold it."""
    if number > _LARGEST:
        raise NotFound(f"there is no {what} {number}")
    return number


def asked(query: Mapping[str, Any]) -> dict[str, str]:
    """Return the filter's part of an address, as it came."""
    return {name: str(query[name]) for name in FIELDS if query.get(name)}


def _time(name: str, text: str, now: float) -> float:
    try:
        return moment(text, now, UTC)
    except ValueError as error:
        raise BadRequest(f"{name}: {error}.") from None
