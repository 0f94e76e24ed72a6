"""A database is several files: what is left after a stop, and what happens when one is deleted or replaced."""

import http.client
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from inbox.tools.torture.processes import family
from tests.support.place import PATIENCE, Place, eventually

SOURCES = """
[sources.open]
provider = "unsigned"
event_id = ["json:/id"]
"""
COUNT = """
from inbox import Event, handles

@handles("open")
def count(event: Event) -> None:
    pass
"""
MARKER = ".inbox.db-marker"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An inbox with one open source and one quick handler."""
    made = Place(tmp_path)
    made.configure(sources=SOURCES)
    made.only_handler("count", COUNT)
    yield made
    made.close()


def fill(place: Place, prefix: str, number: int = 20) -> list[int]:
    """Send so many events, and return the statuses of their answers."""
    return [send(place, f"{prefix}{n}")["http_status"] for n in range(number)]


def send(place: Place, key: str) -> dict[str, Any]:
    (answer,) = place.send("open", body=b'{"id": "%s", "pad": "%s"}' % (key.encode(), b"x" * 2000))
    return answer


def stored(database: Path) -> set[str]:
    """Return the keys in a database file, read alone, without a log."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
        return {key for (key,) in connection.execute("SELECT key FROM events")}


def keys(*prefixes: str, number: int = 20) -> set[str]:
    return {f"{prefix}{n}" for prefix in prefixes for n in range(number)}


def logs_of_sqlite(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(("-wal", "-shm")))


def refused(place: Place) -> str:
    """Return what `inbox run` says when it does not start."""
    done = place.inbox("run", ok=False)
    assert 1 == done.returncode
    return done.stderr


def ready(place: Place) -> tuple[int, str]:
    """Return the status of `/readyz` and what it says of the store."""
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=20)
    with closing(connection):
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())["checks"].get("store", "")


def kill_all(place: Place) -> None:
    """End every process of the inbox with kill -9, its supervisor first."""
    assert place._process is not None
    place.kill(place.pid)
    place._process.wait()
    place._process = None
    while left := family(place._mark):
        for process in left:
            with suppress(ProcessLookupError):
                place.kill(process.pid)
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["run", "serve and worker", "killed supervisor"])
def test_no_log_stays_after_an_orderly_stop(place: Place, how: str) -> None:
    """`cp inbox.db` then copies everything that was acknowledged; the keys and the queue are whole files, too."""
    place.seal()
    worker: subprocess.Popen[bytes] | None = None
    if how == "serve and worker":
        place.start("serve")
        with place.log.open("ab") as log:
            command = [sys.executable, "-m", "inbox", "worker"]
            worker = subprocess.Popen(command, cwd=place.folder, env=place.environment, stdout=log, stderr=log)
    else:
        place.start()
    assert [200] * 20 == fill(place, "a")
    eventually(lambda: "succeeded" == place.json("events", "--limit", "1")[0]["status"], "the last one is handled")
    if how == "killed supervisor":
        assert place._process is not None
        place.kill(place.pid)
        place._process.wait()
        place._process = None
    elif worker is not None:
        worker.terminate()
        place.close()
        worker.wait(PATIENCE)
    else:
        place.close()
    eventually(lambda: not family(place._mark), "all processes have ended")
    assert [] == logs_of_sqlite(place.folder)
    assert keys("a") == stored(place.folder / "inbox.db")


def begin_log(database: Path) -> None:
    """Have what is in the log brought into the database, as happens by itself after about 4 MiB."""
    with closing(sqlite3.connect(database, timeout=PATIENCE)) as other:
        eventually(lambda: not other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0], "the log is empty")


def test_copy_that_the_log_completes_is_started_with(place: Place) -> None:
    """A copy, page by page, of the database that the log belongs to: with the log it has everything."""
    database, copy = place.folder / "inbox.db", place.folder / "copy.db"
    place.start()
    fill(place, "before")
    with closing(sqlite3.connect(database)) as live, closing(sqlite3.connect(copy)) as made:
        live.backup(made)
    fill(place, "after")
    kill_all(place)
    shutil.copyfile(copy, database)
    place.start()
    assert "accepted" == send(place, "new")["answer"]["status"]
    place.close()
    assert keys("before", "after") | {"new"} == stored(database)


