"""The state is what came last, not what is newest."""

from _base import Receiver, serve
from _effects import LATEST


class Flawed(Receiver):
    keep = LATEST


serve(Flawed)
