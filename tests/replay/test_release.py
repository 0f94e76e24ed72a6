"""Held requests → events: verified as of the time they came, through dedupe, nothing lost and nothing twice."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox.core.errors import NotAuthentic, StoreUnavailable, UnknownSource
from inbox.core.models import Request, Secret
from inbox.replay.release import Released
from inbox.testing import NOW, SECRET, Inbox

HOLD = {"on_unverified": "hold"}
SOURCES: dict[str, dict[str, Any]] = {
    "roomz": {"provider": "roomz", **HOLD},
    "strict": {"provider": "roomz", "on_invalid": "reject", **HOLD},
    "signed": {"provider": "breakcold_v2", **HOLD},
    "breakcold": {"provider": "breakcold", **HOLD},
    "romify": {"provider": "romify", **HOLD},
    "acme": {"provider": "hmac", "header": "X-Sig", "event_id": ["json:/id"], "dedupe_for": 600.0, **HOLD},
}
HANDLER = """
from inbox import handles

@handles("*")
def note(event):
    return event.key
"""
Open = Callable[..., Inbox]


@pytest.fixture
def inbox(tmp_path: Path, handlers: Path) -> Iterator[Inbox]:
    (handlers / "own.py").write_text(HANDLER)
    (tmp_path / "schemas" / "roomz").mkdir(parents=True)
    (tmp_path / "schemas" / "roomz" / "default.json").write_text(json.dumps({"required": ["data"]}))
    with Inbox(tmp_path, handlers=handlers, schemas=tmp_path / "schemas", sources=SOURCES) as made:
        yield made


@pytest.fixture
def start(inbox: Inbox) -> Open:
    """Return the inbox with the right secret or, as before its owner corrected it, with a wrong one."""

    def make(secret: str = SECRET, *, now: float = NOW, **changed: Any) -> Inbox:
        for name in SOURCES:
            correct(inbox, name, secrets=(Secret(secret),), **changed)
        inbox.clock.now = now
        return inbox

    return make


def refuse(inbox: Inbox, source: str, *requests: Request) -> None:
    for request in requests:
        with pytest.raises(NotAuthentic):
            inbox.accept(source, request)


def release(inbox: Inbox, source: str) -> list[Released]:
    return list(inbox.runtime.releaser.release(source))


def held(inbox: Inbox, source: str) -> int:
    return len(inbox.runtime.archive.held(source, 0, 1000))


def statuses(done: list[Released]) -> list[str]:
    return [item.status for item in done]


def sample(inbox: Inbox, source: str, id: str = "one", *, type: str = "") -> Request:
    """Return a request such as the sender sends it, under the right secret whatever the inbox has."""
    provider = inbox.runtime.sources[source]
    right = replace(provider, secrets=(Secret(SECRET),))
    body = json.dumps(provider.sample(type, id=id, at=inbox.clock())).encode()
    return right.sign(right.compose(body, type, id=id, at=inbox.clock()), at=inbox.clock())


def correct(inbox: Inbox, source: str, **settings: Any) -> None:
    """Change settings of a source, as its owner does in inbox.toml."""
    sources: Any = inbox.runtime.sources
    sources[source] = replace(sources[source], **settings)


def test_release_takes_in_what_a_wrong_secret_refused(start: Open) -> None:
    """In the order in which it came, with its time of receipt, waking the queue: the handlers run."""
    wrong = start("wrong")
    for n in range(3):
        refuse(wrong, "roomz", sample(wrong, "roomz", f"e{n}"))
        wrong.advance(1)
    assert ([], 3) == (wrong.events(), held(wrong, "roomz"))
    inbox = start(now=NOW + 86_400)
    done = release(inbox, "roomz")
    assert [Released(n, "accepted", n) for n in (1, 2, 3)] == done
    assert [(f"e{n}", NOW + n) for n in range(3)] == [
        (row["key"], row["received_at"]) for row in reversed(inbox.events())
    ]
    assert 0 == held(inbox, "roomz")
    inbox.run()
    assert ["succeeded"] * 3 == [row["status"] for row in inbox.events()]


def test_release_is_as_of_the_time_of_receipt(start: Open) -> None:
    """A signed timestamp that was fresh then passes long after its tolerance; one that was stale then does not."""
    wrong = start("wrong")
    fresh, stale = sample(wrong, "signed", "fresh"), sample(wrong, "signed", "stale")
    refuse(wrong, "signed", fresh)
    wrong.advance(301)
    refuse(wrong, "signed", stale)
    inbox = start(now=NOW + 86_400)
    done = release(inbox, "signed")
    assert ["accepted", ""] == statuses(done)
    assert "301 s ago" in done[1].diagnosis
    refuse(inbox, "signed", fresh)


def test_stale_request_passes_once_the_tolerance_is_wide_enough(start: Open) -> None:
    """Settings other than the secret count, too: what was too old for the window is taken in when that is corrected."""
    inbox = start()
    late = sample(inbox, "signed")
    inbox.advance(900)
    refuse(inbox, "signed", late)
    correct(inbox, "signed", tolerance=1000.0)
    assert ["accepted"] == statuses(release(inbox, "signed"))


def test_what_still_fails_stays_held(start: Open) -> None:
    """With the diagnosis of today; the others behind it are taken in, and it can be released later."""
    wrong = start("wrong")
    junk = Request(body=b"junk", headers=(("roomz-signature", "A" * 86 + "=="),))
    refuse(wrong, "roomz", sample(wrong, "roomz", "a"), junk, sample(wrong, "roomz", "b"))
    inbox = start()
    assert ["accepted", "", "accepted"] == statuses(release(inbox, "roomz"))
    (left,) = release(inbox, "roomz")
    assert (2, "", None, 1) == (left.held_id, left.status, left.event_id, held(inbox, "roomz"))
    assert "none of the configured secrets" in left.diagnosis


def test_release_twice_does_nothing_more(start: Open) -> None:
    """What was released is not held any more."""
    wrong = start("wrong")
    refuse(wrong, "roomz", sample(wrong, "roomz"))
    inbox = start()
    assert [["accepted"], []] == [statuses(release(inbox, "roomz")) for _ in range(2)]


def test_release_after_a_crash_before_forgetting_is_a_duplicate(start: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event is on disk before its request is forgotten: killed in between, the next release finds a copy."""
    wrong = start("wrong")
    refuse(wrong, "acme", sample(wrong, "acme"))
    inbox = start(now=NOW + 5000)

    def killed(held_id: int) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(inbox.runtime.archive, "drop_held", killed)
        with pytest.raises(StoreUnavailable):
            release(inbox, "acme")
    inbox.receive("acme", {"id": "one", "type": "test", "timestamp": 1.5})
    assert ["duplicate"] == statuses(release(inbox, "acme"))
    assert 2 == len(inbox.events())


