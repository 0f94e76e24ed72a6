"""Wake-ups: one message for many events, nobody waits for it, and none is lost but with the process."""

import threading

import pytest
from structlog.testing import capture_logs

from inbox.receive.queue_notifier import QueueNotifier
from tests.support.place import eventually


class Slow:
    """A queue that takes each message only when it is allowed to."""

    def __init__(self) -> None:
        self.asked = self.sent = 0
        self.gate = threading.Semaphore(0)

    def send(self) -> None:
        """Take a message."""
        self.asked += 1
        assert self.gate.acquire(timeout=20)
        self.sent += 1


def test_what_comes_while_the_queue_is_busy_is_one_message() -> None:
    """The callers go on at once; what came after a message was begun has one of its own."""
    queue = Slow()
    wakes = QueueNotifier(queue.send)
    wakes(1)
    eventually(lambda: queue.asked == 1, "the first is under way")
    for number in range(2, 100):
        wakes(number)
    queue.gate.release(9)
    eventually(lambda: queue.sent == 2, "both messages are sent")
    wakes.close()
    assert 2 == queue.sent


def test_closing_sends_what_is_left() -> None:
    """The last wake-up is not left to the sweep."""
    queue = Slow()
    wakes = QueueNotifier(queue.send)
    wakes(1)
    eventually(lambda: queue.asked == 1, "the first is under way")
    wakes(2)
    queue.gate.release(9)
    wakes.close()
    assert 2 == queue.sent


def test_queue_that_fails_is_logged_and_asked_again_for_the_next() -> None:
    """A full disk or a lock costs time, not the thread."""
    sent: list[int] = []

    def send() -> None:
        sent.append(len(sent))
        if len(sent) == 1:
            raise OSError("no space left")

    wakes = QueueNotifier(send)
    with capture_logs() as logs:
        wakes(1)
        eventually(lambda: logs, "it is logged")
        wakes(2)
        wakes.close()
    assert ([0, 1], ["queue.wake_failed"]) == (sent, [line["event"] for line in logs])


def test_no_wake_up_of_many_threads_is_lost() -> None:
    """A message is begun after each of 8,000 calls, whoever else calls."""
    called, seen = [0] * 8, [0] * 8
    wakes = QueueNotifier(lambda: seen.__setitem__(slice(None), called[:]))

    def call(thread: int) -> None:
        for number in range(1000):
            called[thread] = number + 1
            wakes(number)

    threads = [threading.Thread(target=call, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wakes.close()
    assert [1000] * 8 == seen


def test_no_thread_for_now_is_logged_and_the_next_wake_up_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event is stored already: its sender must not get an error."""
    queue = Slow()
    queue.gate.release(10)
    wakes = QueueNotifier(queue.send)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(threading.Thread, "start", refuse)
        wakes(1)
    assert ["queue.wake_failed"] == [entry["event"] for entry in logs]
    wakes(2)
    wakes.close()
    assert 1 == queue.sent
