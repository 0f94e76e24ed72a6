"""It looks whether the event is there, and inserts it if not: two copies at once both find nothing."""

import time

from _base import Event, Receiver, serve


class Flawed(Receiver):
    unique = ""

    def record(self, event: Event) -> bool:
        if self.sql("SELECT 1 FROM events WHERE id = ?", event["id"]):
            return False
        time.sleep(0.002)  # whatever else is done between the two, such as asking another database
        return super().record(event)


serve(Flawed)
