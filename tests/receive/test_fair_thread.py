"""What may take long is done beside the event loop: checks and diagnoses, in turns, and with an end."""

import asyncio
import hmac
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox.core.models import Request
from inbox.receive import diagnosis_limit
from inbox.receive.diagnosis_limit import NOT_LOOKED_FOR, PER_SECOND
from inbox.receive.fair_thread import Lane
from inbox.receive.receiver import MAX_PARAMETERS, Aside
from inbox.testing import SECRET, Inbox
from inbox.verify.schemas import NOT_IN_TIME
from inbox.verify.schemes.hmac import Hmac
from tests.support.wire import LONG, Line, Sent, Site, Told, by_front, drive, sent

SOURCES: dict[str, dict[str, Any]] = {
    "slow": {"provider": "unsigned", "event_id": ["json:/id"], "event_type": ["=slow"]},
    "strict": {"provider": "unsigned", "event_id": ["json:/id"], "event_type": ["=slow"], "on_invalid": "reject"},
    "open": {"provider": "unsigned", "event_id": ["json:/id"], "event_type": ["=open"]},
    "query": {"provider": "unsigned", "methods": ["GET"], "event_id": ["query:id"]},
    "acme": {"provider": "hmac", "header": "X-Sig"},
    "other": {"provider": "hmac", "header": "X-Sig"},
}
DEEPER = {"properties": {"a": {"$ref": "#/$defs/n"}}}
SLOW = {
    "properties": {"tree": {"$ref": "#/$defs/n"}},
    "$defs": {"n": {"anyOf": [{"required": ["x"], **DEEPER}, DEEPER]}},
}
"""Twice the work for each level of `tree`."""
HANDLER = "from inbox import handles\n@handles('*')\ndef go(event):\n    return 1\n"


@pytest.fixture
def inbox(tmp_path: Path, handlers: Path) -> Iterator[Inbox]:
    (handlers / "own.py").write_text(HANDLER)
    (tmp_path / "schemas" / "unsigned").mkdir(parents=True)
    (tmp_path / "schemas" / "unsigned" / "slow.json").write_text(json.dumps(SLOW))
    with Inbox(tmp_path, handlers=handlers, schemas=tmp_path / "schemas", sources=SOURCES) as made:
        yield made


def post(source: str, payload: Any) -> Sent:
    return sent(source, Request(body=json.dumps(payload).encode()))


def hostile(key: str = "evil", levels: int = 90) -> Any:
    tree: Any = {}
    for _ in range(levels):
        tree = {"a": tree}
    return {"id": key, "tree": tree}


def told(answer: Told) -> tuple[int, Any]:
    return answer.status, json.loads(answer.body)


@pytest.mark.parametrize("source", ["slow", "strict"])
def test_event_that_is_not_checked_in_time_is_stored_and_never_refused(inbox: Inbox, source: str) -> None:
    """It is quarantined with the reason and answered 2xx, also where invalid events are refused; a replay checks it."""
    answer = by_front(Site(inbox), post(source, hostile()))
    status, said = told(answer)
    assert (200, "quarantined") == (status, said["status"])
    event = inbox.runtime.archive.event(said["id"])
    [violation] = json.loads(event["violations"]) if isinstance(event["violations"], str) else event["violations"]
    assert violation["message"].startswith(NOT_IN_TIME)
    assert [] == inbox.runtime.archive.refusals(None, 10)
    schema = Path(inbox.runtime.settings.inbox.schemas) / "unsigned" / "slow.json"
    schema.write_text("{}")
    del inbox.runtime.__dict__["schemas"]
    inbox.replay(said["id"])
    inbox.run()
    assert "succeeded" == inbox.runtime.archive.event(said["id"])["status"]


def test_slow_check_keeps_nobody_waiting(inbox: Inbox) -> None:
    """While hostile payloads are checked, genuine ones from other sources are accepted."""

    async def story(site: Site) -> None:
        slow = [asyncio.create_task(site.take(Line(post("slow", hostile(str(number)))))) for number in range(4)]
        await asyncio.sleep(0)
        answered = 0
        while not slow[0].done():
            assert (200, "accepted") == _brief(await site.take(Line(post("open", {"id": str(answered)}))))
            answered += 1
        assert answered > 0
        for task in slow:
            assert (200, "quarantined") == _brief(await task)

    begun = time.monotonic()
    drive(Site(inbox), story)
    assert time.monotonic() - begun < 3 * LONG


