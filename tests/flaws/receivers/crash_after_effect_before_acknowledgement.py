"""It works, then records, then answers: a crash in between leaves an effect that nobody knows of."""

from _base import Event, Receiver, serve


class Flawed(Receiver):
    def accept(self, event: Event) -> str:
        with self.lock:
            if self.sql("SELECT 1 FROM events WHERE id = ?", event["id"]):
                return "duplicate"
            self.work(event)
            self.sql("INSERT INTO events (id, status) VALUES (?, 'done')", event["id"])
            return "accepted"


serve(Flawed)
