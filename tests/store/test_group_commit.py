"""Group commit: who comes while another writes is written with others, is told the truth, and never left hanging."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inbox.core.errors import StoreUnavailable, StoreUnusable
from inbox.store.group_commit import MOMENT, GroupCommit
from tests.support.stores import in_threads

LONG = 20.0
"""Seconds after which a test that hangs fails."""


class Disk:
    """A `write` that stops at a gate, and remembers the batches that it was given and the items that it kept."""

    def __init__(self, *, open: bool = False) -> None:
        self.gate = threading.Semaphore(1_000_000 if open else 0)
        self.entered = threading.Semaphore(0)
        self.batches: list[list[Any]] = []
        self.kept: list[Any] = []
        self.trouble: Callable[[Sequence[Any]], None] = lambda items: None

    def write(self, items: Sequence[Any]) -> list[Any]:
        """Return each item doubled; all are kept or none."""
        self.batches.append(list(items))
        self.entered.release()
        assert self.gate.acquire(timeout=LONG)
        self.trouble(items)
        self.kept += items
        return [item * 2 for item in items]


@contextmanager
def queued(commit: GroupCommit[Any, Any], disk: Disk, *items: Any) -> Iterator[list[Future[Any]]]:
    """Have the first item written, which stops at the gate, and the others wait for it in this order."""
    with ThreadPoolExecutor(len(items)) as pool:
        futures = [pool.submit(commit, items[0])]
        assert disk.entered.acquire(timeout=LONG)
        for number, item in enumerate(items[1:], 1):
            futures.append(pool.submit(commit, item))
            until(lambda number=number: len(commit._waiting) == number)  # type: ignore[misc]
        yield futures


def until(condition: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_one_caller_writes_alone() -> None:
    """Without company each item is a batch of its own."""
    disk = Disk(open=True)
    commit = GroupCommit(disk.write)
    assert [2, 4] == [commit(1), commit(2)]
    assert [[1], [2]] == disk.batches


def test_those_that_come_while_one_writes_are_written_together() -> None:
    """One batch for all of them, in the order in which they came, each with its own result."""
    disk = Disk()
    commit = GroupCommit(disk.write)
    with queued(commit, disk, *range(10)) as futures:
        disk.gate.release(2)
        assert [n * 2 for n in range(10)] == [future.result(LONG) for future in futures]
    assert [[0], list(range(1, 10))] == disk.batches


def test_batches_are_no_larger_than_said() -> None:
    """What does not fit comes with the next."""
    disk = Disk()
    commit = GroupCommit(disk.write, batch=4)
    with queued(commit, disk, *range(10)) as futures:
        disk.gate.release(10)
        assert [n * 2 for n in range(10)] == [future.result(LONG) for future in futures]
    assert [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]] == disk.batches


def test_too_many_waiting_are_refused_at_once() -> None:
    """The caller above the limit does not wait and is not written."""
    disk = Disk()
    commit = GroupCommit(disk.write, limit=2)
    with queued(commit, disk, 0, 1, 2) as futures:
        with pytest.raises(StoreUnavailable, match="2 requests are waiting"):
            commit(3)
        disk.gate.release(10)
        assert [0, 2, 4] == [future.result(LONG) for future in futures]
    assert [0, 1, 2] == disk.kept
    assert 8 == commit(4)


def test_too_many_bytes_waiting_are_refused_at_once() -> None:
    """The bytes of those that wait are limited; what is being written does not count any more."""
    disk = Disk()
    commit = GroupCommit(disk.write, max_bytes=10, size=int)
    with queued(commit, disk, 9, 4, 6) as futures:
        with pytest.raises(StoreUnavailable, match="requests with 10 bytes are waiting"):
            commit(1)
        disk.gate.release(10)
        assert [18, 8, 12] == [future.result(LONG) for future in futures]
    assert ([9, 4, 6], 0) == (disk.kept, commit._bytes)


def test_item_larger_than_all_places_waits_alone() -> None:
    """It would never be written if it had to fit beside others; only one such waits at a time."""
    disk = Disk()
    commit = GroupCommit(disk.write, max_bytes=10, size=int)
    with queued(commit, disk, 1, 11) as futures:
        with pytest.raises(StoreUnavailable, match="requests with 11 bytes"):
            commit(11)
        disk.gate.release(10)
        assert [2, 22] == [future.result(LONG) for future in futures]
    assert ([1, 11], 0) == (disk.kept, commit._bytes)


@pytest.mark.parametrize(
    ("limits", "waiting", "item"), [({"limit": 4}, (1, 1), 1), ({"max_bytes": 10}, (2, 3), 1), ({"limit": 1}, (), 1)]
)
def test_what_could_be_done_without_takes_half_of_the_places(
    limits: dict[str, int], waiting: tuple[int, ...], item: int
) -> None:
    """A spare item is refused where another still finds a place: of the number and of the bytes."""
    disk = Disk()
    commit = GroupCommit(disk.write, size=int, **limits)
    with queued(commit, disk, 1, *waiting) as futures, ThreadPoolExecutor(1) as pool:
        with pytest.raises(StoreUnavailable, match="are waiting"):
            commit(item, spare=True)
        futures.append(pool.submit(commit, item))
        until(lambda: len(commit._waiting) == len(waiting) + 1)
        disk.gate.release(10)
        assert [2 * n for n in (1, *waiting, item)] == [future.result(LONG) for future in futures]
    assert 6 == commit(3, spare=True)


@pytest.mark.parametrize("end", ["written", "withdrawn", "failed", "unavailable", "interrupted"])
def test_bytes_are_given_back(end: str) -> None:
    """However waiting ends, as many bytes may wait afterwards as before."""
    disk = Disk()
    commit = GroupCommit(disk.write, max_bytes=10, size=int, patience=0.3 if end == "withdrawn" else LONG)
    kinds = {"failed": ValueError, "unavailable": StoreUnavailable, "interrupted": KeyboardInterrupt}
    with queued(commit, disk, 1, 5, 5) as futures:
        if end in kinds:
            disk.trouble = lambda items: raises(kinds[end])
        if end == "withdrawn":
            until(lambda: futures[1].done() and futures[2].done())
        disk.gate.release(10)
        for future in futures:
            future.exception(LONG)
    until(lambda: not commit._busy)
    assert 0 == commit._bytes
    disk.gate, disk.entered, disk.trouble = threading.Semaphore(0), threading.Semaphore(0), lambda items: None
    commit._patience = LONG
    with queued(commit, disk, 2, 5, 5) as futures:
        disk.gate.release(10)
        assert [4, 10, 10] == [future.result(LONG) for future in futures]


def test_those_who_come_after_a_batch_of_several_are_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come while the writer gathers."""
    monkeypatch.setattr("inbox.store.group_commit.GATHER", 0.5)
    disk = Disk()
    commit = GroupCommit(disk.write)
    with queued(commit, disk, 1, 2, 3) as futures:
        disk.gate.release(10)
        assert [2, 4, 6] == [future.result(LONG) for future in futures]
    with ThreadPoolExecutor(2) as pool:
        assert [8, 10] == list(pool.map(commit, (4, 5), timeout=LONG))
    assert [[1], [2, 3], [4, 5]] == [sorted(batch) for batch in disk.batches]


