"""`/inbox/api/`: what the pages show and do, in JSON, for programs.

Each function is the operation of its name in `openapi.toml`, against which a request is checked before it comes here.
"""

from dataclasses import replace
from typing import Any

from flask import Response, jsonify, request, url_for
from werkzeug.datastructures import MultiDict

from inbox.core.errors import InboxError, NotFound
from inbox.store.filters import Filter
from inbox.ui.api.blueprint import api, body, query
from inbox.ui.api.document import document
from inbox.ui.pages import events as pages
from inbox.ui.pages.blueprint import runtime, who
from inbox.ui.pages.query_params import FIELDS, wanted
from inbox.ui.services import actions as acting
from inbox.ui.services import event_search as finding
from inbox.ui.services.event_detail import story
from inbox.ui.services.export import copies as copies_of
from inbox.ui.services.handler_status import handlers as look_at_handlers
from inbox.ui.services.overview import overview as look
from inbox.ui.services.refusals import refusal_of
from inbox.ui.services.refusals import refusals as refused

_ACTION = (
    "id", "kind", "state", "at", "ended_at", "who", "why", "selection", "handler", "force", "rate", "total", "events",
    "deliveries", "results", "upto", "error",
)  # fmt: skip


@api.get("/overview")
def overview() -> dict[str, Any]:
    """Return how every source is."""
    return look(runtime())


@api.get("/events")
def events() -> dict[str, Any]:
    """Return a page of events."""
    asked = query()
    return finding.events(runtime(), _filter(asked), asked["limit"])


@api.get("/events/<id:number>")
def event(number: int) -> dict[str, Any]:
    """Return everything about one event."""
    return story(runtime(), number)


@api.get("/events/<id:number>/body", endpoint="body")
def its_body(number: int) -> Response:
    """Hand over the body as a file."""
    return pages.body(number)


@api.get("/events/<id:number>/copies")
def copies(number: int) -> dict[str, Any]:
    """Return an event as text to take elsewhere."""
    return copies_of(runtime(), number, base=request.url_root.rstrip("/"))


@api.get("/refusals")
def refusals() -> dict[str, Any]:
    """Return a page of refusals, or the one of a request."""
    asked = query()
    source, identity = asked.get("source"), asked.get("request_id")
    if identity is None:
        found = refused(runtime(), source=source, before=asked.get("before"), limit=asked["limit"])
        return {"refusals": found["rows"], "older": found["next"]}
    row = refusal_of(runtime(), identity)
    meant = row is not None and source in (None, row["source"]) and row["id"] < asked.get("before", row["id"] + 1)
    return {"refusals": [row] if meant else [], "older": None}


@api.get("/requests/<identity>")
def by_request(identity: str) -> dict[str, Any]:
    """Return what became of a request."""
    number = runtime().archive.find(identity)
    refusal = refusal_of(runtime(), identity) if number is None else None
    if number is None and refusal is None:
        raise NotFound(f"no event or refusal came with the request id {identity}")
    return {"event": number, "refusal": refusal}


@api.get("/handlers")
def handlers() -> dict[str, Any]:
    """Return which handlers there are."""
    return look_at_handlers(runtime())


@api.get("/actions")
def actions() -> dict[str, Any]:
    """Return a page of actions."""
    asked = query()
    limit = asked["limit"]
    rows = acting.actions(runtime(), limit + 1, asked.get("before"))
    older = rows[limit - 1]["id"] if len(rows) > limit else None
    return {"actions": [_shown(row) for row in rows[:limit]], "older": older}


@api.post("/actions")
def act() -> Response:
    """Begin an action; a worker carries it out."""
    asked = body()
    number = acting.begin(
        runtime(),
        asked["kind"],
        who=who(),
        why=asked.get("why", "").strip(),
        handler=asked.get("handler"),
        force=asked.get("force", False),
        **_selection(asked),
    )
    response = _answer(_shown(acting.action(runtime(), number)), 202)
    response.headers["Location"] = url_for("api.action", number=number)
    return response


@api.post("/actions/preview")
def preview() -> dict[str, Any]:
    """Return how many events an action would be about."""
    asked = body()
    found = acting.preview(runtime(), asked["kind"], handler=asked.get("handler"), **_selection(asked))
    return {name: found[name] for name in ("count", "upto", "said")}


@api.get("/actions/<id:number>")
def action(number: int) -> dict[str, Any]:
    """Return how far an action is."""
    return _shown(acting.action(runtime(), number))


@api.post("/actions/<id:number>/stop")
def stop(number: int) -> dict[str, Any]:
    """Stop an action where it is."""
    acting.stop(runtime(), number, who())
    return _shown(acting.action(runtime(), number))


@api.get("/pauses")
def pauses() -> dict[str, Any]:
    """Return what is paused."""
    return {"pauses": acting.pauses(runtime())}


@api.post("/pauses")
def pause() -> Response:
    """Let what goes to a handler, or comes from a source, wait."""
    asked = body()
    kind, name = asked["kind"], asked["name"]
    new = acting.pause(runtime(), kind, name, who=who(), why=asked.get("why", "").strip())
    rows = [
        row for row in acting.pauses(runtime()) if (row["kind"], row["name"], row["ended_at"]) == (kind, name, None)
    ]
    if not rows:
        raise InboxError(f"the {kind} {name} was resumed at the same moment")
    return _answer(rows[0], 201 if new else 200)


@api.delete("/pauses/<any(handler, source):kind>/<name>")
def resume(kind: Any, name: str) -> Response:
    """Let go what waits."""
    acting.resume(runtime(), kind, name, who=who())
    return Response(status=204)


@api.get("/openapi.json")
def openapi() -> dict[str, Any]:
    """Return the document that all of this follows."""
    return document()


def _answer(row: dict[str, Any], status: int) -> Response:
    response = jsonify(row)
    response.status_code = status
    return response


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _ACTION}


def _filter(asked: dict[str, Any]) -> Filter:
    """Return the filter that fields mean, which the document has checked. Raises InboxError for one that is blank.

    Blank in Unicode's sense, which no pattern tells in every language: without it the filter would mean more.
    """
    found = wanted(MultiDict((name, str(value)) for name, value in asked.items()), runtime().clock())
    blank = [name for name in FIELDS if name in asked and getattr(found, name) is None]
    if blank:
        raise InboxError(f"{' and '.join(blank)}: blank; leave out what does not matter")
    return found


def _selection(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the ids, or the filter, that an action is about. Raises InboxError for what means all there is."""
    if "ids" in asked:
        return {"wanted": None, "ids": [int(number) for number in asked["ids"]]}
    fields = {name: int(value) if name in ("before", "after") else value for name, value in asked["filter"].items()}
    found = _filter(fields)
    if replace(found, before=None, after=None) == Filter():
        raise InboxError("every event there is would be too many: name a source, a time or something else")
    return {"wanted": found, "ids": None}
