"""HTTP: one endpoint that hands requests to the Receiver, and two that tell how it is."""

from inbox.web.app import create_app, create_bare, create_pages
from inbox.web.beside import Beside, WhenAsked
from inbox.web.front import Front
from inbox.web.room import Room

__all__ = ["Beside", "Front", "Room", "WhenAsked", "create_app", "create_bare", "create_pages"]
