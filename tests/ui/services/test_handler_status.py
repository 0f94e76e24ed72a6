"""Handlers are shown as the store remembers them: figures, what failed last, and modules that do not import."""

from pathlib import Path
from typing import Any

from inbox.testing import NOW, Inbox
from inbox.ui.services.handler_status import handlers
from tests.ui.services.conftest import FAILING, receiver_of, row_of


def shown(inbox: Inbox) -> dict[str, Any]:
    """Return what a process tells that has loaded no handler."""
    runtime = receiver_of(inbox)
    found = handlers(runtime)
    assert "registry" not in vars(runtime)
    runtime.watching.close()
    runtime.close()
    return found


def row(inbox: Inbox, name: str) -> dict[str, Any]:
    return row_of(shown(inbox)["handlers"], handler=name)


def test_what_is_loaded_and_from_where(desk: Inbox, tmp_path: Path) -> None:
    """Module, file, patterns and settings, as the worker loaded them."""
    desk.run()
    assert ["own.fail", "own.good", "own.one"] == [found["handler"] for found in shown(desk)["handlers"]]
    found = row(desk, "own.fail")
    assert ("own", str(tmp_path / "handlers" / "own.py"), "loaded", NOW, "", 0, None) == tuple(
        found[name] for name in ("module", "file", "state", "loaded_at", "failure", "waiting", "last_failure")
    )
    assert [("open", "fail*", 2, 30.0, 60)] == [
        tuple(mark[name] for name in ("source", "type", "attempts", "timeout", "backoff")) for mark in found["marks"]
    ]
    assert (0, None, None) == tuple(found["hour"][name] for name in ("runs", "rate", "p50"))


def test_success_rate_and_durations(desk: Inbox) -> None:
    """Of the last hour and the last day, from the counts."""
    desk.receive("open", FAILING)
    desk.receive("open", {"id": "g", "type": "good"})
    desk.run()
    failing, good = row(desk, "own.fail"), row(desk, "own.good")
    assert (1, 0, 1, 0.0) == tuple(failing["hour"][name] for name in ("runs", "succeeded", "went_wrong", "rate"))
    assert (1, 1, 0, 1.0) == tuple(good["day"][name] for name in ("runs", "succeeded", "went_wrong", "rate"))
    assert (1, 0, 1) == (failing["waiting"], good["waiting"], failing["hour"]["results"]["error"])
    assert 0 <= good["hour"]["p50"] <= good["hour"]["p99"] <= 0.01
    desk.advance(2 * 3600)
    assert (0, 1) == (row(desk, "own.good")["hour"]["runs"], row(desk, "own.good")["day"]["runs"])
    desk.advance(5 * 3600)
    assert desk.runtime.watching.watch.roll(desk.clock())
    assert (1, 1.0, 1) == tuple(row(desk, "own.good")["day"][name] for name in ("runs", "rate", "number"))


def test_last_failure_has_its_traceback(desk: Inbox) -> None:
    """And leads to the event; being told to stop is none."""
    number = desk.receive("open", FAILING).id
    desk.run()
    last = row(desk, "own.fail")["last_failure"]
    assert (number, 1, "error", NOW) == tuple(last[name] for name in ("event_id", "number", "result", "at"))
    assert last["error"].startswith("Traceback")
    assert last["error"].endswith("ValueError: the sun is in the way\n")
    desk.receive("open", {"id": "g", "type": "good"})
    desk.run()
    assert last == row(desk, "own.fail")["last_failure"]


def test_module_that_does_not_import_is_shown_whole(desk: Inbox, tmp_path: Path) -> None:
    """With its traceback and since when; its handlers are failed, their work waits; and it is gone when it loads."""
    path = tmp_path / "handlers" / "own.py"
    code = path.read_text()
    desk.run()
    desk.advance(10)
    path.write_text("import nothing_of_this_name\n" + code)
    desk.reload()
    desk.receive("open", {"id": "g", "type": "good"})
    desk.run()
    found = shown(desk)
    (failure,) = found["failures"]
    assert ("own", str(path), NOW + 10, ["own.fail", "own.good", "own.one"]) == tuple(
        failure[name] for name in ("module", "file", "since", "handlers")
    )
    assert failure["failure"].startswith("Traceback (most recent call last):\n")
    assert "\nModuleNotFoundError: No module named 'nothing_of_this_name'\n" in failure["failure"]
    good = row_of(found["handlers"], handler="own.good")
    assert ("failed", 1, failure["failure"]) == (good["state"], good["waiting"], good["failure"])
    desk.advance(10)
    desk.reload()
    assert [NOW + 10] == [failure["since"] for failure in shown(desk)["failures"]]
    path.write_text(code)
    desk.reload()
    assert ([], "loaded") == (shown(desk)["failures"], row(desk, "own.good")["state"])


def test_module_that_never_loaded_is_shown(desk: Inbox, tmp_path: Path) -> None:
    """Although nobody knows what it would handle."""
    (tmp_path / "handlers" / "new.py").write_text("def broken(:\n")
    desk.run()
    found = shown(desk)
    assert ["own.fail", "own.good", "own.one"] == [each["handler"] for each in found["handlers"]]
    assert [("new", [])] == [(each["module"], each["handlers"]) for each in found["failures"]]
    assert "SyntaxError" in found["failures"][0]["failure"]


def test_handler_that_is_gone_is_shown_while_it_has_work(desk: Inbox, tmp_path: Path) -> None:
    """So that somebody brings it back, or cancels."""
    desk.receive("open", FAILING)
    desk.run()
    (tmp_path / "handlers" / "own.py").write_text("")
    desk.reload()
    (found,) = shown(desk)["handlers"]
    assert ("own.fail", "gone", None, 1) == tuple(found[name] for name in ("handler", "state", "file", "waiting"))
