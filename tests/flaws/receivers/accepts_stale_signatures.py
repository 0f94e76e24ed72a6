"""The timestamp is signed, but nobody looks at it: a captured request is good for ever."""

from _base import Receiver, serve


class Flawed(Receiver):
    tolerance = 10**12


serve(Flawed)
