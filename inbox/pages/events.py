"""Events."""

from flask import render_template

from inbox.pages.shell import pages


@pages.get("/")
def overview() -> str:
    """Show everything at a glance."""
    return render_template("overview.html")
