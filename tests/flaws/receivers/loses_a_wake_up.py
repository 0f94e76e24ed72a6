"""The queue is the only one who knows what is to be done; when it is gone, the rows stay where they are."""

from _base import Receiver, serve


class Flawed(Receiver):
    def sweep(self) -> None:
        pass


serve(Flawed)
