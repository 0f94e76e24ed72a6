"""`/inbox/`: how every source is, at a glance."""

from typing import Any

from flask import render_template

from inbox.ui.pages.blueprint import pages, runtime
from inbox.ui.services.actions import pauses
from inbox.ui.services.overview import overview as look


@pages.get("/")
def overview() -> str:
    """Show how every source is, those that stand out first."""
    found = look(runtime())
    paused = {row["name"]: row for row in pauses(runtime()) if row["kind"] == "source" and row["ended_at"] is None}
    rows = sorted(found["sources"], key=_urgency)
    return render_template("overview.html", **{**found, "sources": rows}, paused=paused)


def _urgency(row: dict[str, Any]) -> tuple[bool, ...]:
    return not row["alarms"], not row["dead"], not row["noteworthy"], not row["source"]