def test_store_that_is_full_keeps_the_request(start: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the store ends the release; what was not stored is still held."""
    wrong = start("wrong")
    refuse(wrong, "roomz", sample(wrong, "roomz", "a"), sample(wrong, "roomz", "b"))
    inbox = start()
    add, calls = inbox.runtime.inlet.add_event, iter([True, False])

    def sometimes(event: Any) -> Any:
        if next(calls):
            return add(event)
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(inbox.runtime.inlet, "add_event", sometimes)
        with pytest.raises(StoreUnavailable):
            release(inbox, "roomz")
    assert (1, 1) == (len(inbox.events()), held(inbox, "roomz"))
    assert ["accepted"] == statuses(release(inbox, "roomz"))


def test_defect_in_one_request_does_not_keep_the_others(
    start: Open, monkeypatch: pytest.MonkeyPatch, logs: list[Any]
) -> None:
    """It stays held, the log has the traceback, and those behind it are taken in."""
    wrong = start("wrong")
    refuse(wrong, "roomz", sample(wrong, "roomz", "a"), sample(wrong, "roomz", "b"))
    inbox = start()
    event, calls = inbox.runtime.receiver.event, iter([True, False])

    def defect(*arguments: Any) -> Any:
        if next(calls):
            raise ZeroDivisionError
        return event(*arguments)

    monkeypatch.setattr(inbox.runtime.receiver, "event", defect)
    done = release(inbox, "roomz")
    assert (["", "accepted"], 1) == (statuses(done), held(inbox, "roomz"))
    assert "ZeroDivisionError" in done[0].diagnosis
    assert "release.failed" in [entry["event"] for entry in logs]


def test_event_that_came_meanwhile_makes_it_a_duplicate(start: Open) -> None:
    """The sender's own retry was accepted after the correction: the event runs once."""
    wrong = start("wrong")
    request = sample(wrong, "roomz")
    refuse(wrong, "roomz", request, request)
    inbox = start(now=NOW + 60)
    assert "accepted" == inbox.accept("roomz", request).status
    assert ["duplicate", "duplicate"] == statuses(release(inbox, "roomz"))
    assert (1, 2, 0) == (len(inbox.events()), inbox.event(1)["duplicates"], held(inbox, "roomz"))


def test_other_content_under_a_key_that_came_meanwhile_is_a_conflict(start: Open) -> None:
    """It is kept as a visible conflict, as it would have been then."""
    wrong = start("wrong")
    refuse(wrong, "roomz", sample(wrong, "roomz"))
    inbox = start(now=NOW + 60)
    inbox.accept("roomz", sample(inbox, "roomz"))
    assert ["conflict"] == statuses(release(inbox, "roomz"))
    assert ["conflict", "received"] == [row["status"] for row in inbox.events()]


@pytest.mark.parametrize(("later", "expected"), [(599.0, "duplicate"), (601.0, "accepted")])
def test_dedupe_window_is_as_of_the_time_of_receipt(start: Open, later: float, expected: str) -> None:
    """An event that came after the window is another one, also when it was stored before: nothing is swallowed."""
    wrong = start("wrong")
    request = sample(wrong, "acme")
    refuse(wrong, "acme", request)
    inbox = start(now=NOW + later)
    inbox.accept("acme", request)
    inbox.advance(1e6)
    assert [expected] == statuses(release(inbox, "acme"))
    inbox.run()
    assert {"succeeded"} == {row["status"] for row in inbox.events()}
    assert (1 if expected == "duplicate" else 2) == len(inbox.events())


def test_invalid_payload_is_quarantined_as_it_would_have_been(start: Open) -> None:
    """Authentic now, but against its schema: stored with its violations, not run."""
    provider = start().runtime.sources["roomz"]
    bad = provider.sign(Request(body=b'{"id": "x", "type": "workspace.presence.changed"}'), at=NOW)
    wrong = start("wrong")
    refuse(wrong, "roomz", bad)
    inbox = start()
    assert ["quarantined"] == statuses(release(inbox, "roomz"))
    assert inbox.event(1)["violations"]


@pytest.mark.parametrize("body", [b"no JSON", b'{"id": "x", "type": "workspace.presence.changed"}'])
def test_what_the_source_rejects_stays_held(start: Open, body: bytes) -> None:
    """With on_invalid = "reject" nothing can be stored, so nothing is forgotten; the diagnosis says why."""
    bad = start().runtime.sources["strict"].sign(Request(body=body), at=NOW)
    refuse(start("wrong"), "strict", bad)
    inbox = start()
    (done,) = release(inbox, "strict")
    assert ("", True, 1) == (done.status, bool(done.diagnosis), held(inbox, "strict"))
    correct(inbox, "strict", on_invalid="quarantine")
    assert ["quarantined"] == statuses(release(inbox, "strict"))


def test_smaller_limits_of_today_do_not_lose_what_is_held(start: Open) -> None:
    """max_body, methods and the limits of holding apply when a request comes, not when it is released."""
    wrong = start("wrong")
    refuse(wrong, "roomz", *(sample(wrong, "roomz", f"e{n}") for n in range(3)))
    inbox = start(
        max_body=10, methods=["PUT"], hold_requests=1, hold_bytes=10, hold_for=1.0, on_unverified="refuse", now=NOW + 9
    )
    assert ["accepted"] * 3 == statuses(release(inbox, "roomz"))


def test_secret_in_the_body_is_redacted_once_it_is_an_event(start: Open, tmp_path: Path, logs: list[Any]) -> None:
    """Held it is as it came, or it could not be verified; as an event it is in no table, no file and no log."""
    wrong = start("wrong")
    request = sample(wrong, "breakcold")
    refuse(wrong, "breakcold", request)
    assert SECRET.encode() in wrong.runtime.archive.held("breakcold", 0, 10)[0][2].body
    assert SECRET not in json.dumps(wrong.runtime.archive.refusals(None, 10))
    inbox = start()
    (done,) = release(inbox, "breakcold")
    assert b"[redacted]" in inbox.runtime.archive.request(done.event_id or 0).body
    inbox.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("inbox.db*"))
    assert (False, False) == (SECRET.encode() in stored, SECRET in repr(logs))


