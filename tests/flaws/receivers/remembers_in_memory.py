"""The ids that were here are in a set, which a restart empties."""

from typing import Any

from _base import Event, Receiver, serve


class Flawed(Receiver):
    unique = ""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: set[str] = set()

    def record(self, event: Event) -> bool:
        with self.lock:
            if event["id"] in self.seen:
                return False
            self.seen.add(event["id"])
            return super().record(event)


serve(Flawed)
