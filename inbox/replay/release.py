"""Held requests → events, after the owner has corrected what made them look not authentic.

Each is verified as of the time it came, and goes the way of every request: schema, key, dedupe. Next:
`inbox.deliver.dispatcher`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import structlog

from inbox.core.errors import Refused, StoreError
from inbox.receive.receiver import Receiver
from inbox.store.protocols import Archive

log = structlog.get_logger("inbox.replay.release")

PAGE = 20


@dataclass(frozen=True, slots=True)
class Released:
    """What became of a held request: its status as an answer, or discarded, or why it stays held."""

    held_id: int
    status: str = ""
    event_id: int | None = None
    diagnosis: str = ""


class Releaser:
    """Verifies held requests again."""

    def __init__(self, receiver: Receiver, archive: Archive) -> None:
        self._receiver = receiver
        self._archive = archive

    def release(self, source: str) -> Iterator[Released]:
        """Yield what becomes of each held request of the source, oldest first. Raises UnknownSource and StoreError.

        A request is forgotten only after its event is on disk; released twice it is a duplicate.
        """
        provider = self._receiver.source(source)
        after = 0
        while page := self._archive.held(source, after, PAGE):
            for held_id, at, request in page:
                after = held_id
                try:
                    answer = self._receiver.ingest(source, provider, request, at)
                except Refused as refused:
                    yield Released(held_id, diagnosis=refused.diagnosis)
                    continue
                except StoreError:
                    raise
                except Exception as error:  # one that nobody thought of must not keep those behind it
                    log.error("release.failed", source=source, held=held_id, exc_info=error)
                    yield Released(held_id, diagnosis=f"a defect of ours: {type(error).__name__}; the log has more")
                    continue
                self._archive.drop_held(held_id)
                yield Released(held_id, answer.status, answer.id)

    def discard(self, held: Iterable[int]) -> Iterator[Released]:
        """Forget held requests for good, and yield each. They were never acknowledged. Raises StoreError."""
        for held_id in held:
            self._archive.drop_held(held_id)
            yield Released(held_id, "discarded")
