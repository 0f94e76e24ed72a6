"""An event → the text by which it is found: its key, its type, and what its body says, names of members included.

Numbers stay as they were written. Reads no schema and knows no provider; the body is redacted already.
"""

import json
import sqlite3
from typing import Any

from inbox.store.sql.handlers import encodable

LONGEST = 65_536
"""Characters of a body that are indexed."""


def text_of(event: sqlite3.Row) -> tuple[str, bool]:
    """Return the text of a row with key, type, body and query, and whether that is not all of it.

    A body that is sealed, pruned or erased is None.
    """
    said = "" if event["body"] is None else _said(bytes(event["body"])) or event["query"]
    return encodable(f"{event['key']}\n{event['type']}\n{said[:LONGEST]}"), len(said) > LONGEST


def _said(body: bytes) -> str:
    """Return the text of a body; escapes in JSON would hide words, so that is read where there are any."""
    if b"\\" in body:
        try:
            return _words(json.loads(body, object_pairs_hook=_Members, parse_int=str, parse_float=str))
        except (ValueError, RecursionError):
            pass
    return body[: LONGEST * 4 + 4].decode("utf-8", "replace")


class _Members(list[Any]):
    """The members of an object as pairs, also those with the same name."""


def _words(payload: Any) -> str:
    """Return names and texts in their order, without recursion; stops where there is more than enough."""
    found: list[str] = []
    length, left = 0, [payload]
    while left and length <= LONGEST:
        item = left.pop()
        if isinstance(item, _Members):
            left.extend(part for pair in reversed(item) for part in reversed(pair))
        elif isinstance(item, list):
            left.extend(reversed(item))
        else:
            found.append(item if isinstance(item, str) else json.dumps(item))
            length += len(found[-1]) + 1
    return "\n".join(found)
