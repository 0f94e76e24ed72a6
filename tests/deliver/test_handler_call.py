"""How a run of a handler ends: what it returns or raises may be anything, and every line of it is inside its time."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox.core.errors import seconds
from inbox.core.tracebacks import LONGEST
from inbox.deliver.handler_call import End, ended
from inbox.testing import Inbox

BEFORE = """
import asyncio, concurrent.futures, contextlib, functools, itertools, threading, time
from collections.abc import Generator
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from inbox import Discard, Retry, handles

def traced(function):
    @functools.wraps(function)
    def wrapper(*arguments): return function(*arguments)
    return wrapper

async def later(event):
    await asyncio.sleep(0)
    return event.type

"""
HANDLED = '@handles("roomz", attempts=3, backoff=10, timeout=0.3)\n'
TYPE = "workspace.presence.changed"


def outcome(inbox: Inbox, handlers: Path, code: str) -> dict[str, Any]:
    """Run a handler once and return the delivery; no alarm is left, and nothing else was disturbed."""
    (handlers / "own.py").write_text(BEFORE + code)
    (handlers / "other.py").write_text("from inbox import handles\n@handles('roomz')\ndef fine(event): return 1\n")
    inbox.receive("roomz")
    inbox.run()
    other, own = inbox.event(1)["deliveries"]
    assert ("other.fine", "succeeded", "own.one") == (other["handler"], other["status"], own["handler"])
    assert (0.0, 0.0) == signal.getitimer(signal.ITIMER_REAL)
    return dict(own)


AWAITED = {
    "async def": HANDLED + "async def one(event): return await later(event)",
    "functools.wraps over async def": HANDLED + "@traced\nasync def one(event): return await later(event)",
    "mark below functools.wraps": "@traced\n" + HANDLED + "async def one(event): return await later(event)",
    "coroutine": HANDLED + "def one(event): return later(event)",
    "coroutine of a coroutine": HANDLED + "async def one(event): return later(event)",
    "task of a coroutine": HANDLED + "async def one(event): return asyncio.create_task(later(event))",
    "task of its own loop": HANDLED + "def one(event): return asyncio.new_event_loop().create_task(later(event))",
    "future of its own loop": HANDLED
    + "def one(event):\n    loop = asyncio.new_event_loop()\n    future = loop.create_future()\n"
    "    loop.call_later(0.01, future.set_result, event.type)\n    return future",
    "future of a loop in a thread": HANDLED + "def one(event):\n    loop = asyncio.new_event_loop()\n"
    "    threading.Thread(target=loop.run_forever, daemon=True).start()\n    future = loop.create_future()\n"
    "    loop.call_soon_threadsafe(loop.call_later, 0.01, future.set_result, event.type)\n"
    "    while not loop.is_running(): time.sleep(0.001)\n    return future",
    "future of a pool": "POOL = concurrent.futures.ThreadPoolExecutor(1)\n"
    + HANDLED
    + "def one(event): return POOL.submit(lambda: event.type)",
    "coroutine in a pool": "POOL = concurrent.futures.ThreadPoolExecutor(1)\n"
    + HANDLED
    + "def one(event): return POOL.submit(later, event)",
    "object with __await__": "class Waits:\n    def __init__(self, event): self.event = event\n"
    "    def __await__(self): return later(self.event).__await__()\n" + HANDLED + "def one(event): return Waits(event)",
    "object with async __call__": "class Called:\n    async def __call__(self, event): return await later(event)\n"
    + f"one = {HANDLED.strip()[1:]}(Called())",
}


@pytest.fixture(autouse=True)
def loops(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the event loops that the handlers of a test have left open."""
    made, new = [], asyncio.new_event_loop

    def noted() -> asyncio.AbstractEventLoop:
        made.append(new())
        return made[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", noted)
    yield
    for loop in made:
        end = time.monotonic() + 10
        while loop.is_running() and time.monotonic() < end:
            loop.call_soon_threadsafe(loop.stop)
            time.sleep(0.001)
        loop.close()


@pytest.mark.parametrize("case", AWAITED)
def test_what_can_be_awaited_is_awaited(inbox: Inbox, handlers: Path, case: str) -> None:
    """However the handler comes by it: every line runs, and its value is kept."""
    assert ("succeeded", TYPE) == ((own := outcome(inbox, handlers, AWAITED[case]))["status"], json.loads(own["value"]))


def test_what_is_awaited_can_fail(inbox: Inbox, handlers: Path) -> None:
    """The traceback begins in the handler, without the event loop's frames in front."""
    own = outcome(inbox, handlers, HANDLED + "@traced\nasync def one(event): 1 / 0")
    lines = own["error"].splitlines()
    assert ("retrying", "Traceback (most recent call last):") == (own["status"], lines[0])
    assert [True, True, False] == ["in one" in own["error"], "own.py" in lines[1], "asyncio" in own["error"]]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("def one(event): return concurrent.futures.Future()", "a pool's future that never ends"),
        ("def one(event): return asyncio.new_event_loop().create_future()", "a loop's future that never ends"),
        ("@traced\nasync def one(event): await asyncio.sleep(60)", "a coroutine"),
    ],
)
def test_waiting_is_inside_the_time_out(inbox: Inbox, handlers: Path, body: str, kind: str) -> None:
    """What is never done is stopped."""
    own = outcome(inbox, handlers, HANDLED + body)
    assert ("retrying", "stopped after 0.3 s") == (own["status"], own["error"])


