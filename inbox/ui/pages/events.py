"""`/inbox/events`: what came, found by all that one can know of it; and everything about one of them."""

from dataclasses import replace
from typing import Any

from flask import Response, abort, render_template, request, url_for

from inbox.core.errors import NotFound, Unreadable
from inbox.store.filters import EVENT_STATUSES
from inbox.ui.pages.blueprint import pages, runtime
from inbox.ui.pages.json_tree import tree
from inbox.ui.pages.query_params import asked, known, wanted
from inbox.ui.services import event_search as desk
from inbox.ui.services.actions import pauses
from inbox.ui.services.event_detail import story
from inbox.ui.services.export import copies

PAGE = 50
COUNTING = 0.01
"""Seconds for which a page counts what is found besides what it shows."""


_ACTIONS = {
    "replay": ("quarantined", "conflict", "ignored", "unhandled", "succeeded", "dead", "processing", "received"),
    "cancel": ("processing", "received"),
    "ignore": ("quarantined", "conflict"),
}
"""In which states of an event an action does something."""


@pages.get("/events")
def events() -> str:
    """Show a page of events, newest first, and the form that finds others."""
    found = wanted(request.args, runtime().clock())
    page = desk.events(runtime(), found, PAGE)
    number = desk.count(runtime(), replace(found, before=None, after=None), COUNTING)
    return render_template(
        "events.html",
        **page,
        count=number,
        query=asked(request.args),
        facets=desk.facets(runtime()),
        statuses=EVENT_STATUSES,
        top=max((row["id"] for row in page["events"]), default=0),
        first=found.before is None and found.after is None,
    )


@pages.get("/events/newer")
def newer() -> str:
    """Tell how many events came since; the script asks for this, so that nothing moves under who reads."""
    found = wanted(request.args, runtime().clock())
    came = desk.since_id(runtime(), found, found.after or 0)
    return render_template("newer.html", came=came, query=asked(request.args), top=found.after or 0)


@pages.get("/events/<int:number>")
def event(number: int) -> str:
    """Show everything about one event."""
    found = story(runtime(), known(number, "event"))
    payload = found["payload"]
    shown = tree(payload["value"], found["violations"]) if payload["kind"] == "json" else None
    waiting = [row for row in pauses(runtime()) if row["ended_at"] is None]
    return render_template(
        "event.html",
        event=found,
        tree=shown,
        copies=copies(runtime(), number, base=request.url_root.rstrip("/")),
        handlers=sorted({delivery["handler"] for delivery in found["deliveries"]}),
        can={kind for kind, states in _ACTIONS.items() if found["status"] in states},
        paused=[row for row in waiting if _holds(row, found)],
    )


@pages.get("/events/<int:number>/body")
def body(number: int) -> Response:
    """Hand the body over as a file: a browser is not to guess what it is, nor to show it."""
    try:
        content = runtime().archive.request(known(number, "event")).body
    except Unreadable as error:
        raise NotFound(str(error)) from None
    response = Response(content, mimetype="application/octet-stream")
    response.headers["Content-Disposition"] = f'attachment; filename="event-{number}.body"'
    return response


@pages.get("/requests/<identity>")
def by_request(identity: str) -> Any:
    """Lead from a request's id, as its sender was told, to its event or refusal."""
    number = runtime().archive.find(identity)
    if number is not None:
        return _to(url_for("pages.event", number=number))
    if runtime().archive.refusals(None, 1, request_id=identity):
        return _to(url_for("pages.refusals", request_id=identity))
    abort(404, "No event or refusal came with this request id.")


def _to(address: str) -> Response:
    return Response(status=302, headers={"Location": address})


def _holds(pause: dict[str, Any], event: dict[str, Any]) -> bool:
    if pause["kind"] == "source":
        return bool(pause["name"] == event["source"])
    return any(pause["name"] == delivery["handler"] for delivery in event["deliveries"])
