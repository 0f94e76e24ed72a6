"""What is configured is checked before anybody takes it over, and whoever asks learns what became of it."""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from inbox.core import run_status
from inbox.core.config.snapshot import Shared, Snapshot
from inbox.core.errors import NotFound
from inbox.process import reload
from inbox.process.reload import Reloader
from inbox.process.supervisor import Child
from tests.support.place import eventually

TAKEN = Snapshot({"/a/inbox.toml": b""}, 7.0)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def outcome(tmp_path: Path, check: list[str], fixed: str = "") -> tuple[str, bool]:
    """Return what the file says after a reload, and whether what is new was taken over."""
    path, taken = tmp_path / "file", threading.Event()
    made = Reloader(path, check, lambda: (TAKEN, fixed), Shared(TAKEN), TAKEN)
    made.ask()

    def ended() -> Any:
        made.look(taken.set)
        found = run_status.notice(path)
        return found is not None and found.ended == 1 and found

    problem = eventually(ended, "the reload ends").problem
    made.close()
    assert None is run_status.notice(path)
    return problem, taken.is_set()


SAYS = "import sys; sys.exit('warning: w\\ninbox: a.toml: one\\nelse\\ninbox: two')"


@pytest.mark.parametrize(
    ("check", "fixed", "expected"),
    [
        (python("pass"), "", ("", True)),
        (python("pass"), "the port", ("the port", False)),
        (python(SAYS), "", ("a.toml: one; two", False)),
        (python("import os; os._exit(3)"), "", ("the check ended with 3: []", False)),
        (["/nowhere/python"], "", ("it could not be checked: [Errno 2]", False)),
    ],
)
def test_only_what_is_right_is_taken_over(
    tmp_path: Path, check: list[str], fixed: str, expected: tuple[str, bool], logs: list[Any]
) -> None:
    """What is wrong is in the log and in the file, word by word."""
    problem, taken = outcome(tmp_path, check, fixed)
    assert (True, expected[1]) == (problem.startswith(expected[0]), taken)
    assert ("reloading" if taken else "not_reloaded", problem or None) == (logs[-1]["event"], logs[-1].get("error"))


def test_a_check_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is taken over."""
    monkeypatch.setattr(reload, "CHECK", 0.1)
    assert ("the check ended with -9: []", False) == outcome(tmp_path, python("import time; time.sleep(60)"))


def test_a_child_that_does_not_end_for_a_reload_is_killed(logs: list[Any]) -> None:
    """After its time, and it is started anew at once; what ends in time is not killed."""
    child = Child("worker", python("import signal, time; signal.signal(15, signal.SIG_IGN); print(1); time.sleep(60)"))
    child.look()
    time.sleep(0.3)
    child.renew(0.0)

    def killed() -> bool:
        child.look()
        return child.process is None

    eventually(killed, "it is gone")
    assert child.due <= time.monotonic()
    child.command = python("import time; time.sleep(60)")
    child.look()
    child.renew(30.0)
    eventually(killed, "the next one ends by itself")
    assert [1, 1, 1] == [sum(e["event"] == name and e.get("code", -15) in codes for e in logs) for name, codes in (
        ("child.killed", (-15,)), ("child.ended", (-9,)), ("child.ended", (-15,)))]  # fmt: skip


def test_nobody_asks_a_process_that_is_gone(tmp_path: Path) -> None:
    """The file of a supervisor that was killed is no reason to signal whoever has its number now."""
    path = run_status.place(tmp_path / "inbox.db")
    assert None is run_status.notice(path)
    path.write_text(json.dumps([os.getpid(), 0, ""]))
    assert None is run_status.notice(path)


def test_one_that_ends_while_another_starts(tmp_path: Path) -> None:
    """The new supervisor is the one to ask as soon as the old one has ended."""
    path = tmp_path / "file"
    first, second = (Reloader(path, ["true"], lambda: (TAKEN, ""), Shared(TAKEN), TAKEN) for _ in range(2))
    first.look(lambda: None)
    second.look(lambda: None)
    assert second._file < 0 <= first._file
    first.close()
    second.look(lambda: None)
    assert run_status.RunStatus(os.getpid(), 0, "", "", 7.0, TAKEN.digest) == run_status.notice(path)
    second.close()


def test_nobody_is_asked_where_nothing_runs(tmp_path: Path) -> None:
    """The owner is told, and no process gets a signal."""
    with pytest.raises(NotFound, match="no `inbox run` works on this database"):
        reload.reload(tmp_path / "file")
