"""Nothing says which events were here: every copy is a new event."""

from _base import Receiver, serve


class Flawed(Receiver):
    unique = ""


serve(Flawed)
