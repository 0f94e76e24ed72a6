"""`/inbox/handlers`: what is loaded, how it does, what does not import; pausing and resuming."""

from flask import flash, redirect, render_template, request, url_for
from werkzeug import Response

from inbox.ui.pages.actions import LONGEST
from inbox.ui.pages.blueprint import pages, runtime, who
from inbox.ui.services import actions as desk
from inbox.ui.services.handler_status import handlers as look


@pages.get("/handlers")
def handlers() -> str:
    """Show each handler."""
    rows = desk.pauses(runtime())
    paused = {row["name"]: row for row in rows if row["kind"] == "handler"}
    sources = {row["name"]: row for row in rows if row["kind"] == "source"}
    names = desk.pausable(runtime(), "source")
    return render_template("handlers.html", **look(runtime()), paused=paused, sources=sources, names=names)


@pages.post("/pauses")
def pause() -> Response:
    """Let what goes to a handler, or comes from a source, wait."""
    kind, name, why = (request.form.get(field, "") for field in ("kind", "name", "why"))
    done = desk.pause(runtime(), kind, name, who=who(), why=why[:LONGEST])  # type: ignore[arg-type]
    flash(f"The {kind} {name} is paused: events are accepted and wait." if done else f"{name} was paused already.")
    return redirect(url_for("pages.handlers"))


@pages.post("/pauses/end")
def resume() -> Response:
    """Let go what waits."""
    kind, name = request.form.get("kind", ""), request.form.get("name", "")
    desk.resume(runtime(), kind, name, who=who())  # type: ignore[arg-type]
    flash(f"The {kind} {name} goes on, with what waited first.", "good")
    return redirect(url_for("pages.handlers"))
