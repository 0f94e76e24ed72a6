"""One line per request, and an id that leads from the answer to the line, the event and its attempts."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from inbox.core.errors import NotAuthentic, StoreUnavailable
from inbox.core.models import Request
from inbox.receive.access_log import A_SECOND, AccessLog
from inbox.receive.wsgi import create_app
from inbox.testing import SECRET, Inbox
from inbox.verify.event_key import REQUEST_ID

SAMPLE = {"id": "one", "type": "workspace.presence.changed", "timestamp": "2026-01-01T00:00:00Z"}
HANDLER = "from inbox import handles\n@handles('*')\ndef count(event): return event.request.id\n"


@pytest.fixture
def inbox(tmp_path: Path, handlers: Path) -> Iterator[Inbox]:
    (handlers / "own.py").write_text(HANDLER)
    sources: dict[str, dict[str, Any]] = {
        "roomz": {"provider": "roomz"},
        "strict": {"provider": "roomz", "on_invalid": "reject"},
        "hold": {"provider": "roomz", "on_unverified": "hold"},
    }
    with Inbox(tmp_path, handlers=handlers, sources=sources) as made:
        yield made


@pytest.fixture
def client(inbox: Inbox) -> FlaskClient:
    return create_app(inbox.runtime.receiver).test_client()


def post(client: FlaskClient, request: Request, source: str = "roomz") -> Any:
    return client.post(f"/in/{source}", headers=list(request.headers), data=request.body)


def test_the_answer_leads_to_the_event_and_its_attempts(client: FlaskClient, inbox: Inbox, logs: list[Any]) -> None:
    """Answer, event, and what the worker logs have one id; the handler can see it, too."""
    identity = post(client, inbox.signed("roomz")).headers["Inbox-Request-Id"]
    inbox.run()
    (delivery,) = inbox.event(1)["deliveries"]
    assert (identity, f'"{identity}"') == (inbox.event(1)["request_id"], delivery["value"])
    found = [(entry["event"], entry["id"], entry["request"]) for entry in logs if "id" in entry]
    wanted = ["event.accepted", "event.routed", "delivery.succeeded"]
    assert [(name, 1, identity) for name in wanted] == found


def test_the_line_of_an_event_says_everything(client: FlaskClient, inbox: Inbox, logs: list[Any]) -> None:
    """One line, without body and secret."""
    request = inbox.signed("roomz")
    identity = post(client, request).headers["Inbox-Request-Id"]
    (line,) = logs
    assert 0 <= line.pop("ms") < 60_000
    event = inbox.event(1)
    assert {
        "event": "event.accepted", "log_level": "info", "request": identity, "source": "roomz", "id": 1, "status": 200,
        "type": event["type"], "key": event["key"], "size": len(request.body), "remote": "127.0.0.1",
    } == line  # fmt: skip
    assert SECRET not in repr(logs)


def test_the_line_of_a_refusal_says_everything(client: FlaskClient, inbox: Inbox, logs: list[Any]) -> None:
    """The refusal that is remembered has the same id, and the owner reads what is wrong."""
    answer = post(client, inbox.signed("roomz").replace(body=b"{}"))
    (line,), (row,) = logs, inbox.runtime.archive.refusals(None, 10)
    assert answer.headers["Inbox-Request-Id"] == line["request"] == row["request_id"]
    assert ("roomz", 401, "not_authentic", "mismatch", 2, "127.0.0.1", row["diagnosis"]) == tuple(
        line[name] for name in ("source", "status", "code", "reason", "size", "remote", "diagnosis")
    )


def test_the_line_of_a_payload_that_is_wrong_does_not_quote_it(
    client: FlaskClient, inbox: Inbox, logs: list[Any]
) -> None:
    """The owner reads in `inbox refusals` what is wrong; the log has no part of a body."""
    wrong = {**SAMPLE, "data": {"workspaceId": "w", "presenceStatus": ["Zappa"]}}
    for request in (inbox.signed("strict", wrong), inbox.signed("strict", b'{"Zappa": 1, "Zappa": 2}')):
        assert post(client, request, "strict").status_code in (400, 422)
    told = [row["diagnosis"] for row in inbox.runtime.archive.refusals(None, 10)]
    assert [True, True] == ["Zappa" in text for text in told]
    assert "Zappa" not in repr(logs)


def test_the_id_is_ours(client: FlaskClient, inbox: Inbox) -> None:
    """What a sender or proxy calls the request is not believed; ids are in order of time, and none is alike."""
    request = inbox.signed("roomz").with_headers({"Inbox-Request-Id": "theirs", "X-Request-Id": "theirs"})
    ids = []
    for _ in range(3):
        ids.append(post(client, request).headers["Inbox-Request-Id"])
        inbox.advance(1)
    assert all(REQUEST_ID.fullmatch(identity) for identity in ids)
    assert sorted(set(ids)) == ids


def test_answers_without_anything_stored_have_an_id(client: FlaskClient, inbox: Inbox, logs: list[Any]) -> None:
    """503 and 500: the line is all that there is."""
    for error in (StoreUnavailable(), ZeroDivisionError()):

        def fail(event: object, error: Exception = error) -> None:
            raise error

        inbox.runtime.inlet.add_event = fail  # type: ignore[method-assign, assignment]
        answer = post(client, inbox.signed("roomz"))
        assert (answer.headers["Inbox-Request-Id"], answer.status_code) == (logs[-1]["request"], logs[-1]["status"])
    assert ["store.unavailable", "request.failed"] == [entry["event"] for entry in logs]


def test_a_request_that_was_held_keeps_its_id(client: FlaskClient, inbox: Inbox, logs: list[Any]) -> None:
    """The 401 leads to the event that is made of it later."""
    identity = post(client, Request(body=b"x"), "hold").headers["Inbox-Request-Id"]
    ((_, _, held),) = inbox.runtime.archive.held("hold", 0, 10)
    assert (identity, True) == (held.id, logs[0]["held"])


class Second:
    """A clock that stands still."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def refuse(lines: AccessLog, source: str, times: int) -> None:
    for _ in range(times):
        error = NotAuthentic("mismatch", "wrong")
        error.told = {"source": source}
        lines.refused(source, Request(), error, 401, time.perf_counter())