@pytest.mark.parametrize("copied", ["inbox backup", "another program"])
@pytest.mark.parametrize("ended", ["stopped", "killed"])
def test_copy_put_over_the_database_is_not_started_with(place: Place, ended: str, copied: str) -> None:
    """Whether a log lies there or not; nothing is written, and `inbox restore` is the way."""
    database, copy = place.folder / "inbox.db", place.folder / "copy.db"
    place.start()
    fill(place, "before")
    if copied == "inbox backup":
        place.inbox("backup", str(copy))
    else:
        with closing(sqlite3.connect(database)) as live, closing(sqlite3.connect(copy)) as made:
            live.backup(made)
    time.sleep(6.0)  # the next sign of life begins another generation
    begin_log(database)
    fill(place, "after")
    place.close() if ended == "stopped" else kill_all(place)
    shutil.copyfile(copy, database)
    before = {path: path.read_bytes() for path in place.folder.glob("inbox.db*") if path.suffix != ".db-lock"}
    said = refused(place)
    assert "inbox restore" in said, said
    assert ("a copy that `inbox backup` made" in said) == (copied == "inbox backup")
    assert "inbox restore" in place.inbox("events", ok=False).stderr
    after = {path: path.read_bytes() for path in place.folder.glob("inbox.db*") if path.suffix != ".db-lock"}
    assert before == {path: after[path] for path in before}
    aside = place.folder / "aside"
    aside.mkdir()
    for path in place.folder.glob("inbox.db*"):
        path.rename(aside / path.name)
    place.inbox("restore", str(copy))
    place.start()
    assert "accepted" == send(place, "new")["answer"]["status"]
    place.close()
    assert keys("before") | {"new"} == stored(database)


@pytest.mark.parametrize("how", ["cp", "mv", "truncate"])
def test_database_that_is_replaced_while_it_runs_takes_nothing(place: Place, how: str) -> None:
    """503 and a red `/readyz` from the next request on, one line in the log, and no start until it is restored."""
    database, copy = place.folder / "inbox.db", place.folder / "copy.db"
    place.start()
    fill(place, "before")
    place.inbox("backup", str(copy))
    fill(place, "after")
    if how == "cp":
        shutil.copyfile(copy, database)
    elif how == "mv":
        shutil.copyfile(copy, place.folder / "other.db")
        (place.folder / "other.db").rename(database)
    else:
        os.truncate(database, 0)
    answer = send(place, "refused")
    assert (503, {"error": "unavailable"}) == (answer["http_status"], answer["answer"])
    status, told = ready(place)
    assert (503, True) == (status, "replaced" in told), told
    eventually(lambda: "store.changed" in place.log_text(), "the log says so")
    time.sleep(6.0)
    assert 503 == send(place, "refused")["http_status"]
    place.close()
    assert "inbox restore" in refused(place)
    for path in [*place.folder.glob("inbox.db*")]:
        path.unlink()
    place.inbox("restore", str(copy))
    place.start()
    assert "accepted" == send(place, "new")["answer"]["status"]
    place.close()
    assert keys("before") | {"new"} == stored(database)


@pytest.mark.parametrize("deleted", [("-wal",), ("-shm",), ("-wal", "-shm")])
@pytest.mark.parametrize("end", ["heals", "stopped", "killed"])
def test_log_that_is_deleted_while_it_runs_loses_nothing(place: Place, deleted: tuple[str, ...], end: str) -> None:
    """What was acknowledged is saved at the next transaction; 503 until other processes have taken over."""
    place.start()
    fill(place, "before")
    eventually(lambda: place.log_text().count("event=handlers.loaded") > 1, "all worker processes have opened it")
    time.sleep(2.0)  # the look for damage opens it again for each table; a moment stays between its check and that
    for ending in deleted:
        (place.folder / f"inbox.db{ending}").unlink()
    acknowledged = {f"after{n}" for n in range(20) if send(place, f"after{n}")["http_status"] == 200}
    assert "store.changed" in place.log_text()
    eventually(lambda: "what was in the log is in the database now" in place.log_text(), "the log is saved")
    if end == "heals":
        eventually(lambda: send(place, "healed")["http_status"] == 200, "it takes events again", 60.0)
        acknowledged.add("healed")
        eventually(lambda: ready(place)[0] == 200, "it is ready again", 60.0)
        eventually(lambda: not place.json("events", "--status", "received"), "the worker works again", 60.0)
        place.close()
    elif end == "stopped":
        place.close()
    else:
        kill_all(place)
    place.start()
    assert "accepted" == send(place, "new")["answer"]["status"]
    place.close()
    assert keys("before") | acknowledged | {"new"} == stored(place.folder / "inbox.db")
    assert [] == logs_of_sqlite(place.folder)


