"""Wake-ups: many in one message, nobody waits for them, and none is lost but with the process."""

import threading
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from inbox.wakes import Wakes
from tests.acceptance.place import eventually


class Slow:
    """A queue that takes each message only when it is allowed to."""

    def __init__(self) -> None:
        self.messages: list[list[int]] = []
        self.gate = threading.Semaphore(0)

    def send(self, ids: Sequence[int]) -> None:
        """Take a message."""
        assert self.gate.acquire(timeout=20)
        self.messages.append(list(ids))


def test_what_comes_while_the_queue_is_busy_is_one_message() -> None:
    """The caller goes on at once, and each id is sent once."""
    queue = Slow()
    wakes = Wakes(queue.send)
    wakes(1)
    eventually(lambda: not wakes._ids, "the first is under way")
    for number in range(2, 100):
        wakes(number)
    queue.gate.release(2)
    eventually(lambda: len(queue.messages) == 2, "both messages are sent")
    assert [[1], [*range(2, 100)]] == queue.messages
    wakes.close()


def test_closing_sends_what_is_left() -> None:
    """The last wake-ups are not left to the sweep."""
    queue = Slow()
    wakes = Wakes(queue.send)
    wakes(1)
    eventually(lambda: not wakes._ids, "the first is under way")
    wakes(2)
    queue.gate.release(2)
    wakes.close()
    assert [[1], [2]] == queue.messages


def test_queue_that_fails_is_logged_and_asked_again_for_the_next() -> None:
    """A full disk or a lock costs time, not the thread."""
    sent: list[int] = []

    def send(ids: Sequence[int]) -> None:
        if 1 in ids:
            raise OSError("no space left")
        sent.extend(ids)

    wakes = Wakes(send)
    with capture_logs() as logs:
        wakes(1)
        eventually(lambda: logs, "it is logged")
        wakes(2)
        wakes.close()
    assert ([2], ["queue.wake_failed"]) == (sent, [line["event"] for line in logs])


def test_many_threads_lose_nothing() -> None:
    """Each of 8,000 ids arrives once."""
    sent: list[int] = []
    wakes = Wakes(sent.extend)
    threads = [threading.Thread(target=lambda n=n: [wakes(n * 1000 + i) for i in range(1000)]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wakes.close()
    assert list(range(8000)) == sorted(sent)


def test_no_thread_for_now_is_logged_and_the_next_wake_up_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event is stored already: its sender must not get an error."""
    queue = Slow()
    queue.gate.release(10)
    wakes = Wakes(queue.send)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(threading.Thread, "start", refuse)
        wakes(1)
    assert ["queue.wake_failed"] == [entry["event"] for entry in logs]
    wakes(2)
    wakes.close()
    assert [[1, 2]] == queue.messages
