"""The pages under `/inbox/`: server-rendered, for the owner, off until a password is set.

`alone` makes an application of them, `share` has it answer beside the endpoint of a WSGI server.
"""

from flask import Flask, redirect, url_for
from werkzeug import Response

from inbox.pages import actions, api, events, handlers, login, overview, refusals
from inbox.pages.programs import api as endpoints
from inbox.pages.shell import furnish, pages
from inbox.runtime import Runtime
from inbox.web import WhenAsked, create_bare

__all__ = ["alone", "share"]

_VIEWS = (actions, api, events, handlers, login, overview, refusals)  # imported so that their addresses are known


def share(app: Flask, runtime: Runtime) -> None:
    """Have the pages answer beside the receiver's application, unless they have an address of their own."""
    if not runtime.settings.admin.bind:
        app.wsgi_app = WhenAsked(app.wsgi_app, lambda: alone(runtime))  # type: ignore[method-assign]


def alone(runtime: Runtime) -> Flask:
    """Return an application with the pages, and `/healthz`, and nothing else."""
    app = create_bare(runtime.settings.server)
    furnish(app, runtime)
    app.register_blueprint(pages)
    app.register_blueprint(endpoints)
    app.add_url_rule("/", "root", _to_pages)
    return app


def _to_pages() -> Response:
    return redirect(url_for("pages.overview"))
