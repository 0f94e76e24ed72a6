"""What a handler can damage in its process is seen, what the program itself does is not; each in its own process."""

import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest

from tests.conftest import PROJECT

BEFORE = """
import os, resource, signal, sys
from pathlib import Path
from inbox.core import process_integrity as integrity
from inbox.core.process_integrity import Integrity, Renewal, descriptors_change, memory, open_files, watch
from inbox.store.sqlite import open_archive, open_watch

path = Path("inbox.db")
store = open_watch(path)
store.beat("worker", 1.0, 1.0)
kept = open("other", "w")
now = Integrity([path, Path("inbox.db-wal"), Path("inbox.db-shm"), Path("inbox.db-lock")])
for _ in range(3):
    now.prepare()
own = sorted(now._own)

def of(name):
    return next(file for file in open_files() if os.readlink(f"/proc/self/fd/{file}").endswith(name))
"""

DAMAGE = [
    ("os.close(of('inbox.db'))", "descriptor"),
    ("os.close(of('inbox.db-wal'))", "descriptor"),
    ("os.close(of('inbox.db-shm'))", "descriptor"),
    ("os.close(of('inbox.db-lock'))", "descriptor"),
    ("os.close(0)", "descriptor 0 was closed"),
    ("os.dup2(kept.fileno(), 1)", "descriptor 1 was closed"),
    ("number = of('inbox.db-wal'); os.close(number); again = os.dup(kept.fileno())", "descriptor"),
    ("sys.stdout.close()", "standard output was closed"),
    ("sys.stdin.close()", "standard input was closed"),
    ("resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))", "RLIMIT_NOFILE is 64"),
    ("resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))", "RLIMIT_FSIZE is 900"),
    ("os.chdir('/')", "the working directory was changed"),
    ("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])", "signals are blocked"),
    ("store.close(); os.close(2)", "descriptor 2 was closed"),
]
FINE = [
    "pass",
    "kept.close()",
    "store.close()",
    "store.close(); store.beat('worker', 2.0, 2.0)",
    "other = open_watch(path); other.beat('worker', 2.0, 2.0); now.prepare(); other.close()",
    "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)",
    "import subprocess; subprocess.run(['true'])",
    "import multiprocessing; p = multiprocessing.Process(target=abs, args=(1,)); p.start(); p.join()",
    "import contextlib, io; contextlib.redirect_stdout(io.StringIO()).__enter__()",
    "files = [open('other') for _ in range(30)]",
]


def run(folder: Path, code: str) -> str:
    """Run code in an empty folder; what it prints goes to standard error, since standard output may be closed."""
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + code],
        cwd=folder,
        env={"PYTHONPATH": str(PROJECT), "PATH": "/bin:/usr/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert 0 == done.returncode, done.stderr
    return (folder / "said").read_text()


SAY = "\nsaid = %s\nPath(folder, 'said').write_text(repr(said))\nos._exit(0)\n"


@pytest.mark.parametrize(("damage", "said"), DAMAGE)
def test_damage_is_seen(damage: str, said: str, tmp_path: Path) -> None:
    """By the look before each write; and nothing is written then."""
    watched = (
        "watch(now); refused = ''\ntry:\n store.beat('worker', 3.0, 3.0)\nexcept Exception as error:\n refused = error"
    )
    code = f"folder = {str(tmp_path)!r}\nassert own, own\n{damage}\nfound = now.damage()\n{watched}"
    told = run(tmp_path, code + SAY % "(found, str(refused))")
    found, refused = literal_eval(told)
    assert said in found
    assert f"this process is damaged: {found}" == refused


@pytest.mark.parametrize("action", FINE)
def test_what_does_no_harm_is_no_damage(action: str, tmp_path: Path) -> None:
    """Connections that come and go, files of handlers, processes, a redirected stream."""
    told = run(tmp_path, f"folder = {str(tmp_path)!r}\n{action}" + SAY % "(now.damage(thorough=False), now.damage())")
    assert "('', '')" == told


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("os.closerange(3, 100)", "descriptor"),
        ("resource.setrlimit(resource.RLIMIT_NOFILE, (3, 64))", "RLIMIT_NOFILE is 3"),
    ],
)
def test_a_quick_look_sees_what_was_closed_or_lowered(damage: str, said: str, tmp_path: Path) -> None:
    """After each run, also where so few descriptors are allowed that poll(2) fails."""
    code = f"folder = {str(tmp_path)!r}\n{damage}\nfound = now.damage(thorough=False)\n"
    lift = "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"
    assert said in run(tmp_path, f"{code}{lift}" + SAY % "found")


def test_many_open_files_are_a_reason_for_renewal(tmp_path: Path) -> None:
    """Before handlers of others cannot open theirs; as are runs and memory, each only if it is limited."""
    code = f"""
folder = {str(tmp_path)!r}
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
said = [Renewal().due()]
few = Renewal(max_runs=2, max_memory=2**40)
said.append(few.due())
few.runs = 2
said.append(few.due())
said.append(Renewal(max_memory=memory() // 2).due().partition(" ")[2])
leak = [open("other") for _ in range(85)]
said.append(Renewal().due())
"""
    none, few, runs, held, files = literal_eval(run(tmp_path, code + SAY % "said"))
    assert ("", "", "2 runs; max_runs = 2") == (none, few, runs)
    assert held.startswith("bytes of memory; max_memory = ")
    assert files.endswith("descriptors are open; RLIMIT_NOFILE allows few more")
