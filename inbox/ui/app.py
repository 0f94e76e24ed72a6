"""The application of the pages and of the JSON endpoints.

`alone` makes an application of them, `share` has it answer beside the endpoint of a WSGI server.
"""

from flask import Flask, redirect, url_for
from werkzeug import Response

from inbox.receive.wsgi import create_bare
from inbox.receive.wsgi_bridge import LazyWsgi
from inbox.runtime import Runtime
from inbox.ui.api import views
from inbox.ui.api.blueprint import api as endpoints
from inbox.ui.pages import actions, events, handlers, login, overview, refusals
from inbox.ui.pages.blueprint import furnish, pages

_VIEWS = (actions, views, events, handlers, login, overview, refusals)  # imported so that their addresses are known


def share(app: Flask, runtime: Runtime) -> None:
    """Have the pages answer beside the receiver's application, unless they have an address of their own."""
    if not runtime.settings.admin.bind:
        app.wsgi_app = LazyWsgi(app.wsgi_app, lambda: alone(runtime))  # type: ignore[method-assign]


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
