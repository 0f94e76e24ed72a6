"""Lines on standard error: text or JSON, at once or collected."""

import json
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.processors import LogfmtRenderer

from inbox.core.log import _ORDER, _line, as_text

CODE = """
import logging, structlog, sys
from inbox.core import log
log.configure("info", sys.argv[1], collect="collect" in sys.argv)
log.label("worker")
structlog.get_logger("x").info("event.accepted", id=1, held=True, delivery=None)
structlog.get_logger("x").warning("own.words", timestamp="yesterday", level="high")
logging.getLogger("huey").warning("it is %s", "late")
try:
    1 / 0
except ZeroDivisionError as error:
    structlog.get_logger("x").error("request.failed", exc_info=error)
"""


def lines(form: str, *options: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE, form, *options], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stderr.splitlines()


def test_json_is_one_object_a_line() -> None:
    """Also what libraries log, and a traceback; each with time, level and process."""
    own, words, library, failed = map(json.loads, lines("json"))
    assert ("warning", "own.words", own["pid"]) == (words["level"], words["event"], words["pid"])
    assert [("info", "event.accepted", 1, True), ("warning", "it is late", None, None)] == [
        (line["level"], line["event"], line.get("id"), line.get("held")) for line in (own, library)
    ]
    assert ("huey", True) == (library["logger"], failed["exception"].endswith("ZeroDivisionError: division by zero"))
    for line in (own, library, failed):
        assert ("worker", own["pid"], True) == (line["process"], line["pid"], line["timestamp"].endswith("Z"))


@pytest.mark.parametrize("number", [0, 1])
def test_text_begins_with_what_each_line_has(number: int) -> None:
    """Time, level and process, then the event."""
    line = lines("text")[number]
    names = [part.partition("=")[0] for part in line.split()[:5]]
    assert ["timestamp", "level", "process", "pid", "event"] == names


@pytest.mark.parametrize("form", ["json", "text"])
def test_lines_that_are_collected_say_the_same(form: str) -> None:
    """The same lines, a moment later."""
    same = re.compile(r"""timestamp\W+[0-9TZ:.-]+|pid\W+\d+""")
    at_once, later = ([same.sub("", line) for line in lines(form, *options)] for options in ([], ["collect"]))
    assert (4, sorted(at_once)) == (len(later), sorted(later))


def test_an_event_that_no_line_can_be_made_of_costs_only_its_own() -> None:
    """Whatever is logged, those after it are written."""
    first, second = (_line([as_text], event) for event in ({"event": "a", "two words": 1}, {"event": "b"}))
    assert (b'level=error event=log.failed error="ValueError', b"event=b\n") == (first[:46], second)


def test_what_is_a_line_already_is_written_as_it_is() -> None:
    """A traceback, or what a handler prints."""
    assert b"x y" == _line([as_text], b"x y")


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["a b", "\n", "\\", "="])
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["id", "event", "type", "key", "level", "pid"]), VALUES))
def test_text_is_what_structlog_writes(event: dict[str, object]) -> None:
    """The short way and the long one give the same line; None is only ever a field's value, never an event's name."""
    event = {key: value for key, value in event.items() if key not in _ORDER or value is not None}
    expected = LogfmtRenderer(key_order=_ORDER, drop_missing=True, bool_as_flag=False)(None, "", dict(event))
    assert expected == as_text(None, "", event)