def test_query_path_and_headers_are_verified_as_they_came(start: Open) -> None:
    """A GET whose secret is in a header and whose data is in the query is released as what it was."""
    wrong = start("wrong")
    request = Request("GET", "EVENT_STARTS", "a=1&b=2", (("x-romify-secret", SECRET),))
    refuse(wrong, "romify", request)
    inbox = start()
    assert ["accepted"] == statuses(release(inbox, "romify"))
    event = inbox.event(1)
    assert ("EVENT_STARTS", "a=1&b=2", "GET") == (event["type"], event["request"]["query"], event["request"]["method"])


def test_release_walks_through_more_than_a_page(start: Open) -> None:
    """However many are held, and whichever of them stay."""
    wrong = start("wrong")
    for n in range(50):
        refuse(wrong, "roomz", sample(wrong, "roomz", f"e{n}") if n % 3 else Request(body=b"%d" % n))
    inbox = start()
    done = release(inbox, "roomz")
    assert (50, 33, 17) == (len(done), statuses(done).count("accepted"), held(inbox, "roomz"))


def test_unknown_source_cannot_be_released(start: Open) -> None:
    """What is held of a source that was taken out of inbox.toml waits for its time, and the error names the others."""
    inbox = start()
    with pytest.raises(UnknownSource, match="no source is called gone; configured: roomz, "):
        release(inbox, "gone")


def test_source_that_holds_nothing_has_nothing_to_release(start: Open) -> None:
    """No requests, no results."""
    assert [] == release(start(), "roomz")
