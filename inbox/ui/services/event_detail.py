"""Everything about one event, as its page and its JSON show it. Next: `timeline` has what became of it, in order.

Nothing in here is safe to be shown as HTML: headers, type, key and payload are what strangers sent.
"""

from typing import Any

from inbox.core.errors import InboxError, Malformed, NotFound, Unreadable
from inbox.core.models import Request, iso
from inbox.receive.receiver import payload_of
from inbox.runtime import Runtime
from inbox.ui.services.body_preview import LARGEST, brief, find, preview
from inbox.ui.services.json_diff import differences
from inbox.ui.services.timeline import timeline
from inbox.verify.providers.base import Provider
from inbox.verify.schemas import parse

CONFLICTS = 5
"""Conflicts of an event that are compared with it."""

_GONE: dict[str, Any] = {**dict.fromkeys(("value", "text", "hex")), "kind": "none", "shown": 0}


def story(runtime: Runtime, event_id: int) -> dict[str, Any]:
    """Return everything about an event. Raises NotFound, also for an event of which only the key is left.

    id, source, type, key, status, received_at, size, body_digest, duplicates, last_duplicate_at, conflict_of,
    request_id, body_pruned_at, erased_at   as stored
    configured, provider  of its source, None if that is not configured
    verified     {scheme, secret}: what verified it, and with which secret, counted from 1 (None: it has none)
    request      {method, path, query, remote, headers: [[name, value], …]} as stored, redacted; None if it is gone
    payload      see `preview`; kind "none" if it is gone
    schema       the name of the schema file, None without one
    violations   [{pointer, message, found, value}]: what stands at the place now, if anything does
    timeline     see `timeline`
    deliveries   [{id, handler, replay_id, status, attempts, crashes, due_at, created_at, finished_at, value, error,
                 runs}]
    conflicts    [{id, received_at, role, changes, more, problem}]: role "first" is the event that had the key before,
                 "other" came later with other content; changes lead from the earlier to the later
    previous, next  ids in the same source, None at the ends
    kept         {at, who, why} if retention must not touch it, else None
    notes        sentences on what is unusual about its state
    """
    event = runtime.archive.event(event_id)
    provider = runtime.sources.get(event["source"])
    request, problem = _request(runtime, event_id)
    previous, following = runtime.watching.views.neighbours(event_id)
    shown = _payload(request, provider, event["size"], problem)
    return {
        **{name: event.get(name) for name in _SAME},
        "configured": provider is not None,
        "provider": provider.name if provider is not None else None,
        "verified": _verified(event["verified_by"]),
        "payload": shown,
        "schema": _schema(runtime, provider, event["type"]),
        "violations": [_violation(each, shown) for each in event["violations"]],
        "timeline": timeline(event, runtime.watching.views.replays(event_id)),
        "conflicts": _conflicts(runtime, event, request),
        "previous": previous,
        "next": following,
        "notes": _notes(event, provider, problem),
    }


_SAME = (
    "id", "source", "type", "key", "status", "received_at", "size", "body_digest", "duplicates", "last_duplicate_at",
    "conflict_of", "request_id", "body_pruned_at", "erased_at", "request", "deliveries", "kept",
)  # fmt: skip


def _request(runtime: Runtime, event_id: int) -> tuple[Request | None, str]:
    """Return the request as stored, or None and why it cannot be had."""
    try:
        return runtime.archive.request(event_id), ""
    except (NotFound, Unreadable) as error:
        return None, str(error)


def _payload(request: Request | None, provider: Provider | None, size: int, problem: str) -> dict[str, Any]:
    if request is None:
        return {**_GONE, "size": size, "problem": problem}
    if provider is not None and request.method in ("GET", "DELETE") and not request.body:
        value = provider.query_payload(request)
        return {**_GONE, "kind": "json", "value": value, "size": 0, "problem": None}
    return preview(request.body)


def _verified(text: str) -> dict[str, Any]:
    scheme, found, number = text.rpartition(", secret ")
    if found and number.isdecimal():
        return {"scheme": scheme, "secret": int(number)}
    return {"scheme": text, "secret": None}


def _schema(runtime: Runtime, provider: Provider | None, event_type: str) -> str | None:
    if provider is None:
        return None
    try:
        return runtime.schemas.file(provider.name, event_type)
    except InboxError:  # the folder of schemas was broken since this inbox started
        return None


def _violation(violation: dict[str, str], shown: dict[str, Any]) -> dict[str, Any]:
    found, value = find(shown["value"], violation["pointer"]) if shown["kind"] == "json" else (False, None)
    return {**violation, "found": found, "value": brief(value)}


def _conflicts(runtime: Runtime, event: dict[str, Any], request: Request | None) -> list[dict[str, Any]]:
    first = event["conflict_of"]
    found = [_conflict(runtime, event, request, first, "first")] if first is not None else []
    others = runtime.watching.views.conflicts(event["id"], CONFLICTS)
    return found + [_conflict(runtime, event, request, row["id"], "other") for row in others]


def _conflict(
    runtime: Runtime, event: dict[str, Any], request: Request | None, other_id: int, role: str
) -> dict[str, Any]:
    """Return how another event differs from this one."""
    row: dict[str, Any] = {"id": other_id, "received_at": None, "role": role, "changes": [], "more": False}
    try:
        row["received_at"] = runtime.archive.event(other_id)["received_at"]
        other = runtime.archive.request(other_id)
        if request is None:
            return {**row, "problem": "the body of this event is gone, so that the two cannot be compared"}
        mine, theirs = (_content(runtime, event["source"], each) for each in (request, other))
    except (NotFound, Unreadable, Malformed) as error:
        return {**row, "problem": str(error)}
    found = differences(theirs, mine) if role == "first" else differences(mine, theirs)
    same = "both say the same; the bytes, or what is redacted, differ"
    return {**row, **found, "problem": None if found["changes"] else same}


def _content(runtime: Runtime, source: str, request: Request) -> Any:
    """Return the payload of a request to be compared. Raises Malformed."""
    if len(request.body) > LARGEST:
        raise Malformed(f"a body of {len(request.body)} bytes is too large to be compared here")
    provider = runtime.sources.get(source)
    return payload_of(provider, request) if provider is not None else parse(request.body)


_STATES = {
    "quarantined": (
        "It is quarantined: it was answered 2xx and is stored, but no handler ran. Replay it when its schema is right."
    ),
    "ignored": "It was quarantined or a conflict, and somebody marked it as seen. It can still be replayed.",
    "unhandled": "No handler matches its source and type. Write one, and replay it.",
    "conflict": "It has the key of another event and other content, so it was not run. Replay it if it is right.",
}


def _notes(event: dict[str, Any], provider: Provider | None, problem: str) -> list[str]:
    notes = []
    if event["erased_at"] is not None:
        at = iso(event["erased_at"])
        notes.append(f"It was erased at {at}: its content is gone for ever, and it cannot be replayed.")
    elif event["body_pruned_at"] is not None:
        at = iso(event["body_pruned_at"])
        notes.append(f"Its body was pruned at {at}, as [retention] says: it cannot be replayed.")
    elif problem:
        notes.append(f"Its body cannot be shown: {problem}.")
    if kept := event["kept"]:
        reason = kept["why"] or "no reason given"
        notes.append(f"{kept['who']} keeps it since {iso(kept['at'])}: {reason}. Retention does not touch it.")
    if event["status"] in _STATES and event["erased_at"] is None:
        notes.append(_STATES[event["status"]])
    if provider is None:
        notes.append("Its source is not configured any more: it can be replayed, but nothing new comes in.")
    return notes