ITERATED, CALLED, ENTERED = ("it can only be " + how for how in ("iterated", "called", "entered"))
NOT_BEGUN = {
    "wrapped generator": (HANDLED + "@traced\ndef one(event): yield 1", "generator", ITERATED),
    "wrapped async generator": (HANDLED + "@traced\nasync def one(event): yield 1", "async_generator", ITERATED),
    "generator of a coroutine": (HANDLED + "async def one(event): return (x for x in (1,))", "generator", ITERATED),
    "map": (HANDLED + "def one(event): return map(print, [1])", "map", ITERATED),
    "filter": (HANDLED + "def one(event): return filter(print, [1])", "filter", ITERATED),
    "starmap": (HANDLED + "def one(event): return itertools.starmap(print, [(1,)])", "starmap", ITERATED),
    "generator of another kind": (
        "class Steps(Generator):\n    def send(self, value): raise StopIteration\n"
        "    def throw(self, *error): raise StopIteration\n" + HANDLED + "def one(event): return Steps()",
        "Steps",
        ITERATED,
    ),
    "decorator without parentheses": (
        "def retried(times):\n    def decorate(function):\n        @functools.wraps(function)\n"
        "        def wrapper(event): return function(event)\n        return wrapper\n    return decorate\n"
        + HANDLED
        + "def one(event): return retried(event)",
        "function",
        CALLED,
    ),
    "partial": (HANDLED + "def one(event): return functools.partial(later, event)", "partial", CALLED),
    "context manager": (
        HANDLED + "@contextlib.contextmanager\ndef one(event): yield",
        "_GeneratorContextManager",
        ENTERED,
    ),
}


@pytest.mark.parametrize("case", NOT_BEGUN)
def test_handler_of_which_nothing_ran_has_not_succeeded(inbox: Inbox, handlers: Path, case: str) -> None:
    """It is an error that says what came instead, is tried again, and is dead in the end."""
    code, kind, how = NOT_BEGUN[case]
    own = outcome(inbox, handlers, code)
    assert "retrying" == own["status"]
    assert f"TypeError: the handler returned a {kind}, and nothing of that has run: {how}" in own["error"]
    for _ in range(2):
        inbox.advance(60)
        inbox.run()
    own = inbox.event(1)["deliveries"][1]
    assert ("dead", ["error"] * 3) == (own["status"], [run["result"] for run in own["runs"]])


