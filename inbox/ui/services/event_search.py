"""Events, found by everything that a filter asks for: pages of them, numbers, and what a search could not see.

Work is bounded: a search that takes too long stops, and says where, so that the next page goes on from there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from inbox.core.errors import SearchUnavailable
from inbox.runtime import Runtime
from inbox.store.filters import Filter
from inbox.store.protocols_search import PENDING, Found, Unseen, never

SECONDS = 0.03
"""For how long a page or a number is searched for."""

COUNTED = 10_000
"""So far events are counted where that takes work."""

OFF = "search is off: `[search] enabled` in inbox.toml is false, so no text is indexed"


def events(runtime: Runtime, wanted: Filter, limit: int, seconds: float | None = SECONDS) -> dict[str, Any]:
    """Return a page: `events` as rows of Archive.events, newest first also above `after`, and where to go on.

    older     what `before` is on the next page, None if there is none
    newer     what `after` is on the page before, None if nothing can be there
    searched  None, or the id where the search stopped because it took too long; `older` or `newer` goes on from there
    unseen    None without `text`, else see `unseen`
    """
    wanted = cleaned(wanted)
    not_seen = unseen(runtime) if wanted.text is not None else None
    if not_seen and not_seen["problem"]:
        found = Found([])
    else:
        found = runtime.finding.look(wanted, limit + 1, _stop(runtime, seconds))
    rows, more = list(found.rows[:limit]), len(found.rows) > limit
    upwards = wanted.after is not None
    if upwards:
        rows.reverse()
    older, newer = _upwards(wanted, rows, more, found) if upwards else _downwards(wanted, rows, more, found)
    return {"events": rows, "older": older, "newer": newer, "searched": found.searched, "unseen": not_seen}


def _downwards(wanted: Filter, rows: Sequence[Mapping[str, Any]], more: bool, found: Found) -> tuple[Any, Any]:
    older = rows[-1]["id"] if more else found.searched
    if wanted.before is None:
        return older, None
    return older, rows[0]["id"] if rows else wanted.before - 1


def _upwards(wanted: Filter, rows: Sequence[Mapping[str, Any]], more: bool, found: Found) -> tuple[Any, Any]:
    assert wanted.after is not None
    return (rows[-1]["id"] if rows else wanted.after + 1), rows[0]["id"] if more else found.searched


def count(runtime: Runtime, wanted: Filter, seconds: float | None = SECONDS) -> dict[str, Any]:
    """Return `count`, and `more`: whether there are or may be more, because counting stopped at COUNTED or in time."""
    wanted = cleaned(wanted)
    if wanted.text is not None and unseen(runtime)["problem"]:
        return {"count": 0, "more": False}
    number, more = runtime.finding.count(wanted, COUNTED, _stop(runtime, seconds))
    return {"count": number, "more": more}


def since_id(runtime: Runtime, wanted: Filter, after: int, limit: int = 50) -> dict[str, Any]:
    """Return what came since: `events` above the id `after`, newest first, `count`, and whether there are `more`.

    Of more than `limit` events these are the oldest, so that asking again above them misses none.
    """
    page = events(runtime, replace(wanted, after=after, before=None), limit)
    return {"events": page["events"], "count": len(page["events"]), "more": page["newer"] is not None}


def facets(runtime: Runtime) -> dict[str, list[str]]:
    """Return what a filter can be chosen from: `sources`, `types`, `statuses`, `handlers`; at most 200 of each."""
    return runtime.finding.facets()


def unseen(runtime: Runtime) -> dict[str, Any]:
    """Return what a search for text cannot see: numbers of all events, as in Unseen, and sentences.

    problem  why nothing can be searched for, None if something can
    said     a sentence for each thing that is not seen
    """
    if not runtime.settings.search.enabled:
        return {**asdict(Unseen()), "problem": OFF, "said": [OFF]}
    try:
        found = runtime.finding.unseen()
    except SearchUnavailable as error:
        return {**asdict(Unseen()), "problem": str(error), "said": [str(error)]}
    return {**asdict(found), "problem": None, "said": _sentences(found)}


def require_complete(runtime: Runtime, wanted: Filter) -> list[str]:
    """Return sentences about what a search does not see, for who is about to change all that it finds.

    Raises SearchUnavailable if it cannot search, or if events that the rest of the filter means are not indexed yet.
    """
    if wanted.text is None:
        return []
    found = unseen(runtime)
    if found["problem"]:
        raise SearchUnavailable(found["problem"])
    later = replace(wanted, text=None, after=max(found["upto"], wanted.after or 0))
    number, more = runtime.finding.count(later, PENDING)
    if number:
        many = f"more than {number}" if more else str(number)
        raise SearchUnavailable(
            f"{many} events that the other filters mean are not indexed yet, so that their text is not known: "
            "wait until a worker has done that, or narrow it down with --until or --status"
        )
    return [sentence for sentence in found["said"] if "not indexed" not in sentence]


def cleaned(wanted: Filter) -> Filter:
    """Return a filter that asks for text only if there is some."""
    return wanted if wanted.text is None or wanted.text.strip() else replace(wanted, text=None)


def _sentences(found: Unseen) -> list[str]:
    pending = f"more than {PENDING}" if found.pending > PENDING else str(found.pending)
    said = {
        f"{pending} events are not indexed yet": found.pending,
        f"{found.sealed} events are sealed: only their keys and types can be found": found.sealed,
        f"{found.bodiless} events have no body any more: it was pruned or erased": found.bodiless,
        f"{found.cut} events are long: only the beginning of their bodies can be found": found.cut,
    }
    return [sentence for sentence, number in said.items() if number]


def _stop(runtime: Runtime, seconds: float | None) -> Callable[[], bool]:
    if seconds is None:
        return never
    end = runtime.steady() + seconds
    return lambda: runtime.steady() >= end
