"""The benchmark works: real requests, real counting, and a filler that writes what the store writes."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import wrk
from tests.benchmarks.__main__ import main
from tests.benchmarks.bars.fsyncs import counted
from tests.benchmarks.contestants import Bare, Inbox
from tests.benchmarks.figures import Figure, Line, Report, Spread
from tests.benchmarks.filler import fill
from tests.benchmarks.letters import Letters
from tests.benchmarks.stored import rows, unfinished
from tests.support import needs
from tests.support.place import eventually

TABLES = ("events", "bodies", "deliveries", "attempts")


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Letters:
    return Letters(tmp_path_factory.mktemp("letters"))


@dataclass
class Measured:
    """What a second of load on a real inbox came to, authentic and forged, and where it runs."""

    authentic: wrk.Load
    forged: wrk.Load
    database: Path


@pytest.fixture(scope="module")
def measured(letters: Letters, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    """A real inbox under real load, whose worker has finished."""
    needs.need(not wrk.missing(), wrk.missing())
    folder = tmp_path_factory.mktemp("inbox") / "running"
    forger = Letters(tmp_path_factory.mktemp("forged"))
    with Inbox().running(folder, letters.secret) as port:
        authentic, forged = (
            wrk.load(sender, port, wrk.Cell(connections=2), 1, pause=50) for sender in (letters, forger)
        )
        eventually(lambda: not unfinished(folder / "inbox.db"), "the worker is done")
        yield Measured(authentic, forged, folder / "inbox.db")


def test_every_answer_is_a_fresh_event(measured: Measured) -> None:
    """The load generator's requests are authentic, valid and all different, and none goes wrong."""
    sql = "SELECT count(*), sum(duplicates) FROM events WHERE status = 'succeeded'"
    ((stored, duplicates),) = rows(measured.database, sql)
    result = measured.authentic
    assert ("", False, 0) == (result.faults, result.exhausted, duplicates)
    assert 5 <= result.answers <= stored
    assert 0 < result.p50 <= result.p99 <= result.longest


def test_what_is_not_2xx_is_reported(measured: Measured) -> None:
    """A contestant that refuses is not fast; it is named."""
    assert f"{measured.forged.answers} answers were 4xx or 5xx" == measured.forged.faults
    assert (0, True) == (measured.forged.per_second, measured.forged.answers > 0)


def test_requests_that_run_out_are_reported(letters: Letters, tmp_path: Path) -> None:
    """A run with too few prepared requests says so, because its rate would be wrong."""
    needs.need(not wrk.missing(), wrk.missing())
    with Bare().running(tmp_path / "bare", letters.secret) as port:
        end = letters.ensure(1, 10).stat().st_size
        assert wrk.load(letters, port, wrk.Cell(connections=1), 1, position=end, expected=-2000).exhausted


def test_the_filler_writes_what_the_store_writes(measured: Measured, letters: Letters, tmp_path: Path) -> None:
    """Filled rows have the same columns set, to values of the same types, and the same texts where nothing varies."""
    fill(tmp_path / "inbox.db", letters, 1, only="succeeded")
    for table in TABLES:
        assert shape(measured.database, table) == shape(tmp_path / "inbox.db", table), table
    assert fixed(measured.database) == fixed(tmp_path / "inbox.db")


def shape(database: Path, table: str) -> dict[str, type]:
    """Return the type of each column of a table's first row."""
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        row = connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()
        return {name: type(row[name]) for name in row.keys()}  # noqa: SIM118 – a Row yields values


def fixed(database: Path) -> list[Any]:
    """Return what is the same for every event, and the names of the stored headers."""
    found = rows(
        database,
        "SELECT e.source, type, e.status, size, verified_by, bound, retired, method, path, query, length(headers), "
        "remote, length(body), handler, replay_id, d.status, d.attempts, number, length(a.token), result, a.source, "
        "headers FROM events e JOIN bodies b ON b.event_id = e.id JOIN deliveries d ON d.event_id = e.id "
        "JOIN attempts a ON a.delivery_id = d.id LIMIT 1",
    )
    return [*found[0][:-1], sorted(name for name, _ in json.loads(found[0][-1]))]


def test_the_report_says_what_is_not_reached() -> None:
    """A figure beyond its bar reads NO, in the table and in JSON, and the table can be made from the JSON."""
    slow = Figure(bar="2", name="p50", value=Spread.of([3.0, 1.0, 5.0]), bound=("≤", 2.5))
    line = Line(load="one", who="bare", what="reads", p50=Spread.of([1.0]), note="2 answers were 4xx or 5xx")
    report = Report({"machine": "a"}, lines=[line], figures=[slow])
    assert "| 2 | p50 | 3.00 (1.00–5.00) | ≤ 2.5 | NO |  |" in report.markdown()
    assert report == Report.from_dict(json.loads(json.dumps(report.as_dict())))
    assert [False] == [figure["reached"] for figure in report.as_dict()["figures"]]


def test_fsyncs_are_counted_in_the_right_column() -> None:
    """Of strace's table the calls count, neither the microseconds before them nor the errors behind them."""
    table = """
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 99.90    0.381000        1220       313           fdatasync
  0.10    0.000381         381         2         1 fsync
------ ----------- ----------- --------- --------- ----------------
100.00    0.381381        1211       315         1 total
"""
    assert 315 == counted(table)


def test_an_unknown_bar_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The message lists what is allowed, and the exit code is 2."""
    with pytest.raises(SystemExit) as caught:
        main(["--only", "speed"])
    assert 2 == caught.value.code
    assert "'speed' is unknown; allowed: answers, fsyncs," in capsys.readouterr().err
