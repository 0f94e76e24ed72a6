"""The cookie of a login: signed with a secret that the store keeps, sent back to `/inbox` only, never over plain HTTP.

It names a login that the store knows, so that a log-out ends it wherever a copy of the cookie is.
"""

from ipaddress import ip_address
from typing import Any

import structlog
from flask import Flask, Request, request
from flask.sessions import SecureCookieSessionInterface, SessionMixin

from inbox.core.errors import StoreError
from inbox.receive.wsgi_bridge import FORMS
from inbox.runtime import Runtime

log = structlog.get_logger("inbox.ui.pages")


class Sessions(SecureCookieSessionInterface):
    """Opens the session of a request to the pages; others have none."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def open_session(self, app: Flask, request: Request) -> Any:
        """Return the session, a new one if the cookie is not ours; the store is asked for its secret once.

        While the store cannot tell it there is none, which `login.logged_in` says: nothing may be raised here.
        """
        if not (request.path + "/").startswith(FORMS + "/"):
            return self.make_null_session(app)
        try:
            app.secret_key = app.secret_key or self._runtime.access.secret()
        except StoreError as error:
            log.error("page.unavailable", path=request.path, error=str(error))
            return self.make_null_session(app)
        return super().open_session(app, request)

    def get_cookie_secure(self, app: Flask) -> bool:
        """See to it that no cookie goes over a network in the clear."""
        return request.is_secure or not on_this_machine(request)

    def should_set_cookie(self, app: Flask, session: SessionMixin) -> bool:
        """Set it when it changes, and not with each answer."""
        return session.modified


def on_this_machine(request: Request) -> bool:
    """Tell whether the browser asked for an address of its own machine, where nobody listens on the line."""
    name = request.host.rpartition(":")[0] or request.host
    name = (request.host if request.host.endswith("]") else name).strip("[]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
