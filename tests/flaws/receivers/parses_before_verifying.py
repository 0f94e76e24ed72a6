"""A framework hands it decoded JSON, so a stranger's body is parsed before anybody asks who sent it."""

import json

from _base import Headers, Receiver, serve


class Flawed(Receiver):
    def receive(self, headers: Headers, body: bytes) -> tuple[int, str]:
        try:
            json.loads(body)
        except ValueError:
            return 400, "malformed"
        return super().receive(headers, body)


serve(Flawed)