def _brief(answer: Told) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["status"]


def test_sources_take_turns() -> None:
    """However many of one source wait, the first of another is next; what one raises does not end the lane."""
    lane, go, order, done = Lane(), threading.Event(), [], threading.Semaphore(0)

    def finished(result: Any, error: BaseException | None) -> None:
        order.append(result if error is None else type(error))
        done.release()

    def fails() -> None:
        raise ZeroDivisionError

    lane.submit(Aside("a", lambda: go.wait(LONG) and "first"), finished)
    for number in range(5):
        lane.submit(Aside("a", lambda number=number: f"a{number}"), finished)  # type: ignore[misc]
    lane.submit(Aside("b", fails), finished)
    lane.submit(Aside("b", lambda: "b1"), finished)
    lane.submit(Aside("c", lambda: "c"), finished)
    go.set()
    for _ in range(9):
        assert done.acquire(timeout=LONG)
    assert ["first", "a0", ZeroDivisionError, "c", "a1", "b1", "a2", "a3", "a4"] == order or [
        "first", ZeroDivisionError, "c", "a0", "b1", "a1", "a2", "a3", "a4"
    ] == order  # fmt: skip


def forged(source: str, number: int = 0) -> Sent:
    body = json.dumps({"id": number, "list": [1, 2, 3]}).encode()
    wrong = hmac.new(SECRET.encode(), body.replace(b" ", b""), "sha256").hexdigest()
    return sent(source, Request(headers=(("X-Sig", wrong),), body=body))


def test_causes_are_looked_for_beside_the_loop_and_not_for_ever(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many per second and source, in a thread; the others are refused and stored all the same."""
    seen: list[bool] = []
    diagnose = Hmac._diagnose

    def spy(self: Hmac, *arguments: Any) -> str:
        seen.append(threading.current_thread() is threading.main_thread())
        return diagnose(self, *arguments)

    monkeypatch.setattr(Hmac, "_diagnose", spy)

    async def story(site: Site) -> None:
        for number in range(PER_SECOND + 3):
            assert (401, {"error": "not_authentic"}) == told(await site.take(Line(forged("acme", number))))
        assert 401 == (await site.take(Line(forged("other")))).status
        inbox.clock.now += 1
        assert 401 == (await site.take(Line(forged("acme")))).status

    drive(Site(inbox), story)
    found = [row["diagnosis"] for row in inbox.runtime.archive.refusals("acme", 100)][::-1]
    cause = "the signature fits the body with its JSON written in another way"
    assert [True] * PER_SECOND + [False] * 3 + [True] == [text.startswith(cause) for text in found]
    assert [NOT_LOOKED_FOR] * 3 == found[PER_SECOND : PER_SECOND + 3]
    assert [False] * (PER_SECOND + 2) == seen
    assert {"mismatch"} == {row["reason"] for row in inbox.runtime.archive.refusals(None, 100)}


def test_causes_are_limited_behind_wsgi_too(inbox: Inbox) -> None:
    """The twin has no loop to keep free, but each cause costs as much."""
    for number in range(PER_SECOND + 1):
        with pytest.raises(Exception, match="the signature fits"):
            inbox.accept("acme", Request(headers=(("x-sig", "00" * 32),), body=b"%d" % number))
    assert NOT_LOOKED_FOR == inbox.runtime.archive.refusals("acme", 1)[0]["diagnosis"]


def test_diagnosed_seconds_are_counted_apart() -> None:
    """A new second begins anew, for all sources."""
    counted = diagnosis_limit.Diagnoses()
    assert [True] * PER_SECOND + [False] == [counted.may("a", 1.5) for _ in range(PER_SECOND + 1)]
    assert counted.may("b", 1.9)
    assert counted.may("a", 2.0)
    assert counted.may("a", 1.0)


def test_query_of_very_many_parameters_is_refused(inbox: Inbox) -> None:
    """400, with a refusal that says why; as many as are allowed are accepted."""
    most = "&".join(["id=1", *(["a"] * (MAX_PARAMETERS - 1))])
    assert 200 == by_front(Site(inbox), sent("query", Request("GET", query=most))).status
    assert (400, {"error": "malformed"}) == told(by_front(Site(inbox), sent("query", Request("GET", query=most + "&"))))
    [refusal] = inbox.runtime.archive.refusals("query", 10)
    assert ("malformed", "the query has more than 1000 parameters") == (refusal["code"], refusal["diagnosis"])
    assert 1 == len(inbox.events())
