"""The pages under `/inbox/`: server-rendered, for the owner, off until a password is set.

`share` puts them beside the endpoint, `alone` makes an application of them for an address of their own.
"""

from flask import Flask, redirect, url_for
from werkzeug import Response

from inbox.pages import actions, api, events, handlers, login, overview, refusals
from inbox.pages.programs import api as endpoints
from inbox.pages.shell import furnish, pages
from inbox.runtime import Runtime
from inbox.web import create_bare

__all__ = ["add", "alone", "share"]

_VIEWS = (actions, api, events, handlers, login, overview, refusals)  # imported so that their addresses are known


def add(app: Flask, runtime: Runtime) -> None:
    """Add the pages to an application."""
    furnish(app, runtime)
    app.register_blueprint(pages)
    app.register_blueprint(endpoints)


def share(app: Flask, runtime: Runtime) -> None:
    """Add the pages to the receiver's application, unless they have an address of their own."""
    if not runtime.settings.admin.bind:
        add(app, runtime)


def alone(runtime: Runtime) -> Flask:
    """Return an application with the pages, and `/healthz`, and nothing else."""
    app = create_bare(runtime.settings.server)
    add(app, runtime)
    app.add_url_rule("/", "root", _to_pages)
    return app


def _to_pages() -> Response:
    return redirect(url_for("pages.overview"))
