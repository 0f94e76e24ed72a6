"""What is done to the inbox: all that is announced, only to its own processes, and the same for the same seed."""

import signal
from contextlib import closing
from pathlib import Path

import pytest

from inbox.tools.torture import faults, scratch
from inbox.tools.torture.faults import Faults
from inbox.tools.torture.journal import FAULTS, Fault, Journal, read
from inbox.tools.torture.processes import Process, RunningInbox

FAMILY = [
    Process(10, 1, "supervisor"),
    Process(11, 10, "receiver"),
    Process(12, 11, "receiver child"),
    Process(13, 10, "worker"),
    *(Process(pid, 13, "worker child") for pid in (14, 15, 16)),
]


class Undying(RunningInbox):
    """An inbox that is always all there."""

    def family(self) -> list[Process]:
        return FAMILY


def hurt(folder: Path, monkeypatch: pytest.MonkeyPatch, *, seed: int, seconds: int) -> list[tuple[int, int]]:
    """Let the faults of so many seconds happen to nobody, and return the signals that were sent."""
    folder.mkdir()
    now, sent = [0.0], []
    monkeypatch.setattr(faults.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(faults, "send", lambda pid, signum: sent.append((pid, signum)) or True)
    with closing(Journal(folder / FAULTS)) as journal:
        made = Faults(Undying(folder), scratch.make(folder), journal, seed=seed, clock=lambda: now[0])
        while now[0] < seconds:
            made.step()
            now[0] += 0.1
        made.finish()
    return sent


def test_everything_that_is_announced_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each role is killed, workers and receivers are stopped for longer than a lease, and the queue is deleted."""
    sent = hurt(tmp_path / "a", monkeypatch, seed=1, seconds=600)
    done = read(tmp_path / "a" / FAULTS, Fault)
    killed = [fault for fault in done if fault.what == "kill"]
    stopped = [fault for fault in done if fault.what == "stop"]
    assert {process.role for process in FAMILY} == {fault.role for fault in killed}
    assert {"receiver", "receiver child", "worker", "worker child"} == {fault.role for fault in stopped}
    assert min(fault.until - fault.at for fault in stopped[:-1]) > scratch.LEASE
    assert {"kill", "stop", "delete", "block", "damage"} == {fault.what for fault in done}
    assert set(faults.DAMAGES) == {fault.role for fault in done if fault.what == "damage"}
    assert 2 < max(fault.until - fault.at for fault in done if fault.what == "block") < 7
    assert not (tmp_path / "a" / "queue.db").exists()
    assert len(killed) == sum(signum == signal.SIGKILL for _, signum in sent) > 200
    assert sorted(pid for pid, signum in sent if signum == signal.SIGSTOP) == sorted(
        pid for pid, signum in sent if signum == signal.SIGCONT
    )
    assert {pid for pid, _ in sent} == {process.pid for process in FAMILY}


def test_the_same_seed_does_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the processes do the same."""
    first = hurt(tmp_path / "a", monkeypatch, seed=1, seconds=60)
    assert first == hurt(tmp_path / "b", monkeypatch, seed=1, seconds=60)
    assert first != hurt(tmp_path / "c", monkeypatch, seed=2, seconds=60)


def test_a_receiver_that_was_just_killed_is_mostly_spared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or its supervisor would keep it down for ever longer, and nothing would be tortured."""
    hurt(tmp_path / "a", monkeypatch, seed=1, seconds=600)
    times = [fault.at for fault in read(tmp_path / "a" / FAULTS, Fault) if fault.role == "receiver"]
    assert len(times) < 600 / faults.CALM + 40


def test_the_last_blow_takes_the_supervisor_and_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of its children has to end by itself, which the end of the torture looks at."""
    sent = hurt(tmp_path / "a", monkeypatch, seed=1, seconds=0)
    last = [fault.what for fault in read(tmp_path / "a" / FAULTS, Fault)]
    assert "delete" == last[0]
    assert (10, signal.SIGKILL) in sent
    assert 1 < len(sent) < len(FAMILY)