@pytest.mark.parametrize(
    "body", ["iter_of_own()", "__import__('io').StringIO('x')", "[x for x in (1,)]", "range(3)", "type('C', (), {})()"]
)
def test_other_results_are_results(inbox: Inbox, handlers: Path, body: str) -> None:
    """An iterator of another kind, as a cursor of a database, has done its work."""
    code = "class iter_of_own:\n    def __iter__(self): return self\n    def __next__(self): raise StopIteration\n"
    assert "succeeded" == outcome(inbox, handlers, code + HANDLED + f"def one(event): return {body}")["status"]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("60", 60.0), ("0", 0.0), ("'60'", 60.0), ("' 1.5 '", 1.5), ("b'60'", 60.0), ("timedelta(minutes=1)", 60.0),
        ("Decimal('1.5')", 1.5), ("Fraction(3, 2)", 1.5), ("-5", 0.0), ("'-5'", 0.0), ("timedelta(-1)", 0.0),
    ],
)  # fmt: skip
def test_wait_of_a_retry(inbox: Inbox, handlers: Path, after: str, expected: float) -> None:
    """Seconds, text of seconds as a header has them, or a timedelta; what is past is no wait."""
    own = outcome(
        inbox, handlers, HANDLED + f"def one(event):\n    if event.attempt == 1: raise Retry('why', after={after})"
    )
    waited = own["due_at"] if own["status"] == "retrying" else inbox.clock()
    assert (expected, "retry") == (waited - inbox.clock(), own["runs"][0]["result"])
    inbox.advance(expected)
    inbox.run()
    assert "succeeded" == inbox.event(1)["deliveries"][1]["status"]


@pytest.mark.parametrize(
    "after",
    ["10**400", "float('inf')", "float('nan')", "'inf'", "'soon'", "''", "'Wed, 21 Oct 2015 07:28:00 GMT'", "True",
     "[60]", "object()", "1j"],
)  # fmt: skip
@pytest.mark.parametrize("how", ["Retry('why', after={})", "Late({})"])
def test_wait_of_any_other_kind_is_an_error_of_the_handler(inbox: Inbox, handlers: Path, after: str, how: str) -> None:
    """With its traceback, at once, and it counts as an attempt; also where the wait was set past Retry's own check."""
    late = "class Late(Retry):\n    def __init__(self, after): self.after = after\n"
    own = outcome(inbox, handlers, late + HANDLED + f"def one(event):\n    raise {how.format(after)}")
    assert ("retrying", 1, 0, ["error"]) == (
        own["status"], own["attempts"], own["crashes"], [run["result"] for run in own["runs"]],
    )  # fmt: skip
    assert "in one" in own["error"]
    assert "allowed: seconds (a finite number, or text of one), timedelta" in own["error"].splitlines()[-1]
    assert inbox.clock() <= own["due_at"] <= inbox.clock() + 10


def test_wait_that_is_none_is_no_wait() -> None:
    """The handler's backoff applies."""
    assert None is seconds(None)


RAISED = {
    "subclass of Retry that keeps nothing of it": (
        "class Limited(Retry):\n    def __init__(self, response): self.response = response\n",
        "raise Limited(429)",
        ("retrying", "retry", "429"),
    ),
    "subclass of Retry without anything": (
        "class Limited(Retry):\n    def __init__(self): pass\n",
        "raise Limited",
        ("retrying", "retry", "Limited"),
    ),
    "subclass of Discard that keeps nothing of it": (
        "class Useless(Discard):\n    def __init__(self, why): self.why = why\n",
        "raise Useless('test data')",
        ("discarded", "discarded", "test data"),
    ),
    "reason that is no text": ("", "raise Discard(404)", ("discarded", "discarded", "404")),
    "reason of Discard whose text fails": ("", "raise Discard(Bad())", ("retrying", "error", "RuntimeError: no text")),
    "reason of Retry whose text fails": ("", "raise Retry(Bad())", ("retrying", "error", "RuntimeError: no text")),
    "reason whose truth fails": ("", "raise Retry(Vague())", ("retrying", "error", "RuntimeError: no truth")),
    "wait that fails": (
        "class Limited(Retry):\n    after = property(lambda self: 1 / 0, lambda self, value: None)\n",
        "raise Limited('why')",
        ("retrying", "error", "ZeroDivisionError: division by zero"),
    ),
    "error whose text fails": ("", "raise ValueError(Bad())", ("retrying", "error", "<exception str() failed>")),
    "error whose text exits": ("", "raise Leaves()", ("retrying", "error", "Leaves: <exception str() failed>")),
    "error whose notes fail": ("", "raise Noted()", ("retrying", "error", "text cannot be made: <class 'KeyError'>")),
    "reason that hangs": ("", "raise Retry(Hangs())", ("retrying", "timeout", "stopped after 0.3 s")),
    "error whose text hangs": ("", "raise ValueError(Hangs())", ("retrying", "error", "<exception str() failed>")),
    "text that is more than text": ("", "raise Discard(Text('more'))", ("discarded", "discarded", "more")),
    "half a character": ("", "raise Discard('\\udc80')", ("discarded", "discarded", "\\udc80")),
}  # fmt: skip
CLASSES = """
class Bad:
    def __str__(self): raise RuntimeError("no text")
class Vague:
    def __bool__(self): raise RuntimeError("no truth")
class Leaves(Exception):
    def __str__(self): raise SystemExit
class Noted(Exception):
    @property
    def __notes__(self): raise KeyError("no notes")
class Hangs:
    def __str__(self): time.sleep(60)
class Text(str):
    def __str__(self): return self
    def __getitem__(self, key): time.sleep(60)
    def encode(self, *how): time.sleep(60)
"""