def test_stalled_store_refuses_at_once_and_recovers_by_itself() -> None:
    """Who comes when one commit takes longer than patience is told so without waiting; when it ends, all is well."""
    disk = Disk()
    commit = GroupCommit(disk.write, patience=0.2)
    with queued(commit, disk, 0) as futures:
        until(lambda: time.monotonic() - commit._since > 0.2)
        for item in (1, 2, 3):
            with pytest.raises(StoreUnavailable, match=r"busy with one commit for more than 0\.2 s"):
                commit(item)
        disk.gate.release(10)
        assert 0 == futures[0].result(LONG)
    assert 8 == commit(4)
    assert [0, 4] == disk.kept


def test_commit_that_fails_after_all_its_patience_takes_those_that_wait_along() -> None:
    """Each of them would wait as long again for the same answer; the next caller tries alone."""
    disk = Disk()
    commit = GroupCommit(disk.write, patience=1.0)
    disk.trouble = lambda items: raises(StoreUnavailable)
    with queued(commit, disk, 0) as futures, ThreadPoolExecutor(2) as pool:
        until(lambda: time.monotonic() - commit._since > 0.5)
        futures += [pool.submit(commit, item) for item in (1, 2)]
        until(lambda: len(commit._waiting) == 2)
        until(lambda: time.monotonic() - commit._since > 1.01)
        disk.gate.release()
        assert [StoreUnavailable] * 3 == [type(future.exception(LONG)) for future in futures]
    assert ([[0]], False, True) == (disk.batches, commit._busy, commit._stalled)


