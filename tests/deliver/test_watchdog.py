"""The guard: a handler stays inside its time, and its lease lives exactly as long as it runs."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from inbox.deliver.watchdog import HandlerTimeout, Watchdog

Beat = tuple[int, str]


class Heart:
    """Counts heartbeats, and answers them as it is told."""

    def __init__(self, answer: Callable[[], bool] = lambda: True) -> None:
        self.beats: list[Beat] = []
        self.answer = answer
        self.more = threading.Condition()

    def __call__(self, delivery_id: int, token: str) -> bool:
        with self.more:
            self.beats.append((delivery_id, token))
            self.more.notify_all()
        return self.answer()

    def wait_for(self, *wanted: Beat) -> None:
        """Wait until each of these was seen once more."""
        missing = set(wanted)
        with self.more:
            start = len(self.beats)
            assert self.more.wait_for(lambda: missing <= set(self.beats[start:]), 10), self.beats


def guard(heart: Heart, *, interval: float = 0.01, grace: float = 60.0) -> Watchdog:
    return Watchdog(heart, interval=interval, grace=grace)


def named(logs: list[Any], event: str) -> list[Any]:
    return [entry for entry in list(logs) if entry["event"] == event]


def armed() -> bool:
    """Tell whether an alarm is set."""
    return signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0)


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code that has `guard`, a Watchdog with a grace of 0.2 s, in a process of its own."""
    before = "from inbox.deliver.watchdog import Watchdog; guard = Watchdog(lambda *_: True, interval=1, grace=0.2)\n"
    return subprocess.run([sys.executable, "-c", before + code], capture_output=True, text=True, timeout=30)


def test_a_block_that_is_quick_enough_is_left_alone() -> None:
    """Its result stands and nothing stays armed."""
    before = signal.getsignal(signal.SIGALRM)
    with guard(Heart()).watch(1, "t", 30):
        assert armed()
    assert (False, before) == (armed(), signal.getsignal(signal.SIGALRM))


def test_a_block_that_is_too_slow_is_interrupted() -> None:
    """HandlerTimeout comes up where the handler is."""
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(HandlerTimeout), guard(Heart()).watch(1, "t", 0.05):
        time.sleep(30)
    assert (False, before) == (armed(), signal.getsignal(signal.SIGALRM))


def test_a_handler_does_not_catch_its_timeout_by_accident() -> None:
    """`except Exception` lets it through, and `finally` still runs."""
    cleaned = []

    def careful() -> None:
        try:
            time.sleep(30)
        except Exception:
            cleaned.append("wrong")
        finally:
            cleaned.append("finally")

    with pytest.raises(HandlerTimeout), guard(Heart()).watch(1, "t", 0.05):
        careful()
    assert ["finally"] == cleaned


def test_an_error_in_the_block_leaves_nothing_armed() -> None:
    """The error comes out as it is."""
    with pytest.raises(ZeroDivisionError), guard(Heart()).watch(1, "t", 30):
        _ = 1 / 0
    assert not armed()


def test_a_second_watch_has_a_time_of_its_own() -> None:
    """A worker runs one delivery after the other under one guard."""
    watching = guard(Heart())
    for _ in range(3):
        with pytest.raises(HandlerTimeout), watching.watch(1, "t", 0.02):
            time.sleep(30)
        with watching.watch(2, "u", 30):
            pass
    assert not armed()


def test_a_handler_that_swallows_everything_is_ended_with_its_process() -> None:
    """`except BaseException` in a loop: after the grace the process is gone, with a traceback for the log."""
    done = run(
        """
import time
with guard.watch(1, "t", 0.1):
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
"""
    )
    assert 1 == done.returncode
    assert "Timeout (0:00:00.3" in done.stderr
    assert 'File "<string>", line' in done.stderr


def test_a_handler_that_hangs_in_c_is_ended_with_its_process() -> None:
    """Where no signal handler of Python's can run."""
    done = run(
        """
import signal, threading, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
with guard.watch(1, "t", 0.1):
    time.sleep(60)
"""
    )
    assert 1 == done.returncode


def test_the_process_lives_on_after_a_timeout() -> None:
    """Nothing ends it later: the watchdog was called off, too."""
    done = run(
        """
import time
from inbox.deliver.watchdog import HandlerTimeout
for _ in range(2):
    try:
        with guard.watch(1, "t", 0.1):
            time.sleep(60)
    except HandlerTimeout:
        pass
with guard.watch(2, "t", 0.1):
    pass
time.sleep(1)
print("alive")
"""
    )
    assert (0, "alive\n") == (done.returncode, done.stdout)


