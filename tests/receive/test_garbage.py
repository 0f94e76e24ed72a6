"""What a request leaves behind: nothing that only Python's search for objects that hold each other would find.

The receiver has this search done rarely; a body in such a circle would stay for as long.
"""

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path

import pytest

from inbox.testing import Inbox
from tests.support.wire import WELL_FORMED, Line, Sent, Site, drive, sent

SOURCES = {
    "roomz": {"provider": "roomz"},
    "strict": {"provider": "roomz", "on_invalid": "reject"},
    "small": {"provider": "roomz", "max_body": 10},
}
BODY = b'{"id": "%d", "type": "t"}'

CASES: dict[str, tuple[int, Callable[[Inbox, int], Sent]]] = {
    "accepted": (200, lambda inbox, number: sent("roomz", inbox.signed("roomz", BODY % number))),
    "a copy": (200, lambda inbox, number: sent("roomz", inbox.signed("roomz", BODY % 1))),
    "not JSON": (400, lambda inbox, number: sent("strict", inbox.signed("strict", b"{"))),
    "no signature": (401, lambda inbox, number: Sent(parts=(BODY % number,))),
    "too large": (413, lambda inbox, number: Sent(target=b"/in/small", parts=(BODY % number,), headers=(WELL_FORMED,))),
    "broken off": (400, lambda inbox, number: Sent(parts=(b"{", None), length=100, headers=(WELL_FORMED,))),
    "nobody": (404, lambda inbox, number: Sent(target=b"/in/nobody")),
}


@pytest.mark.parametrize("case", CASES)
def test_no_request_leaves_garbage(tmp_path: Path, case: str) -> None:
    """Whatever became of it."""
    expected, make = CASES[case]

    async def story(site: Site) -> int:
        await site.take(Line(make(inbox, 0)))
        lines = [Line(make(inbox, number)) for number in range(1, 21)]
        gc.collect()
        gc.disable()
        try:
            for line in lines:
                await site.front(line.scope, line.receive, line.send)
                assert expected == line.told.status
            await asyncio.sleep(0.1)
            return gc.collect()
        finally:
            gc.enable()

    with Inbox(tmp_path, sources=SOURCES) as inbox:
        assert drive(Site(inbox), story) < 20  # one and the same each time
