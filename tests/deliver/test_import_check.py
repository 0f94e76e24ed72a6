"""Modules that end or hang the process that imports them are found in a process made for that; the others load."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from inbox.deliver import import_check as tried
from inbox.deliver.handler_loader import load
from inbox.deliver.import_check import trial

GOOD = "from inbox import handles\n@handles('a')\ndef one(event): pass\n"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os._exit(0)", "its import ended the process, with exit code 0"),
        ("import os; os._exit(3)", "its import ended the process, with exit code 3"),
        ("import os; os.abort()", "its import ended the process, by signal 6 (Aborted)"),
        ("import os; os.kill(os.getpid(), 9)", "its import ended the process, by signal 9 (Killed)"),
        ("import os; os.execvp('true', ['true'])", "its import ended the process, with exit code 0"),
        ("import time; time.sleep(60)", "its import took longer than 1.5 s"),
        (
            "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
            "its import took longer than",
        ),
    ],
)
def test_module_that_must_not_be_imported_is_named(handlers: Path, code: str, said: str) -> None:
    """With what became of the process, also of the second one; the other modules load, here."""
    for name, text in (("a_good", GOOD), ("bad", code), ("better", GOOD), ("bad_too", code), ("z_good", GOOD)):
        (handlers / f"{name}.py").write_text(text)
    unusable = trial(handlers, 1.5)
    assert ["bad", "bad_too"] == sorted(unusable)
    for failure in unusable.values():
        assert failure.splitlines()[-1].startswith(said)
    registry = load(handlers, unusable)
    assert (["a_good.one", "better.one", "z_good.one"], unusable) == (list(registry.handlers), registry.failures)


def test_import_that_hangs_shows_where(handlers: Path) -> None:
    """The frames are those of the handler's file."""
    (handlers / "bad.py").write_text("import time\ndef wait():\n    time.sleep(60)\nwait()\n")
    assert f'File "{handlers / "bad.py"}", line 3 in wait' in trial(handlers, 0.5)["bad"]


def test_what_is_raised_is_no_matter_here(handlers: Path) -> None:
    """Loading notes that, with its traceback; whatever it is, the modules after it are tried."""
    for name, code in (("a", "raise KeyboardInterrupt"), ("b", "import sys; sys.exit(2)"), ("c", "1 / 0"), ("d", GOOD)):
        (handlers / f"{name}.py").write_text(code)
    (handlers / "e.py").write_text("import os; os._exit(0)")
    assert ["e"] == list(trial(handlers))


def test_what_a_module_starts_is_ended(handlers: Path, tmp_path: Path) -> None:
    """Nothing of the trial is left over: the import that counts comes later."""
    pid = tmp_path / "pid"
    code = (
        f"import subprocess\nchild = subprocess.Popen(['sleep', '60'])\nopen({str(pid)!r}, 'w').write(str(child.pid))"
    )
    (handlers / "starts.py").write_text(code)
    assert {} == trial(handlers)
    end = time.monotonic() + 20
    while _lives(int(pid.read_text())):
        assert time.monotonic() < end
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_module_whose_process_was_killed_by_somebody_else_is_tried_again(handlers: Path, tmp_path: Path) -> None:
    """Also by the kernel, which was short of memory: only what ends the process twice is held against it."""
    once = tmp_path / "once"
    code = f"import os\nif not os.path.exists({str(once)!r}):\n    open({str(once)!r}, 'w').close()\n    os.abort()\n"
    (handlers / "unlucky.py").write_text(code + GOOD)
    assert ({}, True) == (trial(handlers), once.exists())


def test_without_a_process_nothing_is_held_against_a_module(
    handlers: Path, monkeypatch: pytest.MonkeyPatch, logs: list[Any]
) -> None:
    """A machine that cannot start one more process imports untried, and says so."""
    (handlers / "good.py").write_text(GOOD)

    def fails(*arguments: Any, **options: Any) -> Any:
        raise BlockingIOError(11, os.strerror(11))

    monkeypatch.setattr(tried.subprocess, "Popen", fails)
    assert {} == trial(handlers)
    assert ["handlers.not_tried"] == [entry["event"] for entry in logs]


def test_without_modules_no_process_is_started(handlers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder costs nothing."""
    monkeypatch.setattr(tried.subprocess, "Popen", None)
    assert {} == trial(handlers)


def test_odd_name_of_a_file_is_found(handlers: Path) -> None:
    """A line break in it, or bytes that are no text: it is named as it is loaded."""
    for name in (b"line\nbreak.py", b"by\xfftes.py"):
        Path(os.fsdecode(os.fsencode(handlers) + b"/" + name)).write_text("import os; os._exit(0)")
    assert ["by\\xfftes", "line\nbreak"] == sorted(trial(handlers))
