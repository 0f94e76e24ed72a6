"""HTTP: one endpoint that hands requests to the Receiver, and two that tell how it is."""

from inbox.web.app import create_app

__all__ = ["create_app"]