def test_stall_lasts_until_one_gets_through() -> None:
    """While the store fails slowly one caller at a time tries, and nobody waits for it; its success opens the store."""
    disk = Disk()
    commit = GroupCommit(disk.write, patience=0.2)
    disk.trouble = lambda items: raises(StoreUnavailable)
    for item in (0, 1):
        with queued(commit, disk, item) as futures:
            until(lambda: time.monotonic() - commit._since > 0.21)
            disk.gate.release()
            assert isinstance(futures[0].exception(LONG), StoreUnavailable)
    disk.trouble = lambda items: None
    with queued(commit, disk, 2) as futures:
        until(lambda: time.monotonic() - commit._since > MOMENT)
        with pytest.raises(StoreUnavailable, match="busy with one commit"):
            commit(3)
        disk.gate.release()
        assert 4 == futures[0].result(LONG)
    commit._patience = LONG
    with queued(commit, disk, 4, 5, 6) as futures:
        disk.gate.release(10)
        assert [8, 10, 12] == [future.result(LONG) for future in futures]
    assert [2, 4, 5, 6] == disk.kept


def test_those_that_come_with_the_one_that_ends_a_stall_are_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait a moment for it, and are written next."""
    monkeypatch.setattr("inbox.store.group_commit.MOMENT", LONG)
    disk = Disk()
    commit = GroupCommit(disk.write, patience=LONG)
    commit._stalled = True
    with queued(commit, disk, 1, 2, 3) as futures:
        disk.gate.release(10)
        assert [2, 4, 6] == [future.result(LONG) for future in futures]
    assert ([1, 2, 3], False) == (disk.kept, commit._stalled)


def test_store_that_refuses_quickly_is_not_stalled() -> None:
    """A full disk says so at once: each caller asks it, and the first after there is room gets through."""
    disk = Disk()
    commit = GroupCommit(disk.write, patience=LONG)
    disk.trouble = lambda items: raises(StoreUnavailable) if 0 in items else None
    with queued(commit, disk, 0, 1) as futures:
        disk.gate.release(10)
        assert isinstance(futures[0].exception(LONG), StoreUnavailable)
        assert 2 == futures[1].result(LONG)
    assert [1] == disk.kept


def test_caller_that_waited_too_long_is_never_written() -> None:
    """It is told so while the batch before it is still being written, and stays out of the next one."""
    disk = Disk()
    commit = GroupCommit(disk.write, patience=0.05)
    with queued(commit, disk, 0, 1, 2) as futures:
        for future in futures[1:]:
            with pytest.raises(StoreUnavailable, match=r"did not get to this request in 0\.05 s"):
                future.result(LONG)
        assert not futures[0].done()
        disk.gate.release(10)
        assert 0 == futures[0].result(LONG)
    assert 6 == commit(3)
    assert [0, 3] == disk.kept


def test_caller_whose_batch_is_being_written_waits_for_the_outcome() -> None:
    """Patience is for the turn; the answer then is the truth, however long the disk takes."""
    disk = Disk()
    commit = GroupCommit(disk.write, patience=1.0)
    with queued(commit, disk, 0, 1, 2) as futures:
        disk.gate.release()
        assert disk.entered.acquire(timeout=LONG)
        time.sleep(1.1)
        assert [False, False] == [future.done() for future in futures[1:]]
        disk.gate.release()
        assert [2, 4] == [future.result(LONG) for future in futures[1:]]
    assert [0, 1, 2] == disk.kept


def test_bad_item_fails_only_its_own_caller() -> None:
    """The others are written one by one."""
    disk = Disk()
    commit = GroupCommit(disk.write)

    def refuse(items: Sequence[Any]) -> None:
        if 2 in items:
            raise ValueError("two")

    disk.trouble = refuse
    with queued(commit, disk, 0, 1, 2, 3) as futures:
        disk.gate.release(10)
        assert [0, 2, 6] == [futures[n].result(LONG) for n in (0, 1, 3)]
        with pytest.raises(ValueError, match="two"):
            futures[2].result(LONG)
    assert [[0], [1, 2, 3], [1], [2], [3]] == disk.batches
    assert [0, 1, 3] == disk.kept


@pytest.mark.parametrize(("kind", "tries"), [(StoreUnavailable, 1), (StoreUnusable, 4)])
def test_store_that_fails_fails_the_whole_batch(kind: type[Exception], tries: int) -> None:
    """Each caller gets an error of its own; a store that is locked or full is not asked again for each item."""
    disk = Disk()
    commit = GroupCommit(disk.write)
    with queued(commit, disk, 0, 1, 2, 3) as futures:
        disk.gate.release()
        assert 0 == futures[0].result(LONG)
        disk.trouble = lambda items: raises(kind)
        disk.gate.release(10)
        errors = [future.exception(LONG) for future in futures[1:]]
    assert [kind] * 3 == [type(error) for error in errors]
    assert (3, {"no"}) == (len(set(map(id, errors))), {str(error) for error in errors})
    assert ([0], tries) == (disk.kept, len(disk.batches) - 1)


def raises(kind: type[BaseException]) -> None:
    """Raise it."""
    raise kind("no")


def test_whatever_a_write_raises_leaves_nobody_hanging() -> None:
    """Also what is no Exception: it goes to the caller whose item raised it, the others are written."""
    disk = Disk()
    commit = GroupCommit(disk.write, batch=3)
    with queued(commit, disk, 0, 1, 2, 3, 4) as futures:
        disk.trouble = lambda items: raises(SystemExit) if 1 in items else None
        disk.gate.release(10)
        with pytest.raises(SystemExit):
            futures[1].result(LONG)
        assert [0, 4, 6, 8] == [futures[number].result(LONG) for number in (0, 2, 3, 4)]
    assert 10 == commit(5)
    assert [0, 2, 3, 4, 5] == disk.kept


def test_every_caller_gets_its_own_result() -> None:
    """32 threads with 200 items each: every item is written once, and each caller learns what became of its own."""
    written: list[tuple[int, int]] = []
    writing = threading.Lock()

    def write(items: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        assert writing.acquire(blocking=False), "one batch at a time"
        try:
            if any(n % 50 == 49 for _, n in items):
                raise ValueError(items[0])
            written.extend(items)
            return [(n, thread) for thread, n in items]
        finally:
            writing.release()

    commit = GroupCommit(write, patience=LONG, batch=7)

    def caller(thread: int) -> list[tuple[int, int] | None]:
        results: list[tuple[int, int] | None] = []
        for n in range(200):
            try:
                results.append(commit((thread, n)))
            except ValueError as error:
                results.append(None if error.args[0] == (thread, n) else (-1, -1))
        return results

    expected = [[None if n % 50 == 49 else (n, thread) for n in range(200)] for thread in range(32)]
    assert expected == in_threads([partial(caller, thread) for thread in range(32)])
    assert sorted((thread, n) for thread in range(32) for n in range(200) if n % 50 != 49) == sorted(written)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(["good", "bad", "late"]), min_size=1, max_size=12),
    st.integers(1, 5),
    st.integers(1, 12),
)
def test_answer_says_what_is_kept(kinds: list[str], batch: int, limit: int) -> None:
    """Whatever callers come, with whatever limits: a result means kept once, an error means not kept."""
    disk = Disk(open=True)
    commit = GroupCommit(disk.write, batch=batch, limit=limit, patience=LONG)

    def trouble(items: Sequence[Any]) -> None:
        if any(kind == "late" for (kind,) in items):
            time.sleep(0.001)
        if any(kind == "bad" for (kind,) in items):
            raise ValueError

    disk.trouble = trouble

    def caller(item: Any) -> bool:
        try:
            return bool(item * 2 == commit(item))
        except (ValueError, StoreUnavailable):
            return False

    items = [(kind,) for kind in kinds]
    answers = in_threads([partial(caller, item) for item in items])
    assert sorted(item for item, answer in zip(items, answers, strict=True) if answer) == sorted(disk.kept)


def told(commit: GroupCommit[Any, Any], item: Any) -> "Future[Any]":
    """Submit an item as an event loop does, and return what it is called back with."""
    future: Future[Any] = Future()

    def done(result: Any, error: BaseException | None) -> None:
        future.set_result(result) if error is None else future.set_exception(error)

    commit.submit(item, done)
    return future


def test_those_that_are_called_back_learn_the_same() -> None:
    """Results and errors come by callback, each once, and the writer writes on."""
    disk = Disk(open=True)
    commit = GroupCommit(disk.write)
    disk.trouble = lambda items: raises(ValueError) if 1 in items else None
    futures = [told(commit, item) for item in (0, 1, 2)]
    assert [0, 4] == [futures[number].result(LONG) for number in (0, 2)]
    assert isinstance(futures[1].exception(LONG), ValueError)


@pytest.mark.parametrize("late", [False, True])
def test_caller_that_cannot_be_told_takes_nothing_from_the_others(late: bool, logs: list[Any]) -> None:
    """A callback that raises, as one of a closed event loop does, is logged; those after it are told, and written."""
    disk = Disk()
    commit = GroupCommit(disk.write, patience=0.05 if late else LONG)
    first = told(commit, 0)
    assert disk.entered.acquire(timeout=LONG)
    commit.submit(1, lambda result, error: raises(RuntimeError))
    others = [told(commit, 2), told(commit, 3)]
    if late:
        time.sleep(0.06)
        commit.give_up_late()
        assert [StoreUnavailable] * 2 == [type(future.exception(0)) for future in others]
    disk.gate.release(10)
    assert 0 == first.result(LONG)
    if not late:
        assert [4, 6] == [future.result(LONG) for future in others]
    assert 8 == told(commit, 4).result(LONG)
    assert [("caller.not_told", not late)] == [(entry["event"], entry["stored"]) for entry in logs]


def test_caller_that_submits_again_when_it_is_told_is_served() -> None:
    """No lock is held while a callback runs."""
    disk = Disk(open=True)
    commit = GroupCommit(disk.write)
    again: Future[Future[Any]] = Future()
    commit.submit(1, lambda result, error: again.set_result(told(commit, 2)))
    assert 4 == again.result(LONG).result(LONG)


def test_no_thread_to_write_in_is_unavailable_until_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine out of threads refuses at once, keeps nothing for later, and is asked again by the next caller."""
    disk = Disk(open=True)
    commit = GroupCommit(disk.write)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", lambda self: raises(RuntimeError))
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="no thread to write in"):
                commit(1)
    assert 4 == commit(2)
    assert [2] == disk.kept


