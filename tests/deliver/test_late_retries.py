"""Late retries and captured requests: what was never stored is taken, what was stored is recognised."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox.core.errors import NotAuthentic
from inbox.core.models import Request
from inbox.testing import Inbox
from inbox.verify.providers.base import Provider

GITHUB = {"provider": "hmac", "header": "X-Hub-Signature-256", "prefix": "sha256=", "event_id": ["header:X-Delivery"]}
SIGNED_ID = {
    "provider": "hmac",
    "header": "X-Sig",
    "signed": "{id}.{timestamp}.{body}",
    "id_header": "X-Id",
    "timestamp_header": "X-Time",
    "event_id": ["header:x_id"],
}
SOURCES: dict[str, dict[str, Any]] = {
    "github": GITHUB,
    "daily": {**GITHUB, "dedupe_for": 86_400.0},
    "signed_id": SIGNED_ID,
    "json": {**GITHUB, "event_id": ["json:/id"]},
    "slow": {**SIGNED_ID, "tolerance": 4 * 3600.0},
    "hold": {**SIGNED_ID, "on_unverified": "hold"},
    "breakcold_v2": {"provider": "breakcold_v2"},
    "roomle": {"provider": "roomle"},
    "standard": {"provider": "standard_webhooks", "secrets": ["whsec_" + "A" * 32]},
    "rootfi_v4": {"provider": "rootfi", "version": "v4"},
    "roomz": {"provider": "roomz", "event_id": ["header:X-Delivery", "json:/id"]},
}
WINDOWS = {"breakcold_v2": 300, "roomle": 300, "standard": 300, "signed_id": 300, "slow": 4 * 3600}
"""Seconds in which a retry that keeps its signed timestamp passes."""

BREAKCOLD_SCHEDULE = 10 + 5 + 10 + 30 + 10
"""Seconds from the first attempt to the end of the last one, each attempt timing out."""


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    (tmp_path / "schemas").mkdir()
    with Inbox(tmp_path, sources=SOURCES, schemas=tmp_path / "schemas") as made:
        yield made


def captured(inbox: Inbox, source: str, payload: Any = None, **headers: str) -> Request:
    """Return a request as the sender sent it, with unsigned headers as somebody else could set them."""
    body = json.dumps(payload or {"id": "one"}).encode()
    return inbox.signed(source, body).with_headers({name.replace("_", "-"): value for name, value in headers.items()})


def outcomes(inbox: Inbox, source: str, *requests: Request) -> list[str]:
    return [inbox.accept(source, request).status for request in requests]


@pytest.mark.parametrize("source", WINDOWS)
def test_late_retry_of_what_was_never_stored_is_accepted(inbox: Inbox, source: str) -> None:
    """The same bytes, up to the end of the window; after that they are stale."""
    request = inbox.signed(source)
    inbox.advance(WINDOWS[source])
    assert ["accepted"] == outcomes(inbox, source, request)
    other = inbox.signed(source)
    inbox.advance(WINDOWS[source] + 1)
    with pytest.raises(NotAuthentic) as refused:
        inbox.accept(source, other)
    assert "stale" == refused.value.reason


@pytest.mark.parametrize("source", WINDOWS)
def test_replay_of_what_was_stored_is_a_duplicate(inbox: Inbox, source: str) -> None:
    """At any time within the window, however wide it is: nothing runs twice."""
    request = inbox.signed(source)
    assert ["accepted"] == outcomes(inbox, source, request)
    for _ in range(4):
        inbox.advance(WINDOWS[source] / 4)
        assert ["duplicate"] == outcomes(inbox, source, request)
    assert [4] == [row["duplicates"] for row in inbox.events()]


def test_the_window_of_breakcold_is_longer_than_its_retry_schedule(inbox: Inbox) -> None:
    """Attempts that keep the timestamp of the first: the last of them ends within the window."""
    request = inbox.signed("breakcold_v2")
    inbox.advance(BREAKCOLD_SCHEDULE)
    assert ["accepted"] == outcomes(inbox, "breakcold_v2", request)
    assert 4 * BREAKCOLD_SCHEDULE < WINDOWS["breakcold_v2"]


def test_retry_of_standard_webhooks_after_days_is_accepted_or_a_duplicate(inbox: Inbox) -> None:
    """Each attempt is signed anew, so the window says nothing about how late it may come; its id stays."""
    source = inbox.runtime.sources["standard"]
    body = b'{"type": "contact.created", "timestamp": "2026-01-01T00:00:00Z", "data": {}}'

    def attempt(id: str) -> Request:
        return source.sign(source.compose(body, "", id=id, at=inbox.clock()), at=inbox.clock())

    first = attempt("msg_1")
    inbox.advance(3 * 86_400)
    with pytest.raises(NotAuthentic):
        inbox.accept("standard", first)
    assert ["accepted"] == outcomes(inbox, "standard", attempt("msg_1"))
    inbox.advance(3 * 86_400)
    assert ["duplicate", "accepted"] == outcomes(inbox, "standard", attempt("msg_1"), attempt("msg_2"))


def test_retry_beyond_the_window_is_held_where_the_source_holds(inbox: Inbox) -> None:
    """It is refused as ever, and can be taken in when the window is corrected."""
    request = inbox.signed("hold")
    inbox.advance(301)
    with pytest.raises(NotAuthentic):
        inbox.accept("hold", request)
    assert [request] == [item[2] for item in inbox.runtime.archive.held("hold", 0, 10)]


@pytest.mark.parametrize("source", ["github", "roomz"])
def test_captured_body_under_a_fresh_id_is_a_conflict(inbox: Inbox, source: str) -> None:
    """It is stored visibly beside the event that it copies, answered as every event is, and not run."""
    first = captured(inbox, source, x_delivery="1")
    copy = first.with_headers({"x-delivery": "2"})
    assert ["accepted", "conflict", "duplicate"] == outcomes(inbox, source, first, copy, first)
    assert [("conflict", 1, "2"), ("received", None, "1")] == [
        (row["status"], row["conflict_of"], row["key"]) for row in inbox.events()
    ]
    assert 1 == inbox.sweep()


def test_however_many_fresh_ids_are_tried_there_is_one_conflict(inbox: Inbox) -> None:
    """Each captured body makes one row more, which counts the attempts: it cannot fill the disk."""
    for body in range(3):
        first = captured(inbox, "github", {"id": body}, x_delivery=f"{body}")
        copies = [first.with_headers({"x-delivery": f"{body} {n}"}) for n in range(200)]
        assert {"accepted": 1, "conflict": 200} == Counter(outcomes(inbox, "github", first, *copies))
    rows = inbox.events()
    assert [199] * 3 == [row["duplicates"] for row in rows if row["status"] == "conflict"]
    assert 6 == len(rows)


def test_conflict_can_be_run_by_its_owner(tmp_path: Path, handlers: Path) -> None:
    """Two events that are equal but for their ids are possible: `inbox replay ID` runs the second."""
    (handlers / "own.py").write_text(
        "from inbox import handles\n\n@handles('*')\ndef note(event):\n    return event.id\n"
    )
    with Inbox(tmp_path, handlers=handlers, sources={"github": GITHUB}) as inbox:
        first = captured(inbox, "github", x_delivery="1")
        outcomes(inbox, "github", first, first.with_headers({"x-delivery": "2"}))
        inbox.run()
        assert ["conflict", "succeeded"] == [row["status"] for row in inbox.events()]
        assert 1 == inbox.replay(2).created
        inbox.run()
        assert ["succeeded", "succeeded"] == [row["status"] for row in inbox.events()]


def test_second_event_with_another_body_is_accepted(inbox: Inbox) -> None:
    """Only equal content is suspicious; the same id with another body is a conflict as everywhere."""
    one, two = captured(inbox, "github", {"n": 1}, x_delivery="1"), captured(inbox, "github", {"n": 2}, x_delivery="2")
    mixed = captured(inbox, "github", {"n": 3}, x_delivery="2")
    assert ["accepted", "accepted", "conflict"] == outcomes(inbox, "github", one, two, mixed)


def test_captured_body_under_a_known_id_is_a_conflict(inbox: Inbox) -> None:
    """It is a copy of the event whose body it has, not a new content of the event whose id it has."""
    one, two = captured(inbox, "github", {"n": 1}, x_delivery="1"), captured(inbox, "github", {"n": 2}, x_delivery="2")
    assert ["accepted", "accepted", "conflict"] == outcomes(
        inbox, "github", one, two, one.with_headers({"x-delivery": "2"})
    )
    assert 1 == inbox.events()[0]["conflict_of"]


@pytest.mark.parametrize("source", ["github", "roomz"])
@pytest.mark.parametrize("first", [True, False])
def test_id_that_was_taken_away_or_put_there_is_a_conflict(inbox: Inbox, source: str, first: bool) -> None:
    """The key that the body itself gives, its digest or a member, is as suspicious where an unsigned id comes first."""
    full = captured(inbox, source, x_delivery="1")
    bare = full.replace(headers=tuple(pair for pair in full.headers if pair[0] != "x-delivery"))
    requests = (full, bare, bare) if first else (bare, full, full)
    assert ["accepted", "conflict", "conflict"] == outcomes(inbox, source, *requests)


def test_content_is_bound_as_long_as_ids_are_remembered(inbox: Inbox) -> None:
    """With dedupe_for an equal body is believed again under a new id, when it would be under the old one, too."""
    first = captured(inbox, "daily", x_delivery="1")
    second, third = (first.with_headers({"x-delivery": id}) for id in "23")
    assert ["accepted", "conflict"] == outcomes(inbox, "daily", first, second)
    inbox.advance(86_401)
    assert ["accepted", "conflict"] == outcomes(inbox, "daily", third, first)


@pytest.mark.parametrize("source", ["signed_id", "json", "standard"])
def test_id_that_is_signed_is_not_bound(inbox: Inbox, source: str) -> None:
    """Equal bodies under ids that the sender signed, or different ids in the body, are different events."""
    payloads = [{"id": "one"}, {"id": "two" if source == "json" else "one"}]
    requests = [inbox.signed(source, payload) for payload in payloads]
    assert ["accepted", "accepted"] == outcomes(inbox, source, *requests)


def test_fresh_id_in_a_signed_header_is_refused(inbox: Inbox) -> None:
    """Where the id is covered a captured body under another one is not authentic."""
    request = inbox.signed("signed_id")
    with pytest.raises(NotAuthentic):
        inbox.accept("signed_id", request.with_headers({"x-id": "fresh"}))


def test_breakcold_without_an_id_in_its_body_is_bound(inbox: Inbox) -> None:
    """`eventId` is signed; X-Webhook-Delivery-Id, which stands in for it, is not."""
    own = {"event": "record.created", "timestamp": "t", "workspaceId": "w", "data": {"id": "r"}}
    bare = captured(inbox, "breakcold_v2", own)
    fresh = [bare.with_headers({"x-webhook-delivery-id": f"fresh {n}"}) for n in range(3)]
    assert ["accepted", "conflict", "conflict", "conflict"] == outcomes(inbox, "breakcold_v2", bare, *fresh)
    full = captured(inbox, "breakcold_v2", {**own, "eventId": "e"}, x_webhook_delivery_id="1")
    again = full.with_headers({"x-webhook-delivery-id": "2"})
    assert ["accepted", "duplicate"] == outcomes(inbox, "breakcold_v2", full, again)


def test_type_that_nobody_signed_makes_no_new_events(inbox: Inbox) -> None:
    """Rootfi's key covers the type, whose header is not signed: of made-up types only one counts."""
    request = captured(inbox, "rootfi_v4", {"company_id": 1}, x_rootfi_type="SYNC_STARTED")
    made_up = [request.with_headers({"x-rootfi-type": f"type {n}"}) for n in range(20)]
    assert {"accepted": 2, "duplicate": 19} == Counter(outcomes(inbox, "rootfi_v4", request, *made_up))
    completed = request.with_headers({"x-rootfi-type": "SYNC_COMPLETED"})
    assert ["accepted"] == outcomes(inbox, "rootfi_v4", completed)


COVERED = {
    "github": ((), ("header:X-Delivery", "query:id", "path", "path:1")),
    "signed_id": (("header:X-Id", "header:x_id"), ("header:X-Other", "query:id", "path:2")),
    "standard": (("token",), ("header:webhook-id", "header:svix-id", "query:id", "path")),
    "roomz": ((), ("header:X-Id", "query:id", "path")),
    "rootfi_v4": ((), ("header:X-Id", "query:id", "path")),
    "roomle": (("token", "header:X-Id"), ()),
}


@pytest.mark.parametrize("source", COVERED)
def test_covered_is_what_the_credential_covers(inbox: Inbox, source: str) -> None:
    """Members and digest of the body always; headers only where the template names them, whatever the provider."""
    covered, others = COVERED[source]
    provider: Provider = inbox.runtime.sources[source]
    for rule in ("json:/id", "body", *covered):
        assert (rule, True) == (rule, provider.covers(rule))
    for rule in others:
        assert (rule, False) == (rule, provider.covers(rule))
