"""Pages of events for whoever shows them: where they go on, what they could not see, and how they are counted."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox.core.config.settings import SearchSettings
from inbox.core.errors import SearchUnavailable
from inbox.runtime import Runtime
from inbox.store.protocols import Filter
from inbox.store.sqlite import fts, intersect
from inbox.testing import Inbox
from inbox.ui.services import event_search as desk

SOURCES = {"open": {"provider": "unsigned", "event_id": ["json:/id"], "event_type": ["json:/type"]}}


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inbox]:
    """Ten events, of which the last is not indexed."""
    with Inbox(tmp_path_factory.mktemp("desk"), sources=SOURCES) as made:
        for number in range(1, 11):
            if number == 10:
                made.index()
            word = "even" if number % 2 == 0 else "odd"
            made.receive("open", {"id": f"k{number}", "type": f"t.{word}", "said": f"{word} all"})
        yield made


def ids(page: dict[str, Any]) -> list[int]:
    return [row["id"] for row in page["events"]]


def test_pages_lead_down_and_up_again(inbox: Inbox) -> None:
    """Newest first, also on the way up; the ends are known."""
    pages, wanted = [], Filter()
    while True:
        pages.append(page := desk.events(inbox.runtime, wanted, 4))
        if page["older"] is None:
            break
        wanted = Filter(before=page["older"])
    assert [[10, 9, 8, 7], [6, 5, 4, 3], [2, 1]] == [ids(page) for page in pages]
    assert [None, 6, 2] == [page["newer"] for page in pages]
    up = desk.events(inbox.runtime, Filter(after=pages[2]["newer"]), 4)
    assert ([6, 5, 4, 3], 3, 6) == (ids(up), up["older"], up["newer"])
    up = desk.events(inbox.runtime, Filter(after=up["newer"]), 4)
    assert ([10, 9, 8, 7], 7, None) == (ids(up), up["older"], up["newer"])
    assert {"searched": None, "unseen": None} == {name: up[name] for name in ("searched", "unseen")}
    assert (None, 3) == (desk.events(inbox.runtime, Filter(after=10), 4)["newer"], up["older"] - 4)
    assert 0 == desk.events(inbox.runtime, Filter(before=1), 4)["newer"]


def test_a_search_says_what_it_does_not_see(inbox: Inbox) -> None:
    """Of ten events one is not indexed yet; blanks are no search."""
    page = desk.events(inbox.runtime, Filter(text="even"), 3)
    assert ([8, 6, 4], 4, None) == (ids(page), page["older"], page["newer"])
    assert {
        "upto": 9,
        "pending": 1,
        "sealed": 0,
        "bodiless": 0,
        "cut": 0,
        "problem": None,
        "said": ["1 events are not indexed yet"],
    } == page["unseen"]
    assert (10, None) == (ids(page := desk.events(inbox.runtime, Filter(text=" "), 3))[0], page["unseen"])
    assert {"count": 4, "more": False} == desk.count(inbox.runtime, Filter(text="even"))


def test_newer_events_are_told_without_missing_any(inbox: Inbox) -> None:
    """The oldest of the newer ones, so that asking again above them gives the rest."""
    first = desk.since_id(inbox.runtime, Filter(source="open"), 5, limit=3)
    assert ([8, 7, 6], 3, True) == (ids(first), first["count"], first["more"])
    rest = desk.since_id(inbox.runtime, Filter(source="open"), 8, limit=3)
    assert ([10, 9], 2, False) == (ids(rest), rest["count"], rest["more"])


def test_counting_stops_where_it_takes_work(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds are known exactly; words are counted so far, or for so long."""
    monkeypatch.setattr(desk, "COUNTED", 3)
    runtime = inbox.runtime
    assert {"count": 10, "more": False} == desk.count(runtime, Filter(type="t.*"))
    assert {"count": 3, "more": True} == desk.count(runtime, Filter(text="all"))
    assert {"count": 3, "more": True} == desk.count(runtime, Filter(since=1.0))
    monkeypatch.setattr(intersect, "FIRST", 2)
    stopped = desk.events(runtime, Filter(text="even", type="t.odd"), 5, seconds=0.0)
    assert ([], True) == (ids(stopped), stopped["searched"] == stopped["older"] > 5)


def test_facets_are_what_is_there(inbox: Inbox) -> None:
    """For the form: sources, types, statuses and handlers."""
    names = desk.facets(inbox.runtime)
    assert (["open"], ["t.even", "t.odd"], []) == (names["sources"], names["types"], names["handlers"])
    assert "quarantined" in names["statuses"]


def _off(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(runtime, "settings", replace(runtime.settings, search=SearchSettings(enabled=False)))
    return "search is off"


def _missing(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(fts, "_HAS_FTS", "SELECT 1 WHERE false")
    return "without FTS5"


@pytest.mark.parametrize("how", [_off, _missing])
def test_without_an_index_a_search_says_why(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, how: Callable[[Runtime, pytest.MonkeyPatch], str]
) -> None:
    """It finds nothing, and does not look as if there was nothing; other filters work."""
    why = how(inbox.runtime, monkeypatch)
    page = desk.events(inbox.runtime, Filter(text="even"), 3)
    assert [] == page["events"]
    assert why in page["unseen"]["problem"]
    assert {"count": 0, "more": False} == desk.count(inbox.runtime, Filter(text="even"))
    assert 3 == len(desk.events(inbox.runtime, Filter(type="t.even"), 3)["events"])
    with pytest.raises(SearchUnavailable, match=why):
        desk.require_complete(inbox.runtime, Filter(text="even"))


def test_changing_all_that_is_found_wants_all_to_be_seen(inbox: Inbox) -> None:
    """What is not indexed may match; unless the rest of the filter leaves it out."""
    with pytest.raises(SearchUnavailable, match="1 events that the other filters mean are not indexed yet"):
        desk.require_complete(inbox.runtime, Filter(text="even"))
    assert [] == desk.require_complete(inbox.runtime, Filter(text="odd", type="t.odd"))
    assert [] == desk.require_complete(inbox.runtime, Filter(type="t.even"))


def test_rows_are_plain(inbox: Inbox, tmp_path: Path) -> None:
    """All of it can be written as JSON."""
    found = [desk.events(inbox.runtime, Filter(text="even"), 3), desk.facets(inbox.runtime)]
    assert found == json.loads(json.dumps(found))