def test_write_that_returns_too_few_results_leaves_nobody_hanging() -> None:
    """Each item is written alone then, and whose result is missing learns that."""
    commit: GroupCommit[int, int] = GroupCommit(lambda items: [item for item in items if item])
    futures = [told(commit, item) for item in (1, 0, 2)]
    assert [1, 2] == [futures[number].result(LONG) for number in (0, 2)]
    assert isinstance(futures[1].exception(LONG), ValueError)


def test_closing_writes_what_waits_and_what_comes_later_has_a_new_writer() -> None:
    """Nobody is left over, however close and submit meet; after it no thread of the first writer is left."""
    disk = Disk()
    commit = GroupCommit(disk.write)
    with queued(commit, disk, 0, 1, 2) as futures, ThreadPoolExecutor(1) as pool:
        writer = commit._writer
        closing = pool.submit(commit.close)
        until(lambda: commit._writer is None)
        later = told(commit, 3)
        disk.gate.release(10)
        closing.result(LONG)
        assert [0, 2, 4, 6] == [future.result(LONG) for future in (*futures, later)]
    assert writer is not None
    assert not writer.is_alive()
    assert 8 == commit(4)
    commit.close()


def test_closing_and_submitting_at_random_loses_nobody() -> None:
    """Eight threads submit while a ninth closes again and again: each item is written once and its caller told."""
    disk, others = Disk(open=True), set(threading.enumerate())
    commit = GroupCommit(disk.write, batch=3, patience=LONG)

    def submit(thread: int) -> list[Any]:
        return [commit((thread, number)) for number in range(100)]

    def close() -> list[Any]:
        return [commit.close() for _ in range(300)]

    in_threads([*(partial(submit, thread) for thread in range(8)), close])
    commit.close()
    assert sorted((thread, number) for thread in range(8) for number in range(100)) == sorted(disk.kept)
    assert set() == {thread for thread in threading.enumerate() if thread.name == "store-writer"} - others


def test_forked_child_begins_anew() -> None:
    """A child of a process in the middle of a commit has no writer, no lock that is held, and nobody who waits."""
    disk = Disk()
    commit = GroupCommit(disk.write)
    with queued(commit, disk, 0, 1) as futures:
        with commit._mutex:
            child = os.fork()
            if child == 0:  # pragma: no cover – coverage is not saved by os._exit
                with suppress(BaseException):
                    disk.gate.release(100)
                    both = in_threads([partial(commit, number) for number in (5, 6)])
                    os._exit(0 if [10, 12] == both else 1)
                os._exit(2)
        end = time.monotonic() + LONG
        while (status := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
            time.sleep(0.01)
        if status[0] == 0:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        disk.gate.release(10)
        assert [0, 2] == [future.result(LONG) for future in futures]
    assert (child, 0) == status
