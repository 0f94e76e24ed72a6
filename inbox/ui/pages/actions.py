"""`/inbox/actions`: running events again, cancelling, ignoring; who did it, why, and how far it is."""

from dataclasses import replace
from typing import Any

from flask import redirect, render_template, request, url_for
from werkzeug import Response
from werkzeug.exceptions import BadRequest

from inbox.store.filters import Filter
from inbox.ui.pages.blueprint import pages, runtime, who
from inbox.ui.pages.query_params import asked, known, number, wanted
from inbox.ui.services import actions as desk

PAGE = 50
LONGEST = 500
"""Characters of a reason that are kept."""

MOST = 5000
"""Events that can be chosen one by one."""

WORDS = {
    "replay": ("Replay", "replayed", "Handlers run again for each of them. What is quarantined is checked first."),
    "cancel": ("Cancel", "cancelled", "Deliveries that wait are ended; what runs goes on to its end."),
    "ignore": ("Ignore", "ignored", "Those that are quarantined or in conflict are marked as seen, and not run."),
}


@pages.get("/actions")
def actions() -> str:
    """Show what was done, newest first."""
    before = number(request.args["before"], "before") if request.args.get("before") else None
    rows = desk.actions(runtime(), PAGE + 1, before)
    older = rows[PAGE - 1]["id"] if len(rows) > PAGE else None
    return render_template("actions.html", actions=rows[:PAGE], older=older, words=WORDS, first=before is None)


@pages.get("/actions/new")
def new_action() -> str:
    """Show how many events an action is about, before it is begun."""
    kind, selection = _kind(request.args.get("kind", "")), _selection(request.args)
    handler = request.args.get("handler_only") or None
    found = desk.preview(runtime(), kind, handler=handler, **selection)
    return render_template(
        "new_action.html",
        kind=kind,
        words=WORDS[kind],
        count=found["count"],
        ids=selection["ids"] or [],
        query=asked(request.args),
        upto=found["upto"],
        unseen=found["said"],
        handlers=desk.pausable(runtime(), "handler"),
        handler=handler,
        worker=desk.no_worker(runtime()),
    )


@pages.post("/actions")
def act() -> Response:
    """Begin an action; a worker carries it out."""
    kind, selection = _kind(request.form.get("kind", "")), _selection(request.form)
    action_id = desk.begin(
        runtime(),
        kind,
        who=who(),
        why=request.form.get("why", "").strip()[:LONGEST],
        handler=request.form.get("handler_only") or None,
        force=bool(request.form.get("force")),
        **selection,
    )
    return redirect(url_for("pages.action", number=action_id))


@pages.get("/actions/<int:number>")
def action(number: int) -> str:
    """Show how far an action is."""
    found = desk.action(runtime(), known(number, "action"))
    worker = desk.no_worker(runtime()) if found["state"] in ("waiting", "running") else ""
    return render_template("action.html", action=found, words=WORDS[found["kind"]], worker=worker)


@pages.post("/actions/<int:number>/stop")
def stop_action(number: int) -> Response:
    """Stop an action where it is."""
    desk.stop(runtime(), known(number, "action"), who())
    return redirect(url_for("pages.action", number=number))


def _kind(text: str) -> Any:
    if text not in WORDS:
        raise BadRequest(f"There is no action {text!r}; allowed: {', '.join(WORDS)}.")
    return text


def _selection(values: Any) -> dict[str, Any]:
    """Return the ids that were chosen, or the filter if all that it finds was."""
    if values.get("all"):
        found = wanted(values, runtime().clock())
        upto = number(values["upto"], "upto") + 1 if values.get("upto") else None
        found = replace(found, before=upto, after=None)
        if replace(found, before=None) == Filter():
            raise BadRequest("Every event there is would be too many: name a source, a time or something else.")
        return {"wanted": found, "ids": None}
    ids = [number(text, "id") for text in values.getlist("id")]
    if not 0 < len(ids) <= MOST:
        raise BadRequest(f"Choose 1 to {MOST} events, or all that a filter finds.")
    return {"wanted": None, "ids": ids}