@pytest.mark.parametrize("ended", ["stopped", "killed"])
@pytest.mark.parametrize("what", ["empty", "gone", "all gone"])
def test_database_that_vanished_is_not_silently_a_new_one(place: Place, what: str, ended: str) -> None:
    """The message says how to put a copy back, and how to begin anew; the marker is what knows."""
    place.start()
    fill(place, "a")
    place.inbox("backup", str(place.folder / "copy.db"))
    place.close() if ended == "stopped" else kill_all(place)
    if what == "empty":
        (place.folder / "inbox.db").write_bytes(b"")
    for path in [*place.folder.glob("inbox.db*")] if what == "all gone" else [place.folder / "inbox.db"]:
        if what != "empty":
            path.unlink()
    for command in ("run", "serve", "check", "events"):
        said = place.inbox(command, ok=False)
        assert 1 == said.returncode
        assert f"to begin a new inbox, delete {place.folder / MARKER}" in said.stderr, said.stderr
    if what == "all gone":
        (place.folder / MARKER).unlink()
    else:
        for path in [*place.folder.glob("inbox.db*")]:
            path.unlink()
        place.inbox("restore", str(place.folder / "copy.db"))
    place.start()
    assert "accepted" == send(place, "new")["answer"]["status"]
    place.close()
    assert ({"new"} if what == "all gone" else keys("a") | {"new"}) == stored(place.folder / "inbox.db")


def test_killed_inbox_starts_again_every_time(place: Place) -> None:
    """A crash at any moment, also between a commit and the marker's, never makes a sound database look wrong."""
    acknowledged: set[str] = set()
    for number in range(8):
        place.start()
        prefix = f"{number}."
        acknowledged |= {f"{prefix}{n}" for n in range(10) if send(place, f"{prefix}{n}")["http_status"] == 200}
        time.sleep(0.3 * number)
        kill_all(place)
    moved = place.folder / "moved"
    moved.mkdir()
    for path in place.folder.glob("*inbox.db*"):  # another folder, other inodes: all that matters is what is in them
        shutil.copyfile(path, moved / path.name) if path.is_file() else None
        path.unlink()
    for path in moved.iterdir():
        shutil.copyfile(path, place.folder / path.name)
    place.start()
    assert "accepted" == send(place, "new")["answer"]["status"]
    place.close()
    assert acknowledged | {"new"} == stored(place.folder / "inbox.db")


def spoil(database: Path, table: str) -> None:
    """Overwrite the first page of a table, as a disk or a program gone wild does."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,))
        ((size,),) = connection.execute("PRAGMA page_size")
    with database.open("rb+") as file:
        file.seek((page - 1) * size)
        file.write(b"\x55" * size)


def test_damage_is_found_at_the_start(place: Place) -> None:
    """Before anything is written; the message names the way out, and every byte stays."""
    place.start()
    fill(place, "a")
    place.inbox("backup", str(place.folder / "copy.db"))
    place.close()
    database = place.folder / "inbox.db"
    spoil(database, "attempts")
    before = database.read_bytes()
    assert "inbox restore" in (said := refused(place)), said
    assert "the database is damaged" in said
    assert "the database is damaged" in place.inbox("check", ok=False).stderr
    assert before == database.read_bytes()


def test_damage_that_a_running_receiver_finds_ends_its_200s(place: Place) -> None:
    """As in a database that was too large for the look at the start: 503, a red `/readyz`, and a line that says why."""
    place.start()
    fill(place, "a")
    place.close()
    spoil(place.folder / "inbox.db", "attempts")
    (place.folder / "sitecustomize.py").write_text(
        "import inbox.process.startup_checks\ninbox.process.startup_checks.LOOK = 0.0\n"
    )
    place.environment["PYTHONPATH"] = str(place.folder)
    place.start()
    eventually(lambda: "event=store.damaged" in place.log_text(), "the receiver finds it")
    assert 503 == send(place, "refused")["http_status"]
    status, told = ready(place)
    assert (503, True) == (status, "the database is damaged" in told)
    place.environment.pop("PYTHONPATH")