def test_a_flood_of_refusals_is_summed_up(logs: list[Any]) -> None:
    """Ten lines a second and source, then one that says how many more there were; the next second begins anew."""
    clock = Second()
    lines = AccessLog(clock)
    refuse(lines, "a", A_SECOND + 15)
    refuse(lines, "b", 2)
    assert A_SECOND + 2 == len(logs)
    clock.now += 1
    refuse(lines, "b", 1)
    assert [("request.refused", "a", 15), ("request.refused", "b", None)] == [
        (entry["event"], entry["source"], entry.get("more")) for entry in logs[-2:]
    ]


def test_a_flood_that_ends_is_summed_up_all_the_same(logs: list[Any]) -> None:
    """When somebody looks, although nothing comes any more; before the second is over there is nothing to tell."""
    clock = Second()
    lines = AccessLog(clock)
    refuse(lines, "a", A_SECOND + 5)
    lines.look()
    assert A_SECOND == len(logs)
    clock.now += 1
    lines.look()
    lines.look()
    assert (A_SECOND + 1, 5) == (len(logs), logs[-1]["more"])


def test_a_storm_of_503_is_summed_up(logs: list[Any]) -> None:
    """A full disk is not filled with lines about it."""
    lines = AccessLog(Second())
    for _ in range(30):
        lines.refused("a", Request(), StoreUnavailable(), 503, time.perf_counter())
    lines.summarise()
    assert (A_SECOND + 1, 20) == (len(logs), logs[-1]["more"])
