"""The story of an event: everything about it, and a clear answer where something of it is gone."""

import json
from typing import Any

import pytest

from inbox.core.errors import NotFound
from inbox.core.models import Request
from inbox.store.protocols import EVENT_STATUSES, Filter
from inbox.store.protocols_retention import What
from inbox.testing import NOW, Inbox
from inbox.ui.services.event_detail import story
from tests.support.stores import connection_of
from tests.ui.services.conftest import FAILING, receiver_of


def whats(found: dict[str, Any]) -> list[str]:
    return [entry["what"] for entry in found["timeline"]]


def test_event_that_was_handled(desk: Inbox) -> None:
    """What verified it, payload, headers without secrets, and what became of it in order."""
    number = desk.receive("roomz", type="workspace.presence.changed").id
    desk.advance(2)
    desk.run()
    found = story(desk.runtime, number)
    assert ("roomz", "succeeded", {"scheme": "hmac", "secret": 1}) == (
        found["source"], found["status"], found["verified"],
    )  # fmt: skip
    assert ("json", "workspace.presence.changed") == (found["payload"]["kind"], found["payload"]["value"]["type"])
    assert ["content-type", "application/json"] in found["request"]["headers"]
    assert ["received", "answered", "routed", "attempt", "finished"] == whats(found)
    assert [NOW, NOW, NOW + 2, NOW + 2, NOW + 2] == [entry["at"] for entry in found["timeline"]]
    assert ("own.one", 1, "succeeded", 0.0, None) == tuple(
        found["timeline"][3][name] for name in ("handler", "number", "result", "duration", "next_at")
    )
    assert '{"n": 1}' == found["timeline"][4]["value"]
    assert ([], [], [], None) == (found["notes"], found["violations"], found["conflicts"], found["schema"])


def test_failures_show_traceback_and_the_next_run(desk: Inbox) -> None:
    """While it is retried, when; then that it is dead; a replay says who wanted it."""
    number = desk.receive("open", FAILING).id
    desk.run()
    attempt = story(desk.runtime, number)["timeline"][-1]
    assert ("attempt", "error", True) == (attempt["what"], attempt["result"], NOW < attempt["next_at"] <= NOW + 60)
    assert attempt["error"].endswith("ValueError: the sun is in the way\n")
    desk.advance(61)
    desk.sweep()
    desk.run()
    found = story(desk.runtime, number)
    assert ["received", "answered", "routed", "attempt", "attempt", "finished"] == whats(found)
    assert ("dead", None) == (found["timeline"][-1]["status"], found["timeline"][-2]["next_at"])
    desk.advance(1)
    desk.replay(number)
    replayed, waiting = story(desk.runtime, number)["timeline"][-2:]
    assert ("replayed", "by test", ["own.fail"]) == (replayed["what"], replayed["text"], replayed["handlers"])
    assert ("waiting", "pending", NOW + 62) == (waiting["what"], waiting["status"], waiting["next_at"])


def test_violations_stand_at_their_place(desk: Inbox) -> None:
    """Each with what is there, also where nothing is; and the schema's file."""
    number = desk.receive("open", {"id": "o1", "type": "order", "items": [1, {"a~/b": "x"}, "two"]}).id
    found = story(desk.runtime, number)
    assert "unsigned/order.json" == found["schema"]
    assert [("", True), ("/items/1", True), ("/items/2", True)] == [
        (each["pointer"], each["found"]) for each in found["violations"]
    ]
    assert [{"a~/b": "x"}, "two"] == [each["value"] for each in found["violations"][1:]]
    assert found["notes"][0].startswith("It is quarantined: it was answered 2xx")
    assert "2xx, as quarantined" == found["timeline"][1]["text"]


def test_duplicates_and_conflicts(desk: Inbox) -> None:
    """Copies are counted; of a conflict both sides lead to the other, with what differs."""
    before = {"id": "c", "type": "t", "n": 1, "gone": [1, 2], "a/b": {"x": None}}
    after = {"id": "c", "type": "t", "n": True, "gone": [1], "a/b": {"x": None}, "new": {"y": 1}}
    first = desk.receive("open", before).id
    desk.advance(5)
    desk.receive("open", before)
    other = desk.receive("open", after).id
    changes = [
        {"pointer": "/n", "kind": "changed", "before": 1, "after": True},
        {"pointer": "/gone/1", "kind": "removed", "before": 2, "after": None},
        {"pointer": "/new", "kind": "added", "before": None, "after": {"y": 1}},
    ]
    shown, conflict = story(desk.runtime, first), story(desk.runtime, other)
    assert (1, NOW + 5) == (shown["duplicates"], shown["last_duplicate_at"])
    assert ["received", "answered", "duplicate"] == whats(shown)
    assert [(other, "other", changes)] == [(row["id"], row["role"], row["changes"]) for row in shown["conflicts"]]
    assert [(first, "first", changes)] == [(row["id"], row["role"], row["changes"]) for row in conflict["conflicts"]]
    assert conflict["notes"][0].startswith("It has the key of another event")
    assert (None, other, first, None) == (shown["previous"], shown["next"], conflict["previous"], conflict["next"])


def test_neighbours_are_of_the_same_source(desk: Inbox) -> None:
    """The ids before and after, not those of others."""
    numbers = [
        desk.receive(source, {"id": str(n), "type": "t"}).id for n, source in enumerate(["open", "roomz", "open"])
    ]
    assert [(None, numbers[2]), (None, None), (numbers[0], None)] == [
        (found["previous"], found["next"]) for found in (story(desk.runtime, number) for number in numbers)
    ]


