"""The worker and the other ways to run the parts: huey's and flask's own commands on app.py."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox.process.worker import on_orphaned
from tests.conftest import PROJECT
from tests.support.place import Place, alive, descendants, eventually

NOTE = """
import os, threading
from inbox import handles

@handles("roomz")
def note(event):
    if os.path.exists("exit") and event.attempt == 1:
        os._exit(7)
    return {"thread": threading.current_thread().name, "pid": os.getpid()}
"""


@pytest.fixture
def noting(place: Place) -> Place:
    """An inbox whose handler says where it ran, and whose leases are short."""
    place.only_handler("own", NOTE)
    place.configure(worker="lease = 1.0")
    return place


@pytest.fixture
def consumer(noting: Place) -> Iterator[Any]:
    """Return what starts huey's own script on the inbox's app.py."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> subprocess.Popen[bytes]:
        script = Path(sys.executable).parent / "huey_consumer"
        with (noting.folder / "consumer.log").open("ab") as log:
            command = [script, "app.huey", *options]
            process = subprocess.Popen(command, cwd=noting.folder, env=noting.environment, stdout=log, stderr=log)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(30)


def result(event: dict[str, Any]) -> str:
    return str(event["deliveries"][0]["value"])


@pytest.mark.parametrize("options", [["-w", "2"], ["-k", "process", "-w", "2"]])
def test_huey_s_own_consumer_works_on_app_py(options: list[str], noting: Place, consumer: Any) -> None:
    """Thread workers, its default, and process workers; also what came before it started, and it ends on SIGINT."""
    noting.start("serve")
    before = noting.send("roomz")[0]["answer"]["id"]
    process = consumer(*options)
    event = noting.until_status(before, "succeeded")
    assert ("Worker-" if "-k" not in options else "MainThread") in result(event)
    noting.until_status(noting.send("roomz")[0]["answer"]["id"], "succeeded")
    process.send_signal(signal.SIGINT)
    assert 0 == process.wait(30), (noting.folder / "consumer.log").read_text()


def test_flask_s_own_command_works_on_app_py(place: Place) -> None:
    """`flask --app app shell`, and so any WSGI server that is told `app:app`: it takes requests, and has the pages."""
    code = "print([app.test_client().open(path).status_code for path in ('/in/nobody', '/healthz', '/elsewhere')])"
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", "shell"],
        input=code + "\n",
        cwd=place.folder,
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert 0 == done.returncode, done.stderr
    assert "[404, 200, 404]" in done.stdout
    assert "code=unknown_source" in done.stderr + done.stdout


def test_a_worker_process_that_exits_is_replaced(noting: Place) -> None:
    """A handler that ends its process: the delivery counts a crash and runs again, and as many workers work on."""
    (noting.folder / "exit").touch()
    noting.start()
    (worker,) = noting.children("worker")
    count = len(eventually(lambda: len(found := descendants(worker)) == 3 and found, "a scheduler and two workers"))
    event = noting.until_status(noting.send("roomz")[0]["answer"]["id"], "succeeded")
    assert ["crashed", "succeeded"] == [run["result"] for run in event["deliveries"][0]["runs"]]
    eventually(lambda: len(descendants(worker)) == count, "the process is replaced")
    assert [worker] == noting.children("worker")


def test_a_worker_survives_that_the_queue_is_damaged(noting: Place) -> None:
    """The file is set aside, and what comes next is delivered."""
    noting.start()
    noting.until_status(noting.send("roomz")[0]["answer"]["id"], "succeeded")
    path = noting.folder / "queue.db"
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))
    for extra in ("-wal", "-shm"):
        Path(f"{path}{extra}").unlink(missing_ok=True)
    noting.until_status(noting.send("roomz")[0]["answer"]["id"], "succeeded")
    noting.until_status(noting.send("roomz")[0]["answer"]["id"], "succeeded")


def test_an_orphan_notices_that_its_parent_is_gone() -> None:
    """The action is called when the parent is another process than it was."""
    called = threading.Event()
    on_orphaned(os.getppid() + 1, called.set, interval=0.01)
    assert called.wait(10)


def test_nothing_is_called_while_the_parent_lives() -> None:
    """Looking again and again changes nothing."""
    code = """
import os, time
from inbox.process.worker import on_orphaned
on_orphaned(os.getppid(), lambda: os._exit(5), interval=0.01)
time.sleep(0.3)
"""
    assert 0 == subprocess.run([sys.executable, "-c", code], timeout=30).returncode


STUBBORN = """
import os, signal, sys, time
from inbox.process.worker import end_orphaned

asked = []
signal.signal(signal.SIGTERM, lambda signum, frame: asked.append(1) or (len(asked) > int(sys.argv[1]) and os._exit(7)))
pid = os.fork()
if not pid:
    end_orphaned(os.getppid(), 1.0, interval=0.05)
    for _ in range(600):
        time.sleep(0.1)
    os._exit(0)
print(pid, flush=True)
time.sleep(0.3)
os._exit(0)
"""


@pytest.mark.parametrize("deaf", [2, 1000])
def test_orphan_that_does_not_listen_ends_all_the_same(deaf: int) -> None:
    """It is asked again, and ended by force in the end: or it would keep the port from the next one."""
    command = [sys.executable, "-c", STUBBORN, str(deaf)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=30, check=True)
    eventually(lambda: not alive(int(done.stdout)), "the orphan ends", 10)
