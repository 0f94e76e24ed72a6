"""Handlers that break in every way while they are imported, or when they end: the others run, and the owner sees it."""

import json
import urllib.error
import urllib.request
from typing import Any

from tests.support.place import Place, eventually

SOURCES = """
[sources.open]
provider = "unsigned"
event_id = ["json:/id"]
event_type = ["json:/type"]
"""
GOOD = "from inbox import handles\n@handles('open')\ndef one(event): return 'good'\n"
BROKEN = {
    "interrupts": "raise KeyboardInterrupt\n",
    "leaves": "raise GeneratorExit\n",
    "exits": "import os\nos._exit(0)\n",
    "none": "from inbox import handles\n@handles('a', None)\ndef one(event): pass\n",
    "number": "from inbox import handles\n@handles(1)\ndef one(event): pass\n",
    "lazy": "from inbox import handles\n@handles('open')\ndef one(event): yield\n",
}


def send(place: Place, key: str, kind: str = "") -> int:
    """Send an event and return its id."""
    body = json.dumps({"id": key, "type": kind}).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{place.port}/in/open", body, timeout=20) as answer:
        return int(json.load(answer)["id"])


def ready(place: Place) -> tuple[int, dict[str, Any]]:
    """Return what `/readyz` answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{place.port}/readyz", timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def own(place: Place, number: int) -> dict[str, Any]:
    """Return the delivery of an event to the handler of `good.py`."""
    found = [each for each in place.event(number)["deliveries"] if each["handler"] == "good.one"]
    return found[0] if found else {"status": "not routed yet"}


def prepare(place: Place, code: str, broken: dict[str, str]) -> None:
    place.configure(sources=SOURCES, worker="processes = 1")
    for path in (place.folder / "handlers").glob("*.py"):
        path.unlink()
    for name, text in {"good": code, **broken}.items():
        place.handler(name, text)


def test_modules_that_break_stop_nothing_but_themselves(place: Place) -> None:
    """The good one runs; log, check, reload and `/readyz` name each broken one, and are quiet when all is repaired."""
    prepare(place, GOOD, BROKEN)
    with (place.folder / ".env").open("ab") as file:
        file.write(b"\nODD=a\0b\nEVEN=c\n")
    place.start()
    number = send(place, "1")
    eventually(lambda: own(place, number)["status"] == "succeeded", "the good handler runs")
    assert 1 == len(place.event(number)["deliveries"])
    status, answer = ready(place)
    assert (503, ["handlers"]) == (status, answer["failing"])
    assert ", ".join(sorted(BROKEN)) in answer["checks"]["handlers"]
    for name in BROKEN:
        assert f"event=handlers.failed module={name} " in place.log_text()
    assert "event=environment.not_set" in place.log_text()
    done = place.inbox("check", ok=False)
    problems = [line for line in done.stderr.splitlines() if line.startswith("inbox: ")]
    assert (1, "") == (done.returncode, done.stdout)
    assert "inbox: what runs goes on with" in problems.pop()
    assert "would not start" not in done.stderr
    assert sorted([*(f"inbox: handlers: {name} does not" for name in BROKEN), "inbox: .env: 'ODD' has a"]) == sorted(
        " ".join(line.split()[:5]) for line in problems
    )
    _repair(place)
    _refuses_what_exits(place)


def _repair(place: Place) -> None:
    for name in BROKEN:
        (place.folder / "handlers" / f"{name}.py").unlink()
    env = place.folder / ".env"
    env.write_bytes(env.read_bytes().replace(b"a\0b", b"a"))
    assert "nothing is wrong" in place.inbox("check").stdout
    assert "Nothing is wrong" in place.inbox("reload").stdout
    eventually(lambda: ready(place)[0] == 200, "all is well again")


def _refuses_what_exits(place: Place) -> None:
    """A module that ends the check's process with exit code 0 is no reason to take it over."""
    workers = place.children("worker")
    place.handler("exits", BROKEN["exits"])
    done = place.inbox("reload", ok=False)
    assert 1 == done.returncode
    assert "handlers: exits does not import: its import ended the process, with exit code 0" in done.stderr
    number = send(place, "2")
    eventually(lambda: own(place, number)["status"] == "succeeded", "the worker goes on with what it has")
    status, answer = ready(place)
    assert (workers, 503, ["files"]) == (place.children("worker"), status, answer["failing"])


ENDS = """
import functools, time
from datetime import timedelta
from inbox import Discard, Retry, handles

class Result(dict):
    def items(self): time.sleep(600)

class Hangs:
    def __str__(self): time.sleep(600)

class Limited(Retry):
    def __init__(self, response): self.response = response

def traced(function):
    @functools.wraps(function)
    def wrapper(event): return function(event)
    return wrapper

@handles("open", attempts=1, timeout=0.5)
@traced
async def one(event):
    match event.type:
        case "result": return Result(a=1)
        case "reason": raise Discard(Hangs())
        case "text": raise ValueError(Hangs())
        case "wait": raise Retry("why", after=10**400)
        case "delta": raise Retry("why", after=timedelta(0))
        case "limited": raise Limited(429)
    return "good"
"""
ENDED = {
    "result": ("timeout", "stopped after 0.5 s"),
    "reason": ("timeout", "stopped after 0.5 s"),
    "text": ("error", "ValueError: <exception str() failed>"),
    "wait": ("error", "ValueError: Retry: after is int; allowed: seconds"),
    "delta": ("retry", "why"),
    "limited": ("retry", "429"),
    "good": ("succeeded", ""),
}


def test_runs_that_end_oddly_are_recorded_at_once(place: Place) -> None:
    """By the one process that there is: none of them crashed, none of them is still running."""
    prepare(place, ENDS, {})
    place.start()
    numbers = {kind: send(place, kind, kind) for kind in ENDED}
    ended = ("dead", "succeeded")
    eventually(lambda: all(place.event(n)["status"] in ended for n in numbers.values()), "every run has ended")
    for kind, (result, text) in ENDED.items():
        (run,) = own(place, numbers[kind])["runs"]
        assert (result, True) == (run["result"], text in run["error"]), (kind, run)
    assert 1 == len({own(place, number)["runs"][0]["worker"] for number in numbers.values()})
    assert 0 == place.stop()
    assert "Process Worker" not in place.log_text()
