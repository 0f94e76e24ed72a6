"""What the checker of `inbox torture` needs beside the database: who was told what, what ran, what was disturbed."""

import inspect
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from inbox.core.models import Request
from inbox.receive.receiver import payload_of
from inbox.tools.torture.evidence import gather
from inbox.tools.torture.handler import note
from inbox.tools.torture.invariants import Breach, check
from inbox.tools.torture.journal import CLIENT, EFFECTS, FAULTS, Effect, Fault, Journal, Reply, read
from inbox.verify.event_key import content_digest
from inbox.verify.providers.base import Provider

NOTED = f"""
import functools, json, os
from pathlib import Path

JOURNAL = Path(__file__).parent.parent / "{EFFECTS}"

{inspect.getsource(note).replace("event: Event", "event")}

def noted(function):
    @functools.wraps(function)
    def run(event):
        note("begin", event)
        try:
            value = function(event)
        except Exception:
            note("raise", event)
            raise
        note("end", event)
        return value
    return run
"""
"""Beside the handlers of a test: has one write down when it begins, ends and gives up, as those of the torture do."""

_MARKED = re.compile(r"@handles\(\"(\w+)\".*\)\n@noted\ndef (\w+)")


class Witness:
    """The journals in a folder. Nothing was done to the inbox but what is written down here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / FAULTS).touch()

    def told(
        self, source: str, key: str, body: bytes, http: int, outcome: str, id: int, *, fate: str = "succeeded"
    ) -> None:
        """Write down what a sender was told about a request; status 0 if it was told nothing."""
        digest = sha256(body).hexdigest()
        self.add(Reply(time.time(), "fresh", source, key, digest, fate, http, outcome, id))

    def disturbed(self, what: str, pid: int, since: float | None = None) -> None:
        """Write down that a process is killed now, or was stopped since then until now."""
        now = time.time()
        self.add(Fault(now if since is None else since, now, what, "process", pid))

    def add(self, *records: Reply | Fault) -> None:
        """Write down what senders were told, or what was done to the inbox."""
        for record in records:
            with closing(Journal(self._folder / (CLIENT if isinstance(record, Reply) else FAULTS))) as journal:
                journal.add(record)

    def answers(self) -> list[Reply]:
        """Return what the senders were told, oldest first."""
        return read(self._folder / CLIENT, Reply)

    def effects(self, step: str) -> list[Effect]:
        """Return what the handlers wrote down, oldest first: each "begin", "end" or "raise"."""
        return [effect for effect in read(self._folder / EFFECTS, Effect) if effect.step == step]

    def breaches(self, database: Path, handlers: Mapping[str, frozenset[str]], left: Iterable[str]) -> list[Breach]:
        """Return what the checker finds."""
        return check(gather(self._folder, database, handlers=handlers, left=list(left)))

    def prove(self, database: Path, handlers: Mapping[str, frozenset[str]], left: Iterable[str]) -> None:
        """Fail if the promise was broken."""
        found = "\n".join(map(str, self.breaches(database, handlers, left)))
        assert not found, found


def wanted(name: str, code: str) -> dict[str, frozenset[str]]:
    """Return which handlers of a file each source has to go through."""
    found = _MARKED.findall(code)
    return {source: frozenset(f"{name}.{function}" for at, function in found if at == source) for source, _ in found}


def key_of(provider: Provider, request: Request) -> str:
    """Return the key under which a request that its sender signed just now is to be found."""
    verified, shown = provider.verify(request, at=time.time()), provider.redact(request)
    return provider.key_of(shown, payload_of(provider, shown), verified, content_digest(shown))
