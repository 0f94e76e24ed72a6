"""Senders in threads: events out of order, copies in a row, at once and late, conflicts and forgeries.

A request without an answer, or with a 503, is sent again until it is acknowledged, as a sender would. Every answer is
written into the client's journal; what no answer came for is written as unknown.
"""

import http.client
import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from inbox.core.models import Request
from inbox.tools.torture.journal import Journal, Reply
from inbox.tools.torture.scratch import Scratch
from inbox.verify.providers.base import Provider, encode

TIMEOUT = 2.5
"""Seconds that a sender waits for an answer; less than a process is stopped for."""

REMEMBERED = 300
"""Requests of which a client sends late copies."""

_KINDS = ("fresh", "held", "copy", "at once", "late", "conflict", "rivals", "forged")
_WEIGHTS = (46, 10, 10, 10, 12, 5, 4, 3)


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A signed request, and what is to become of its event."""

    kind: str
    source: str
    key: str
    fate: str
    request: Request

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the body, hex."""
        return sha256(self.request.body).hexdigest()


class Writer:
    """Writes the letters of one client; the same seed gives the same letters."""

    def __init__(self, name: str, chance: random.Random, sender: Provider, forger: Provider) -> None:
        self._name = name
        self._chance = chance
        self._sender = sender
        self._forger = forger
        self._number = 0

    def fresh(self) -> SignedRequest:
        """Return a letter that nobody has seen."""
        self._number += 1
        source = self._chance.choices(("signed", "plain"), (7, 3))[0]
        event_type = self._chance.choices(("work", "doomed", "hangs"), (970, 26, 4))[0]
        return self._letter("fresh", source, f"{self._name}-{self._number}", event_type)

    def other(self, letter: SignedRequest, kind: str = "conflict") -> SignedRequest:
        """Return a letter with the key of another one and a body of its own."""
        return self._letter(kind, "signed", letter.key, "work")

    def forged(self) -> SignedRequest:
        """Return a letter that is signed by somebody who does not know the secret."""
        letter = self.fresh()
        request = self._forger.sign(letter.request, at=0.0)
        return replace(letter, kind="forged", fate="refused", request=request)

    def _letter(self, kind: str, source: str, id: str, event_type: str) -> SignedRequest:
        chance = self._chance
        pause = chance.choices((0.0, chance.uniform(0.02, 0.4), 1.5), (897, 100, 3))[0]
        body = encode(
            {
                "id": id,
                "type": event_type,
                "failures": chance.choices((0, 1, 2), (90, 8, 2))[0],
                "pause": round(pause, 3) if event_type != "hangs" else 0.0,
                "filler": "x" * int(chance.expovariate(1 / 400)),
                "unique": chance.getrandbits(64),
            }
        )
        request = self._sender.sign(Request(headers=(("content-type", "application/json"),), body=body), at=0.0)
        key = id if source == "signed" else f"sha256:{sha256(body).hexdigest()}"
        return SignedRequest(kind, source, key, "dead" if event_type == "doomed" else "succeeded", request)


class Client(threading.Thread):
    """One sender with a few connections. `finish` ends it when what it began is acknowledged, `give_up` at once."""

    def __init__(
        self, number: int, scratch: Scratch, journal: Journal, *, seed: int, pace: float, clock: Callable[[], float]
    ) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._chance = random.Random(f"{seed}/client/{number}")  # noqa: S311 – to be repeatable
        self._writer = Writer(f"c{number}", self._chance, scratch.sender, scratch.forger)
        self._lines = [_Line(scratch.port) for _ in range(3)]
        self._journal = journal
        self._pace = pace
        self._clock = clock
        self._held: list[SignedRequest] = []
        self._sent: deque[SignedRequest] = deque(maxlen=REMEMBERED)
        self._finish = threading.Event()
        self._give_up = threading.Event()
        self.requests = self.acknowledged = 0
        self.failure: BaseException | None = None

    def finish(self) -> None:
        """Begin nothing new."""
        self._finish.set()

    def give_up(self) -> None:
        """Send nothing more."""
        self._finish.set()
        self._give_up.set()

    def run(self) -> None:
        """Send at the given pace (requests per second) until told to finish."""
        try:
            due = time.monotonic()
            while not self._finish.wait(max(0.0, due - time.monotonic())):
                letters = self._next()
                due = max(due, time.monotonic() - 1.0) + sum(self._chance.expovariate(self._pace) for _ in letters)
                self._send(letters)
            for letter in self._held:
                self._send([letter])
        except BaseException as error:
            self.failure = error
        finally:
            for line in self._lines:
                line.close()

    def _next(self) -> list[SignedRequest]:
        """Return what is sent now; several letters go out at the same time, each on a connection of its own."""
        kind = self._chance.choices(_KINDS, _WEIGHTS)[0]
        if kind == "forged":
            return [self._writer.forged()]
        if kind == "held":
            self._held.append(self._writer.fresh())
            return [self._held.pop(self._chance.randrange(len(self._held)))] if len(self._held) > 4 else []
        if kind in ("copy", "late", "conflict") and self._sent:
            letter = self._sent[-1] if kind == "copy" else self._chance.choice(self._sent)
            if kind != "conflict":
                return [replace(letter, kind=kind)]
            return [self._writer.other(letter) if letter.source == "signed" else replace(letter, kind="late")]
        letter = self._writer.fresh()
        if kind == "at once":
            return [letter, *[replace(letter, kind="copy")] * self._chance.randint(1, 2)]
        if kind == "rivals" and letter.source == "signed":
            return [letter, self._writer.other(letter)]
        return [letter]

    def _send(self, letters: Sequence[SignedRequest]) -> None:
        """Send the letters together, and again what was not answered for good."""
        while letters and not self._give_up.is_set():
            answers = self._exchange(letters)
            self._sent.extend(letter for letter, answer in zip(letters, answers, strict=True) if answer.acknowledged)
            letters = [letter for letter, answer in zip(letters, answers, strict=True) if answer.http in (0, 500, 503)]
            if letters:
                self._give_up.wait(self._chance.uniform(0.05, 0.4))

    def _exchange(self, letters: Sequence[SignedRequest]) -> list[Reply]:
        """Write all the requests, then read all the answers."""
        lines = self._lines[: len(letters)]
        for line, letter in zip(lines, letters, strict=True):
            line.write(letter)
        answers = []
        for line, letter in zip(lines, letters, strict=True):
            status, outcome, number = line.read()
            answer = Reply(
                self._clock(),
                letter.kind,
                letter.source,
                letter.key,
                letter.digest,
                letter.fate,
                status,
                outcome,
                number,
            )
            self._journal.add(answer)
            self.requests += 1
            self.acknowledged += answer.acknowledged
            answers.append(answer)
        return answers


class _Line:
    """A connection that is kept open as long as it works."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        self._broken = ""

    def write(self, letter: SignedRequest) -> None:
        """Send a request; what goes wrong is told by `read`."""
        self._broken = ""
        try:
            self._connection.request("POST", f"/in/{letter.source}", letter.request.body, dict(letter.request.headers))
        except (OSError, http.client.HTTPException) as error:
            self._break(error)

    def read(self) -> tuple[int, str, int]:
        """Return (HTTP status, outcome, event's id); status 0 if the connection broke or nobody answered in time."""
        if not self._broken:
            try:
                response = self._connection.getresponse()
                told = json.loads(response.read())
                return response.status, str(told.get("status") or told.get("error")), int(told.get("id", 0))
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._break(error)
        return 0, self._broken, 0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _break(self, error: Exception) -> None:
        self._broken = type(error).__name__
        self._connection.close()
