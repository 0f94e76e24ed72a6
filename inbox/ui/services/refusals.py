"""The latest requests that were not accepted, each with what was wrong and what to do about it."""

from typing import Any

from inbox.runtime import Runtime
from inbox.ui.services.refusal_advice import advice


def refusals(
    runtime: Runtime, *, source: str | None = None, before: int | None = None, limit: int = 50
) -> dict[str, Any]:
    """Return `rows`, newest first, and `next`: the `before` of the next page, None if this is the last.

    A row has id, source ("" for an address that no source has), at, code, reason, diagnosis, advice, method, remote,
    headers [[name, value], …] (redacted), size (bytes of the body that were read) and request_id.
    """
    found = runtime.watching.views.refusals(source, before, limit + 1)
    rows = [_advised(row) for row in found[:limit]]
    return {"rows": rows, "next": rows[-1]["id"] if len(found) > limit else None}


def refusal_of(runtime: Runtime, request_id: str) -> dict[str, Any] | None:
    """Return the refusal of a request, None if there is none."""
    rows = runtime.archive.refusals(None, 1, request_id=request_id)
    return _advised(rows[0]) if rows else None


def _advised(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "advice": advice(row["code"], row["reason"], row["source"])}
