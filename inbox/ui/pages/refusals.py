"""`/inbox/refusals`: what was not accepted, why, and what to do about it."""

from flask import render_template, request

from inbox.ui.pages.blueprint import pages, runtime
from inbox.ui.pages.query_params import number
from inbox.ui.services import event_search as desk
from inbox.ui.services.refusals import refusal_of
from inbox.ui.services.refusals import refusals as look


@pages.get("/refusals")
def refusals() -> str:
    """Show the latest, or the one of a request."""
    source, identity = request.args.get("source"), request.args.get("request_id", "")
    before = number(request.args["before"], "before") if request.args.get("before") else None
    if identity:
        row = refusal_of(runtime(), identity)
        found = {"rows": [row] if row is not None else [], "next": None}
    else:
        found = look(runtime(), source=source or None, before=before)
    sources = sorted({*runtime().sources, *desk.facets(runtime())["sources"]})
    return render_template("refusals.html", **found, source=source or "", sources=sources, first=before is None)