@pytest.mark.parametrize(
    ("body", "kind", "problem"),
    [
        (b"", "empty", "the body is empty"),
        (b"\xff\x00\x01", "binary", "the body is not UTF-8"),
        (b"a\x00b", "binary", "the body is not JSON"),
        ("grün\n".encode() * 9000, "text", "the body is not JSON"),
        (b'{"a": NaN}', "text", "the body is not JSON: NaN"),
        (b"[" * 3000, "text", "the body is JSON nested deeper"),
        (b'{"a": 1, "a": 2}', "text", "the body is JSON with the key 'a' twice"),
    ],
)
def test_bodies_that_are_no_json(desk: Inbox, body: bytes, kind: str, problem: str) -> None:
    """Shown as text or as hex digits, bounded, with the reason."""
    payload = story(desk.runtime, desk.receive("open", body).id)["payload"]
    assert (kind, len(body), None) == (payload["kind"], payload["size"], payload["value"])
    assert payload["problem"].startswith(problem)
    assert payload["shown"] <= 16 * 1024
    text = payload["text"].encode() if kind == "text" else bytes.fromhex(payload["hex"] or "")
    assert body[: payload["shown"]] == text


def test_large_payloads_are_decoded(desk: Inbox) -> None:
    """Up to the default limit of a body, 1 MiB; a place in it is cut."""
    number = desk.receive("open", {"id": "b", "type": "order", "items": ["x" * 1_000_000]}).id
    found = story(desk.runtime, number)
    assert 1_000_000 == len(found["payload"]["value"]["items"][0])
    value = row["value"] if (row := found["violations"][1]) else ""
    assert (True, "(1000000 characters)") == (len(value) < 2100, value[-20:])


def test_query_is_the_payload_of_a_get(desk: Inbox) -> None:
    """Of a source that takes GET, what stands in the address."""
    object.__setattr__(desk.runtime.sources["open"], "methods", ("GET", "POST"))
    number = desk.accept("open", Request("GET", query="id=q1&type=t")).id
    assert {"id": "q1", "type": "t"} == story(desk.runtime, number)["payload"]["value"]


def test_unknown_and_pruned_events_are_not_found(desk: Inbox) -> None:
    """With a sentence that tells the two apart; one without its body is still shown."""
    number = desk.receive("open", {"id": "p", "type": "x"}).id
    desk.run()
    keeping = desk.runtime.keeping
    keeping.prune(What("bodies", "open", NOW + 1, EVENT_STATUSES), [number], NOW + 9)
    found = story(desk.runtime, number)
    assert ("none", None) == (found["payload"]["kind"], found["request"])
    assert found["notes"][0].startswith("Its body was pruned at 2026-01-01T00:00:09.000Z")
    assert "pruned" == whats(found)[-1]
    for kind in ("attempts", "events"):
        keeping.prune(What(kind, "open", NOW + 1, EVENT_STATUSES), [number], NOW + 9)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="was pruned: only its key is left"):
        story(desk.runtime, number)
    with pytest.raises(NotFound, match="there is no event 99"):
        story(desk.runtime, 99)
    keeping.close()


def test_body_that_vanished_is_told(desk: Inbox) -> None:
    """As after a damage: everything else is shown, also of its conflict."""
    first = desk.receive("open", {"id": "v", "type": "x"}).id
    other = desk.receive("open", {"id": "v", "type": "y"}).id
    with connection_of(desk.runtime.archive).write() as connection:
        connection.execute("DELETE FROM bodies WHERE event_id = ?", (first,))
    found = story(desk.runtime, first)
    assert "Its body cannot be shown: there is no body of an event" in found["notes"][0]
    assert "the body of this event is gone" in found["conflicts"][0]["problem"]
    assert "there is no body" in story(desk.runtime, other)["conflicts"][0]["problem"]


def test_kept_events_say_by_whom(desk: Inbox) -> None:
    """And why."""
    number = desk.receive("open", {"id": "k", "type": "x"}).id
    desk.runtime.keeping.keep(Filter(), [number], at=NOW, who="ann", why="audit")
    desk.runtime.keeping.close()
    found = story(desk.runtime, number)
    assert "ann keeps it since 2026-01-01T00:00:00.000Z: audit. Retention does not touch it." in found["notes"]
    assert {"at": NOW, "who": "ann", "why": "audit"} == found["kept"]


def test_sealed_and_erased_events(sealed: Inbox) -> None:
    """With the key it is as any other; without, everything but its content; erased, that it is gone for ever."""
    number = sealed.receive("open", {"id": "s", "type": "x"}).id
    assert {"id": "s", "type": "x"} == story(sealed.runtime, number)["payload"]["value"]
    locked = receiver_of(sealed)
    object.__setattr__(locked.settings.inbox, "seal_key", ())
    found = story(locked, number)
    assert ("none", None) == (found["payload"]["kind"], found["request"])
    assert "is sealed, and inbox.seal_key is not set" in found["notes"][0]
    locked.watching.close()
    locked.close()
    erasing = sealed.runtime.erasing
    erasing.erase([number], erasing.begin(at=NOW, who="ann", why="", selection=""), NOW + 5)
    found = story(sealed.runtime, number)
    assert found["notes"][0].startswith("It was erased at 2026-01-01T00:00:05.000Z: its content is gone for ever")
    assert ("none", "erased") == (found["payload"]["kind"], whats(found)[-1])
    erasing.close()
    sealed.runtime.sealer.close()


def test_a_story_is_json(desk: Inbox) -> None:
    """The JSON endpoints give it as it is."""
    number = desk.receive("open", FAILING).id
    desk.run()
    runtime = receiver_of(desk)
    found = story(runtime, number)
    assert found == json.loads(json.dumps(found))
    assert "registry" not in vars(runtime)
    runtime.watching.close()
    runtime.close()