def test_the_lease_is_extended_while_the_block_runs_and_not_after() -> None:
    """With the delivery and the token of this run."""
    heart = Heart()
    watching = guard(heart)
    with watching.watch(7, "token", 30):
        heart.wait_for((7, "token"))
        heart.wait_for((7, "token"))
    with watching.watch(8, "other", 30):
        heart.wait_for((8, "other"))
        heart.wait_for((8, "other"))
    since = heart.beats.index((8, "other"))
    assert ({(7, "token")}, {(8, "other")}) == (set(heart.beats[:since]), set(heart.beats[since:]))


def test_each_of_several_threads_keeps_its_lease() -> None:
    """Thread workers share a guard: the delivery that began first is not forgotten."""
    heart = Heart()
    watching = guard(heart)
    begun, go_on = threading.Barrier(3), threading.Event()

    def work(number: int) -> None:
        with watching.watch(number, "t", 30):
            begun.wait(10)
            go_on.wait(10)

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    begun.wait(10)
    heart.wait_for((1, "t"), (2, "t"))
    go_on.set()
    for thread in threads:
        thread.join()


def test_a_watch_inside_a_watch_keeps_both_leases() -> None:
    """And leaves no alarm behind."""
    heart = Heart()
    watching = guard(heart)
    with watching.watch(1, "outer", 30), watching.watch(2, "inner", 30):
        heart.wait_for((1, "outer"), (2, "inner"))
    assert not armed()


def test_a_heartbeat_that_fails_is_logged_and_tried_again(logs: list[Any]) -> None:
    """A store that is locked for a moment must not end the handler."""

    def fail() -> bool:
        raise OSError("the disk is away")

    heart = Heart(fail)
    with guard(heart).watch(1, "t", 30):
        heart.wait_for((1, "t"))
        heart.wait_for((1, "t"))
    entry = named(logs, "heartbeat.failed")[0]
    assert ("warning", 1, "the disk is away") == (entry["log_level"], entry["delivery"], entry["error"])


def test_a_lost_lease_is_logged(logs: list[Any]) -> None:
    """Somebody else has the delivery now; the handler can ask `still_mine`."""
    heart = Heart(lambda: False)
    with guard(heart).watch(1, "t", 30):
        heart.wait_for((1, "t"))
        heart.wait_for((1, "t"))
    assert 1 == named(logs, "heartbeat.lease_lost")[0]["delivery"]


def test_in_a_thread_timeouts_are_not_enforced_and_that_is_said_once(logs: list[Any]) -> None:
    """Signals reach the main thread only."""
    watching, done = guard(Heart()), []

    def work() -> None:
        for number in range(2):
            with watching.watch(number, "t", 0.01):
                time.sleep(0.05)
            done.append(number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ([0, 1], False) == (done, armed())
    assert 1 == len(named(logs, "timeouts.not_enforced"))


def test_the_heartbeat_starts_again_in_a_forked_child() -> None:
    """Threads do not survive a fork; the guard of a worker process that was forked beats all the same."""
    done = run(
        """
import os, threading
from inbox.deliver.watchdog import Watchdog
beaten = threading.Event()
guard = Watchdog(lambda *_: beaten.set() or True, interval=0.01, grace=9)
with guard.watch(1, "t", 9):
    beaten.wait(9)
beaten.clear()
pid = os.fork()
if pid == 0:
    with guard.watch(2, "t", 9):
        os._exit(0 if beaten.wait(9) else 3)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    )
    assert "0\n" == done.stdout, done.stderr


@pytest.mark.parametrize(
    ("ends", "code", "said"),
    [
        ("pass", 0, ""),
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit", 0, ""),
        ("raise SystemExit('why')", 1, ""),
        ("1 / 0", 1, "ZeroDivisionError"),
    ],
)
def test_a_copy_that_the_block_forks_ends_with_the_block(ends: str, code: int, said: str) -> None:
    """As Python would end it, and nothing after the block runs twice; also in a thread."""
    done = run(
        f"""
import os, threading
def work():
    with guard.watch(1, "t", 30):
        pid = os.fork()
        if pid == 0:
            {ends}
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
work()
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
    )
    found = [line for line in done.stdout.splitlines() if line.isdigit()]
    assert (0, [str(code)] * 2) == (done.returncode, found)
    assert said in done.stderr
