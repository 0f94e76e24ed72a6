"""What a worker process held when it ended by itself → its parent, which records it in the store.

It goes through memory that both share: a process whose descriptors a handler closed can use neither its connections nor
a pipe. Nothing that has run is run again, and nothing counts as a crash.
"""

import json
import mmap
import os
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NoReturn

import structlog

from inbox.core.config.named_files import named, own_files
from inbox.core.config.settings import Settings
from inbox.core.errors import StoreError, StoreUnavailable
from inbox.core.log import flush
from inbox.core.models import Claimed, Request
from inbox.core.process_integrity import Integrity, Renewal, memory, watch
from inbox.store.protocols import Finished, Outcome, Work

log = structlog.get_logger("inbox.deliver.handover")

SIZE = 8 * 2**20
"""Bytes that are reserved; memory is only used for what is written."""

MAX_WHY = 8000
_LENGTH = 8

ENDED = 75
"""The exit code of a worker process that ended by itself."""


@dataclass(frozen=True)
class Left:
    """What a worker process that ends by itself has run and not recorded, what it holds besides, and why it ends."""

    ended: Sequence[tuple[Claimed, Outcome]] = ()
    waiting: Sequence[Claimed] = ()
    why: str = ""


NOTHING = Left()


class Handover:
    """Memory that a parent and its child share. Made by the parent before the fork."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SIZE)

    def post(self, settings: Settings, inherited: Collection[int]) -> "Post":
        """Return this process as one that may end by itself, and watch over it; its handlers have been imported."""
        worker = settings.worker
        if 0 < worker.max_memory < (held := memory()):
            log.warning("worker.memory", held=held, max_memory=worker.max_memory, then="it is replaced after each run")
        files = own_files(settings.folder, named(settings.database, settings.inbox, settings.server))
        integrity = Integrity(files, inherited)
        watch(integrity)
        renewal = Renewal(worker.max_runs, worker.max_memory)
        return Post(self, integrity, renewal, patience=worker.lease)

    def leave(self, left: Left) -> None:
        """Write what is left; outcomes that do not fit are run again when their lease has run out."""
        ended = [(_plain(claimed), asdict(outcome)) for claimed, outcome in left.ended]
        waiting = [_plain(each) for each in left.waiting]
        while len(data := json.dumps((ended, waiting, left.why[-MAX_WHY:])).encode()) > SIZE - _LENGTH and ended:
            ended = ended[: len(ended) // 2]
        self._memory[_LENGTH : _LENGTH + len(data)] = data
        self._memory[:_LENGTH] = len(data).to_bytes(_LENGTH, "big")

    def take(self) -> Left | None:
        """Return what the child left, None if it left nothing; only once."""
        length = int.from_bytes(self._memory[:_LENGTH], "big")
        if not 0 < length <= SIZE - _LENGTH:
            return None
        self._memory[:_LENGTH] = bytes(_LENGTH)
        ended, waiting, why = json.loads(self._memory[_LENGTH : _LENGTH + length])
        return Left(
            [(_claimed(claimed), Outcome(**outcome)) for claimed, outcome in ended],
            [_claimed(each) for each in waiting],
            why,
        )


class ProcessDamaged(Exception):
    """A handler damaged the process in which it ran."""


class Post:
    """A worker process that may end by itself: its parent settles what it left, and replaces it.

    `patience` is for how many seconds it may fail to use the store before it ends.
    """

    def __init__(self, handover: Handover, integrity: Integrity, renewal: Renewal, *, patience: float) -> None:
        self._handover = handover
        self._patience = patience
        self._failing_since: float | None = None
        self.integrity = integrity
        self.renewal = renewal

    def has_run(self, claimed: Claimed) -> bool:
        """Count a run, and tell whether it was the last of this process. Raises Damaged."""
        self.renewal.runs += 1
        if damage := self.integrity.damage(thorough=False):
            raise ProcessDamaged(f"{claimed.handler} damaged its process: {damage}")
        return bool(self.renewal.due())

    def works(self) -> None:
        """Note that the store can be used."""
        self._failing_since = None

    def fails(self, error: StoreError) -> None:
        """End if the store could not be used for too long, or cannot be used because this process is damaged."""
        self._failing_since = since = self._failing_since or time.monotonic()
        if time.monotonic() - since > self._patience or self.integrity.damage():
            self.give_up(error)

    def give_up(self, error: Exception, left: Left = NOTHING) -> NoReturn:
        """End this process; what failed is the process, or the store as the process sees it."""
        known = isinstance(error, ProcessDamaged | StoreUnavailable)
        why = str(error) if known else "".join(traceback.format_exception(error))
        self._handover.leave(replace(left, why=why))
        flush()
        os._exit(ENDED)


def settle(left: Left, work: Work, at: float, recorded: Callable[[Claimed, Outcome, Finished], None]) -> None:
    """Record what had run, and let others have the rest. Raises StoreError; it may be called again then."""
    if left.ended:
        for (claimed, outcome), finished in zip(left.ended, work.finish_all(left.ended, at), strict=True):
            recorded(claimed, outcome, finished)
    if left.waiting:
        work.give_back(left.waiting)


def _plain(claimed: Claimed) -> dict[str, Any]:
    """Return a claimed delivery without the request, of which only the id is needed."""
    plain = {item.name: getattr(claimed, item.name) for item in fields(claimed) if item.name != "request"}
    return {**plain, "request_id": claimed.request.id}


def _claimed(plain: dict[str, Any]) -> Claimed:
    return Claimed(
        **{name: value for name, value in plain.items() if name != "request_id"},
        request=Request(id=plain["request_id"]),
    )
