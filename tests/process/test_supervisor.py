"""The supervisor: children are restarted ever more slowly, and stopped in their order, by force if need be."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox.process.supervisor import FIRST_PAUSE, LONGEST_PAUSE, PARENT, STEADY, Child, command
from tests.support.place import eventually

STUBBORN = """
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("pids.tmp").write_text(f"{os.getpid()} {grandchild.pid}")
os.rename("pids.tmp", "pids")
time.sleep(600)
"""
POLITE = """
import pathlib, signal, sys, time
name, pause = sys.argv[1], float(sys.argv[2])
def stop(signum, frame):
    time.sleep(pause)
    with open("stopped", "a") as file:
        file.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(name).touch()
time.sleep(600)
"""
SUPERVISE = """
import sys
from inbox.core import log
from inbox.process.supervisor import Child, supervise
log.configure("info")
children = [Child(name, [sys.executable, *command], pause=0.02) for name, *command in {children!r}]
supervise(children, shutdown_timeout={limit}, interval=0.01)
print("done")
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def die(child: Child) -> float:
    """Have the child started, wait for its end, let it be noticed, and return the pause before the next start."""
    child.due = 0.0
    child.look()
    assert child.process is not None
    child.process.wait(30)
    child.look()
    return child.pause


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    if (tmp_path / "pids").exists():
        for pid in map(int, (tmp_path / "pids").read_text().split()):
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def supervised(folder: Path) -> Iterator[Any]:
    """Return what starts a supervisor process with these children: (name, arguments of Python…)."""
    started = []

    def start(*children: tuple[str, ...], limit: float = 20) -> subprocess.Popen[str]:
        code = SUPERVISE.format(children=children, limit=limit)
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(python(code), stdout=subprocess.PIPE, stderr=log, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


def test_a_child_that_dies_again_and_again_is_restarted_ever_more_slowly(logs: list[Any]) -> None:
    """The pause doubles up to a limit, and each death is in the log with its exit code."""
    child = Child("receiver", python("raise SystemExit(3)"))
    pauses = [die(child) for _ in range(3)]
    child.pause = LONGEST_PAUSE / 2 + 1
    pauses += [die(child), die(child)]
    assert [FIRST_PAUSE * 2, FIRST_PAUSE * 4, FIRST_PAUSE * 8, LONGEST_PAUSE, LONGEST_PAUSE] == pauses
    deaths = [entry for entry in logs if entry["event"] == "child.died"]
    assert [("receiver", 3, 1.0), ("receiver", 3, 2.0)] == [
        (entry["child"], entry["code"], entry["restart_in"]) for entry in deaths[:2]
    ]


def test_a_child_that_ran_steadily_is_restarted_at_once() -> None:
    """What went wrong before it is forgotten."""
    child = Child("receiver", python("raise SystemExit(3)"), pause=LONGEST_PAUSE)
    child.look()
    assert child.process is not None
    child.process.wait(30)
    child.started -= STEADY + 1
    child.look()
    assert FIRST_PAUSE == child.pause


@pytest.mark.parametrize("code", ["pass", "import os; os.kill(os.getpid(), 15)"])
def test_a_child_that_was_asked_to_end_has_not_died(code: str, logs: list[Any]) -> None:
    """SIGTERM, whether it was listened to or not: no error in the log, and a short pause however often."""
    child = Child("receiver", python(code), pause=LONGEST_PAUSE)
    assert [FIRST_PAUSE] * 2 == [die(child), die(child)]
    assert FIRST_PAUSE >= child.due - time.monotonic() > 0
    found = [(entry["event"], entry["log_level"]) for entry in logs if entry["event"] != "child.started"]
    assert [("child.ended", "info")] * 2 == found


def test_a_child_is_not_started_before_its_time() -> None:
    """The pause holds."""
    child = Child("receiver", python("pass"))
    die(child)
    child.look()
    assert child.process is None
    assert child.due > time.monotonic()


def test_a_child_that_cannot_be_started_is_tried_again(logs: list[Any]) -> None:
    """No memory for a process, for example: the other child goes on running."""
    child = Child("receiver", ["/nowhere/python"])
    child.look()
    assert (None, FIRST_PAUSE * 2) == (child.process, child.pause)
    assert "child.not_started" in [entry["event"] for entry in logs]
    child.command, child.due = python("pass"), 0.0
    child.look()
    assert child.process is not None
    child.process.wait(30)


def test_a_child_knows_whose_child_it_is(folder: Path) -> None:
    """It can end by itself when its supervisor is killed; it has a session of its own, so that Ctrl-C spares it."""
    code = "import os, sys; open('seen', 'w').write(f'{os.environ[sys.argv[1]]} {os.getsid(0) == os.getpid()}')"
    child = Child("receiver", [*python(code), PARENT])
    die(child)
    assert f"{os.getpid()} True" == (folder / "seen").read_text()


def test_what_does_not_end_is_killed_with_its_own_children(folder: Path, logs: list[Any]) -> None:
    """After the limit; nothing of it stays."""
    child = Child("worker", python(STUBBORN))
    child.look()
    pids = eventually(lambda: (folder / "pids").exists() and (folder / "pids").read_text().split(), "it runs")
    child.stop(0.1)
    assert child.process is None
    eventually(lambda: not [pid for pid in map(int, pids) if alive(pid)], "both are gone")
    assert "child.killed" in [entry["event"] for entry in logs]


def test_stopping_what_does_not_run_is_nothing() -> None:
    """Never started, or in its pause."""
    child = Child("worker", python("pass"))
    child.stop(0.1)
    die(child)
    child.stop(0.1)
    assert child.process is None


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_children_are_stopped_in_their_order(signum: int, supervised: Any, folder: Path) -> None:
    """The receiver first, and the worker only when it has ended: what it accepted last can still be worked on."""
    process = supervised(("receiver", "-c", POLITE, "receiver", "0.3"), ("worker", "-c", POLITE, "worker", "0"))
    eventually(lambda: (folder / "receiver").exists() and (folder / "worker").exists(), "both run")
    process.send_signal(signum)
    assert ("done\n", None) == process.communicate(timeout=30)
    assert ("receiver\nworker\n", 0) == ((folder / "stopped").read_text(), process.returncode)


def test_one_that_dies_is_restarted_while_the_other_runs(supervised: Any, folder: Path) -> None:
    """Until it stays."""
    flaky = "import os, sys, time\nopen('tries', 'a').write('x')\nif os.path.getsize('tries') < 3: sys.exit(1)\n"
    process = supervised(("worker", "-c", flaky + "time.sleep(600)"), ("receiver", "-c", POLITE, "receiver", "0"))
    eventually(lambda: (folder / "tries").exists() and (folder / "tries").stat().st_size == 3, "the third try")
    eventually(lambda: (folder / "receiver").exists(), "the other one runs")
    process.terminate()
    process.communicate(timeout=30)
    log = (folder / "log").read_text()
    counts = [log.count(f"{event} child={child}") for event in ("started", "died") for child in ("worker", "receiver")]
    assert [3, 1, 2, 0] == [counts[0], counts[1], counts[2], counts[3]]


def test_the_command_is_our_own_under_this_python() -> None:
    """Not what PATH happens to find."""
    assert [sys.executable, "-m", "inbox", "serve"] == command("serve")
