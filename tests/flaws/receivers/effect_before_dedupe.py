"""It does the work first and finds out afterwards that it was a copy."""

from _base import Event, Receiver, serve


class Flawed(Receiver):
    def accept(self, event: Event) -> str:
        self.work(event)
        insert = "INSERT INTO events (id, status) VALUES (?, 'done') ON CONFLICT DO NOTHING RETURNING number"
        return "accepted" if self.sql(insert, event["id"]) else "duplicate"


serve(Flawed)
