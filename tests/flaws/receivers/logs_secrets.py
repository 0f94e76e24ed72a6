"""A refused request is written to the log with everything that helps to find out why."""

from _base import Headers, Receiver, serve


class Flawed(Receiver):
    def log_refusal(self, headers: Headers, body: bytes, status: int, why: str) -> None:
        self.log(f"refused status={status} why={why} secret={self.secret} headers={headers}")


serve(Flawed)
