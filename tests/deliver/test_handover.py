"""What a worker process left its parent: it arrives whole whatever was done to the process, and is settled once."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox.core.models import Claimed, Request
from inbox.deliver import handover as module
from inbox.deliver.handover import ENDED, Handover, Left, settle
from inbox.store.protocols import Outcome
from inbox.testing import Inbox

CLAIMED = Claimed(
    **{"id": 1, "token": "t", "handler": "own.one", "attempt": 1, "crashes": 0, "created_at": 5.0, "is_replay": False},
    **{"event_id": 7, "source": "roomz", "type": "a.b", "key": "k", "received_at": 4.0},
    request=Request(body=b"body", id="r1"),
)
OUTCOME = Outcome("retrying", "error", due_at=9.5, error="Traceback: ü \ud800")


def test_what_is_left_arrives_without_any_descriptor() -> None:
    """From a fork that has closed all of them; only once, and without the body."""
    made = Handover()
    assert made.take() is None
    left = Left([(CLAIMED, OUTCOME)], [replace(CLAIMED, id=2)], "because")
    pid = os.fork()
    if pid == 0:
        os.closerange(0, 1024)
        made.leave(left)
        os._exit(ENDED)
    assert ENDED == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    found = made.take()
    assert found is not None
    bare = replace(CLAIMED, request=Request(id="r1"))
    assert ([(bare, OUTCOME)], [replace(bare, id=2)], "because") == (found.ended, found.waiting, found.why)
    assert ("r1", None) == (found.ended[0][0].request.id, made.take())


def test_outcomes_that_do_not_fit_are_left_to_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as fit arrive."""
    monkeypatch.setattr(module, "SIZE", 4096)
    made = Handover()
    made.leave(Left([(replace(CLAIMED, id=number), OUTCOME) for number in range(64)], [CLAIMED], "x" * 100))
    found = made.take()
    assert found is not None
    assert (True, 1, "x" * 100) == (0 < len(found.ended) < 64, len(found.waiting), found.why)


@pytest.mark.parametrize("length", [0, 2**40, 8 * 2**20])
def test_memory_that_a_handler_wrote_over_is_no_handover(length: int) -> None:
    """A length that cannot be is nothing left."""
    made = Handover()
    made._memory[:8] = length.to_bytes(8, "big")
    assert made.take() is None


def test_what_is_left_is_settled(tmp_path: Path) -> None:
    """What had run is recorded as it ended, what had not is as if it had never been claimed; nothing is a crash."""
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "own.py").write_text(
        "from inbox import handles\n@handles('roomz')\ndef one(event): return 1\n"
    )
    with Inbox(tmp_path, handlers=tmp_path / "handlers") as inbox:
        for _ in range(2):
            inbox.receive("roomz")
        work = inbox.dispatcher._work
        inbox.dispatcher.route()
        first, second = work.take(inbox.dispatcher._claimant(), 2)[0]
        told: list[Any] = []
        left = Left([(first, Outcome("succeeded", "succeeded", value="1"))], [second])
        settle(left, work, inbox.clock(), lambda *each: told.append(each))
        states = [(inbox.event(number)["status"], inbox.event(number)["deliveries"][0]) for number in (1, 2)]
        assert [("succeeded", 1, 0), ("processing", 0, 0)] == [
            (status, delivery["attempts"], delivery["crashes"]) for status, delivery in states
        ]
        assert [True] == [finished.held for _, _, finished in told]
        inbox.sweep()
        inbox.run()
        assert "succeeded" == inbox.event(2)["status"]
