"""A sender that signs with a token, alone or as a crowd, and the handler that is run for it."""

import http.client
import json
import re
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.place import Place, descendants

TOKEN = "a token that only this sender knows"
SOURCES = """
[sources.acme]
provider = "token"
secrets = ["env:ACME_TOKEN"]
secret_name = "X-Acme-Token"
event_id = "json:/id"
"""
HANDLER = """
from inbox import Event, handles
from ._noted import noted

@handles("acme")
@noted
def write_down(event: Event) -> None:
    pass
"""


class Answer(NamedTuple):
    """What came back; status 0 is no answer at all."""

    status: int
    retry_after: str
    content: dict[str, Any]

    @property
    def word(self) -> str:
        """Return what became of the request."""
        return str(self.content.get("status") or self.content.get("error", ""))


REFUSED = (503, "5", "unavailable")


def short(answer: Answer) -> tuple[int, str, str]:
    """Return status, Retry-After and word."""
    return answer.status, answer.retry_after, answer.word


def settle(place: Place, *, inbox: str = "", server: str = "", worker: str = "", wide: int = 0) -> None:
    """Configure one source and one handler; `wide` is the largest body, if not the default."""
    place.environment["ACME_TOKEN"] = TOKEN
    place.only_handler("own", HANDLER)
    place.configure(server, worker, SOURCES + (f"max_body = {wide}\n" if wide else ""))
    path = place.folder / "inbox.toml"
    path.write_text(path.read_text().replace("[inbox]\n", f"[inbox]\n{inbox}\n"))


def body(key: str, size: int = 0) -> bytes:
    """Return a body with this id, of at least this size."""
    return json.dumps({"id": key, "data": "x" * size}).encode()


def send(place: Place, key: str, size: int = 0, *, token: str = TOKEN, timeout: float = 60.0) -> Answer:
    """Send an event as its sender does, or as somebody who has another token, and write down the answer."""
    content = body(key, size)
    answer = exchange(place, "POST", "/in/acme", content, {"X-Acme-Token": token}, timeout=timeout)
    fate = "succeeded" if token == TOKEN else "refused"
    place.witness.told("acme", key, content, answer.status, answer.word, answer.content.get("id", 0), fate=fate)
    return answer


def get(place: Place, path: str) -> Answer:
    """Ask for a page."""
    return exchange(place, "GET", path)


def exchange(
    place: Place,
    method: str,
    path: str,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    timeout: float = 60.0,
) -> Answer:
    """Send a request over a connection of its own and return the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=timeout)
    try:
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.request(method, path, content, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.getheader("Retry-After", ""), json.loads(response.read()))
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Answer(0, "", {"error": repr(error)})
    finally:
        connection.close()


def at_once(call: Callable[[str], Answer], keys: Sequence[str]) -> dict[str, Answer]:
    """Call for all keys at the same time, and return the answers."""
    with ThreadPoolExecutor(len(keys)) as pool:
        return dict(zip(keys, pool.map(call, keys), strict=True))


def receivers(place: Place) -> list[int]:
    """Return the process ids of the receiver: what was started or its supervisor's latest, and its own process."""
    first = place.children("receiver")[-1:] or [place.pid]
    return [*first, *descendants(first[0])]


def memory(place: Place) -> int:
    """Return the most bytes that the receiver's processes have had in memory so far."""
    peaks = [re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()) for pid in receivers(place)]
    return sum(int(peak[1]) * 1024 for peak in peaks if peak is not None)


def runs(place: Place) -> Counter[str]:
    """Return how often the handler ran to its end for each key."""
    return Counter(effect.key for effect in place.witness.effects("end"))
