"""Several orders of ids → those that are in all of them: what a filter asks for besides kinds and times of events.

Each order yields its next ids and says which of some ids it has, both through an index. The one whose next ids reach
farthest is the rarest just there; its ids are asked of the others. So a rare word in very many events costs what the
word costs, and a very frequent one in few events what those cost. Where two frequent ones never meet, it is stopped.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from inbox.store.filters import Filter
from inbox.store.protocols_search import Stop
from inbox.store.sqlite.connection import Connection
from inbox.store.sqlite.event_index import kinds, page, where
from inbox.store.sqlite.fts import SHIFT, expression, require_fts

FIRST, MOST = 64, 512
"""Ids that are taken of each order at once: few at first, then twice as many each time."""

DENSE = 16
"""Where one of so many ids is asked for, all that lie between are read; else each by itself."""

_THESE = "IN (SELECT value FROM json_each(:ids))"
_BLOCKS = """
SELECT number, block FROM search_blocks INDEXED BY search_block
WHERE state = 'live' AND state <> 'going' AND block BETWEEN ? AND ? ORDER BY block {order}
"""
_WORDS = """
SELECT rowid AS id FROM search_text_{number} WHERE search_text_{number} MATCH :words AND rowid > :after
AND rowid < :before ORDER BY rowid {order} LIMIT :limit
"""
_HAVE_WORDS = "SELECT rowid AS id FROM search_text_{number} WHERE search_text_{number} MATCH :words AND rowid {which}"
_HANDLED = """
SELECT DISTINCT event_id AS id FROM deliveries INDEXED BY deliveries_handler
WHERE handler = :handler AND event_id > :after AND event_id < :before ORDER BY event_id {order} LIMIT :limit
"""
_HAVE_HANDLER = f"SELECT DISTINCT event_id AS id FROM deliveries WHERE handler = :handler AND event_id {_THESE}"
_LAST = 2**63 - 1


class Order(Protocol):
    """Ids in the order of a filter, between its `after` and `before`."""

    def ids(self, wanted: Filter, limit: int) -> list[int]: ...  # noqa: D102
    def having(self, ids: Sequence[int]) -> set[int]: ...  # noqa: D102


class _Events:
    """Events of these kinds and times."""

    def __init__(self, connection: Connection, wanted: Filter) -> None:
        self._connection = connection
        self._kinds = connection.rows(*kinds(wanted))[0]["n"]
        self._clause, self._values = where(replace(wanted, text=None, handler=None))

    def ids(self, wanted: Filter, limit: int) -> list[int]:
        sql, values = page("id", replace(wanted, text=None, handler=None), self._kinds)
        return _ids(self._connection, sql, {**values, "limit": limit})

    def having(self, ids: Sequence[int]) -> set[int]:
        sql = f"SELECT id FROM events {self._clause} AND id {_THESE}"
        return set(_ids(self._connection, sql, {**self._values, "ids": json.dumps(list(ids))}))


class _Handled:
    """Events that have a delivery for a handler."""

    def __init__(self, connection: Connection, handler: str) -> None:
        self._connection, self._handler = connection, handler

    def ids(self, wanted: Filter, limit: int) -> list[int]:
        values = {"handler": self._handler, **_bounds(wanted), "limit": limit}
        return _ids(self._connection, _HANDLED.format(order=_order(wanted)), values)

    def having(self, ids: Sequence[int]) -> set[int]:
        return set(_ids(self._connection, _HAVE_HANDLER, {"handler": self._handler, "ids": json.dumps(list(ids))}))


class _Words:
    """Events that were indexed with these words."""

    def __init__(self, connection: Connection, text: str) -> None:
        require_fts(connection.rows)
        self._connection, self._words = connection, expression(text)

    def ids(self, wanted: Filter, limit: int) -> list[int]:
        found: list[int] = []
        bounds = _bounds(wanted)
        blocks = _BLOCKS.format(order=_order(wanted))
        for row in self._connection.rows(blocks, (bounds["after"] >> SHIFT, bounds["before"] >> SHIFT)):
            if not self._words or len(found) == limit:
                break
            sql = _WORDS.format(number=row["number"], order=_order(wanted))
            found += _ids(self._connection, sql, {**bounds, "words": self._words, "limit": limit - len(found)})
        return found

    def having(self, ids: Sequence[int]) -> set[int]:
        found: set[int] = set()
        if not self._words:
            return found
        for row in self._connection.rows(_BLOCKS.format(order="ASC"), (min(ids) >> SHIFT, max(ids) >> SHIFT)):
            these = [number for number in ids if number >> SHIFT == row["block"]]
            if these:
                low, high = min(these), max(these)
                dense = high - low < DENSE * len(these)
                sql = _HAVE_WORDS.format(number=row["number"], which="BETWEEN :low AND :high" if dense else _THESE)
                values: dict[str, Any] = {"low": low, "high": high} if dense else {"ids": json.dumps(these)}
                found.update(_ids(self._connection, sql, {"words": self._words, **values}))
        return found


def is_joined(wanted: Filter) -> bool:
    """Tell whether a filter asks for more than one query finds quickly."""
    return wanted.text is not None or wanted.handler is not None


def joined(connection: Connection, wanted: Filter, limit: int, stop: Stop) -> tuple[list[int], int | None]:
    """Return ids of events, and None if there are no more or `limit` is reached, else the id where it was stopped."""
    orders: list[Order] = [_Events(connection, wanted)]
    if wanted.handler is not None:
        orders.append(_Handled(connection, wanted.handler))
    if wanted.text is not None:
        orders.append(_Words(connection, wanted.text))
    found: list[int] = []
    number = FIRST
    while True:
        pages = [order.ids(wanted, number) for order in orders]
        rarest = _farthest(pages, number, upwards=wanted.after is not None)
        ids = pages[rarest]
        for order in orders:
            if ids and order is not orders[rarest]:
                having = order.having(ids)
                ids = [one for one in ids if one in having]
        found += ids
        if len(found) >= limit or len(pages[rarest]) < number:
            return found[:limit], None
        wanted = _from(wanted, pages[rarest][-1])
        if stop():
            return found, pages[rarest][-1]
        number = min(2 * number, MOST)


def _farthest(pages: Sequence[Sequence[int]], full: int, *, upwards: bool) -> int:
    """Return the place of the page that reaches farthest: to the end, or else to the last of its ids."""

    def reach(place: int) -> tuple[bool, int]:
        ids = pages[place]
        return (len(ids) < full, -len(ids) if len(ids) < full else ids[-1] * (1 if upwards else -1))

    return max(range(len(pages)), key=reach)


def _from(wanted: Filter, last: int) -> Filter:
    return replace(wanted, after=last) if wanted.after is not None else replace(wanted, before=last)


def _bounds(wanted: Filter) -> dict[str, int]:
    after = -1 if wanted.after is None else wanted.after
    return {"after": max(after, -1), "before": _LAST if wanted.before is None else wanted.before}


def _order(wanted: Filter) -> str:
    return "ASC" if wanted.after is not None else "DESC"


def _ids(connection: Connection, sql: str, values: dict[str, Any]) -> list[int]:
    return [row["id"] for row in connection.rows(sql, values)]
