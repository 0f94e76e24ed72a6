"""It notes the id, then works: after a crash between the two the retry is a "duplicate", and nobody does the work."""

from _base import Event, Receiver, serve


class Flawed(Receiver):
    def accept(self, event: Event) -> str:
        insert = "INSERT INTO events (id, status) VALUES (?, 'seen') ON CONFLICT DO NOTHING RETURNING number"
        if not self.sql(insert, event["id"]):
            return "duplicate"
        self.work(event)
        return "accepted"


serve(Flawed)