@pytest.mark.parametrize("case", RAISED)
def test_whatever_is_raised_ends_the_run(inbox: Inbox, handlers: Path, case: str) -> None:
    """At once, with its attempt counted; an error has the handler's traceback."""
    classes, body, (status, result, text) = RAISED[case]
    own = outcome(inbox, handlers, CLASSES + classes + HANDLED + f"def one(event):\n    {body}")
    assert (status, [result], 1, 0) == (
        own["status"], [run["result"] for run in own["runs"]], own["attempts"], own["crashes"],
    )  # fmt: skip
    assert text in own["error"]
    assert result != "error" or "own.py" in own["error"]


RETURNED = {
    "items() that raises": ("def items(self): raise KeyError('x')", "succeeded"),
    "items() that raises ValueError": ("def items(self): raise ValueError('x')", "succeeded"),
    "items() that exits": ("def items(self): raise SystemExit", "retrying"),
    "items() that hangs": ("def items(self): time.sleep(60)", "retrying"),
    "destructor that hangs": ("def __del__(self): time.sleep(60)", "retrying"),
}


@pytest.mark.parametrize("case", RETURNED)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_whatever_is_returned_ends_the_run(inbox: Inbox, handlers: Path, case: str, monkeypatch: Any) -> None:
    """A result that cannot be read is not kept; one that hangs is stopped with the handler's time-out."""
    body, status = RETURNED[case]
    began = time.monotonic()
    own = outcome(inbox, handlers, f"class Result(dict):\n    {body}\n{HANDLED}def one(event): return Result(a=1)")
    assert time.monotonic() - began < 30
    if case == "destructor that hangs":  # Python itself throws away what a destructor raises
        assert "succeeded" == own["status"]
        return
    assert (status, 1, 0) == (own["status"], own["attempts"], own["crashes"])
    assert status != "succeeded" or {"not_kept": "Result is not JSON"} == json.loads(own["value"])


def test_nothing_of_the_handler_outlives_its_run() -> None:
    """What it returned, raised and had in its frames is released inside the time-out."""
    released: list[str] = []

    class Watched:
        def __init__(self, name: str) -> None:
            self.name = name

        def __del__(self) -> None:
            released.append(self.name)

    def returns(event: Any) -> Any:
        return Watched("result")

    def raises(event: Any) -> Any:
        watched = Watched("local")
        raise ValueError(watched.name, Watched("argument"))

    assert End("succeeded", '{"not_kept": "Watched is not JSON"}') == ended(returns, lambda: None)  # type: ignore
    assert ["result"] == released
    assert "error" == ended(raises, lambda: None).result  # type: ignore
    assert {"result", "local", "argument"} == set(released)


def test_long_texts_are_cut() -> None:
    """A reason keeps its beginning, a traceback its end."""
    from inbox import Discard

    def discards(event: Any) -> Any:
        raise Discard("a" + "b" * LONGEST)

    def fails(event: Any) -> Any:
        raise ValueError("b" * LONGEST + "c")

    assert End("discarded", "a" + "b" * (LONGEST - 1)) == ended(discards, lambda: None)  # type: ignore
    assert End("error", "b" * (LONGEST - 2) + "c\n") == ended(fails, lambda: None)  # type: ignore
