"""`inbox torture`: a short one on real processes, and what it says when something is lost."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from inbox.cli import main
from inbox.core.config.settings import load
from inbox.core.errors import InboxError
from inbox.runtime import Runtime
from inbox.store.protocols import Filter
from inbox.tools.torture import run, scratch
from inbox.tools.torture.evidence import Evidence, gather
from inbox.tools.torture.journal import Reply
from inbox.tools.torture.processes import RunningInbox, _from_ps
from inbox.tools.torture.report import longest_gap
from inbox.tools.torture.run import Plan, Progress, torture
from inbox.tools.torture.traffic import SignedRequest, Writer
from tests.support.place import eventually


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory of its own; environment, umask and logging are afterwards as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("inbox.core.log.configure", lambda *settings, **options: None)
    before, umask = dict(os.environ), os.umask(0o022)
    yield
    os.environ.clear()
    os.environ.update(before)
    os.umask(umask)


def command(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["torture", *arguments], prog_name="inbox")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert code == result.exit_code, result.output
    return result


def test_a_short_torture_breaks_nothing(tmp_path: Path) -> None:
    """Processes are killed while events come in, and in the end nothing is missing, doubled or left running."""
    report = json.loads(command("--minutes", "0.17", "--seed", "13", "--json").stdout)
    assert [] == report["breaches"]
    assert sum(report["kills"].values()) >= 5
    assert len(report["kills"]) >= 3
    assert report["queues_deleted"] >= 1
    assert report["acknowledged"] <= report["stored"]
    assert min(report[name] for name in ("acknowledged", "copies", "conflicts", "forged", "handled")) > 0
    assert (None, []) == (report["folder"], list(tmp_path.iterdir()))


def test_a_short_torture_of_a_sealed_inbox_breaks_nothing(tmp_path: Path) -> None:
    """In the end every body opens, and none of it is in any file but those that its handlers and senders write."""
    report = json.loads(
        command("--minutes", "0.05", "--seed", "7", "--sealed", "--keep", "--folder", "s", "--json").stdout
    )
    assert [] == report["breaches"]
    assert min(report["acknowledged"], report["handled"], sum(report["kills"].values())) > 0
    runtime = Runtime(load(tmp_path / "s" / "inbox.toml"))
    rows = runtime.archive.events(Filter(), 10_000)
    bodies = [runtime.archive.request(row["id"]).body for row in rows]
    runtime.close()
    assert report["stored"] == len(bodies)
    files = b"".join(path.read_bytes() for path in (tmp_path / "s").glob("*.db*") if path.is_file())  # no pipe
    assert [] == [body for body in bodies if body in files]


def test_one_lost_event_is_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The breach is named, and the folder is kept."""
    lost: list[int] = []

    def lossy(folder: Path, database: Path, **options: Any) -> Evidence:
        found = gather(folder, database)
        lost.append(next(answer.id for answer in found.answers if answer.outcome == "accepted"))
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("DELETE FROM events WHERE id = ?", lost)
        return gather(folder, database, **options)

    monkeypatch.setattr(run, "gather", lossy)
    result = command("--minutes", "0.05", "--folder", "here", code=1)
    assert f"BROKEN  acknowledged, but not stored: event {lost[0]} (" in result.stdout
    assert f"The folder is kept: {tmp_path / 'here'}\n" in result.stderr
    assert (tmp_path / "here" / "client.jsonl").exists()


def test_only_an_empty_folder_is_taken(tmp_path: Path) -> None:
    """Nobody's own inbox is tortured by mistake."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "inbox.db").touch()
    assert "is not empty: name a new folder" in command("--folder", "mine", code=1).stderr
    assert ["inbox.db"] == [path.name for path in (tmp_path / "mine").iterdir()]


def test_an_inbox_that_does_not_start_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than a torture of nothing."""
    monkeypatch.setattr(scratch, "_SETTINGS", "[server]\nport = {port}\nlease = {lease}\n")
    with pytest.raises(InboxError, match=r"does not start; its log is .*run\.log"):
        torture(Plan(tmp_path, 5.0, 1, 10.0), clock=time.time)


def test_what_is_broken_in_the_torture_itself_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in the middle is raised, after every process was ended."""
    made: list[RunningInbox] = []
    real = run.RunningInbox

    def remembered(folder: Path) -> RunningInbox:
        made.append(real(folder))
        return made[0]

    def broken(progress: Progress) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(run, "RunningInbox", remembered)
    with pytest.raises(RuntimeError, match="broken"):
        torture(Plan(tmp_path, 5.0, 1, 10.0), clock=time.time, watch=broken)
    assert [] == made[0].family()


def test_every_process_is_known_by_its_role(tmp_path: Path) -> None:
    """Orphans, too: they carry the mark. `kill` ends them all."""
    scratch.make(tmp_path)
    inbox = RunningInbox(tmp_path)
    try:
        inbox.start()
        wanted = ["receiver", "receiver child", "supervisor", "worker", *["worker child"] * 3]
        eventually(lambda: wanted == sorted(process.role for process in inbox.family()), "all are there")
        worker = next(process for process in inbox.family() if process.role == "worker")
        children = {process.pid for process in inbox.family() if process.parent == worker.pid}
        for child in children:
            os.kill(child, signal.SIGSTOP)  # or it notices that its parent is gone, and ends
        os.kill(worker.pid, signal.SIGKILL)
        assert children <= {process.pid for process in inbox.family()}
    finally:
        inbox.kill()
    assert [] == inbox.family()


def test_processes_are_found_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ps -E` prints the environment after the command."""
    listed = "  12     1 python -m inbox run HOME=/x MARK=1\n 13 12 python -m inbox serve MARK=12\n"
    done = subprocess.CompletedProcess([], 0, stdout=listed)
    monkeypatch.setattr("inbox.tools.torture.processes.subprocess.run", lambda *arguments, **options: done)
    assert [(12, 1, "python -m inbox run HOME=/x MARK=1\n".strip())] == list(_from_ps("MARK=1"))


def test_the_same_seed_writes_the_same_letters(tmp_path: Path) -> None:
    """Body for body, but for the secret."""
    made = scratch.make(tmp_path)

    def letters(seed: int) -> list[SignedRequest]:
        writer = Writer("c", random.Random(seed), made.sender, made.forger)
        return [writer.fresh() for _ in range(20)]

    assert letters(1) == letters(1)
    assert letters(1) != letters(2)


def test_the_longest_gap() -> None:
    """Between two acknowledgements, in whatever order they are listed; 0 if there are not two."""
    told = [Reply(at, "fresh", "signed", "a", "", "succeeded", 200, "accepted", 1) for at in (9.0, 1.0, 2.5)]
    assert (6.5, 0.0) == (longest_gap(told), longest_gap(told[:1]))
