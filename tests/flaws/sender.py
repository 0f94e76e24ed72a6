"""The sender's side: events, their signatures, and requests that may get no answer."""

import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple

from tests.flaws.target import Target

DEADLINE = 10.0
"""Seconds that the sender waits for an answer."""


class Answer(NamedTuple):
    """What came back; status 0 is no answer at all."""

    status: int
    word: str

    @property
    def acknowledged(self) -> bool:
        """Tell whether the sender takes the event for delivered."""
        return 200 <= self.status <= 299


def event(version: int = 1, **more: Any) -> dict[str, Any]:
    """Return a new event."""
    return {"id": uuid.uuid4().hex, "type": "thing.changed", "version": version, **more}


def encode(content: dict[str, Any]) -> bytes:
    """Return the event as the sender writes it."""
    return json.dumps(content).encode()


def signed(target: Target, body: bytes, at: float | None = None) -> dict[str, str]:
    """Return the headers that prove the sender; `at` is the time of signing, now by default."""
    stamp = str(int(time.time() if at is None else at))
    digest = hmac.new(target.secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-Acme-Timestamp": stamp, "X-Acme-Signature": digest, "Content-Type": "application/json"}


def send(target: Target, content: dict[str, Any], **headers: str) -> Answer:
    """Send an event as its sender does."""
    body = encode(content)
    return post(target, body, {**signed(target, body), **headers})


def post(target: Target, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Send bytes and return the answer."""
    connection = HTTPConnection("127.0.0.1", target.port, timeout=DEADLINE)
    try:
        connection.request("POST", target.path, body, dict(headers))
        response = connection.getresponse()
        content = json.loads(response.read())
        return Answer(response.status, content.get("status") or content.get("error", ""))
    except (OSError, HTTPException, ValueError):
        return Answer(0, "")
    finally:
        connection.close()
