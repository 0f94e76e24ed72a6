"""The status table of the endpoint: for each row status, body, stored state and log."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from inbox.core import errors
from inbox.core.config.settings import ServerSettings
from inbox.core.errors import InboxError, StoreUnavailable
from inbox.core.models import Request
from inbox.receive.body import FORGOTTEN
from inbox.receive.queue_notifier import QueueNotifier
from inbox.receive.receiver import MAX_UNPROVEN_VALUES
from inbox.receive.statuses import STATUSES
from inbox.receive.wsgi import create_app
from inbox.testing import SECRET, Inbox

GOOD = {"id": "one", "type": "workspace.presence.changed", "timestamp": "2026-01-01T00:00:00Z"}
GOOD["data"] = {"workspaceId": "w", "presenceStatus": "Busy"}  # type: ignore[assignment]


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    sources: dict[str, dict[str, Any]] = {
        "roomz": {"provider": "roomz"},
        "strict": {"provider": "roomz", "on_invalid": "reject"},
        "small": {"provider": "roomz", "max_body": 10},
        "teapot": {"provider": "roomz", "ack_status": 202},
        "breakcold": {"provider": "breakcold"},
        "open": {"provider": "unsigned"},
        "wide": {"provider": "roomz", "max_body": 2**21},
        "romify": {"provider": "romify"},
        "slow": {"provider": "hmac", "header": "X-Sig", "signed": "{timestamp}.{body}", "timestamp_header": "X-Time"},
    }
    with Inbox(tmp_path, sources=sources) as made:
        yield made


@pytest.fixture
def client(inbox: Inbox) -> FlaskClient:
    return create_app(inbox.runtime.receiver).test_client()


def post(client: FlaskClient, source: str, request: Request, path: str = "") -> TestResponse:
    return client.open(
        f"/in/{source}{path}",
        method=request.method,
        query_string=request.query,
        headers=list(request.headers),
        data=request.body,
    )


def signed(inbox: Inbox, source: str, body: bytes) -> Request:
    return inbox.signed(source, body)


def refused(inbox: Inbox) -> dict[str, Any]:
    """Return the only refusal."""
    (row,) = inbox.runtime.archive.refusals(None, 10)
    return row


def names(logs: list[Any]) -> list[str]:
    return [entry["event"] for entry in logs]


def test_accepted(client: FlaskClient, inbox: Inbox, logs: list[Any]) -> None:
    """A signed, valid request is stored byte for byte, answered with its id, and wakes the queue."""
    request = inbox.signed("roomz", GOOD)
    answer = post(client, "roomz", request)
    assert (200, {"status": "accepted", "id": 1}) == (answer.status_code, answer.json)
    assert request.body == inbox.runtime.archive.request(1).body
    assert ("received", "one") == (inbox.event(1)["status"], inbox.event(1)["key"])
    assert ("event", 1) == inbox.queue.take()
    assert ["event.accepted"] == names(logs)


def test_ack_status_of_the_source_is_used(client: FlaskClient, inbox: Inbox) -> None:
    """A source may want another 2xx for its acknowledgements."""
    assert 202 == post(client, "teapot", inbox.signed("teapot", GOOD)).status_code


def test_duplicate_is_200_and_not_stored_again(client: FlaskClient, inbox: Inbox, logs: list[Any]) -> None:
    """The same event again is answered with the id of the first and counted."""
    for expected in ("accepted", "duplicate"):
        answer = post(client, "roomz", inbox.signed("roomz", GOOD))
        assert (200, {"status": expected, "id": 1}) == (answer.status_code, answer.json)
    assert [1] == [event["duplicates"] for event in inbox.events()]
    assert ["event.accepted", "event.duplicate"] == names(logs)


def test_duplicate_of_an_event_that_nobody_routed_wakes_the_queue_again(client: FlaskClient, inbox: Inbox) -> None:
    """A lost wake-up and a retry of the sender together lose nothing."""
    post(client, "roomz", inbox.signed("roomz", GOOD))
    inbox.queue.lose()
    post(client, "roomz", inbox.signed("roomz", GOOD))
    assert ("event", 1) == inbox.queue.take()


def test_same_key_with_another_body_is_a_visible_conflict(client: FlaskClient, inbox: Inbox, logs: list[Any]) -> None:
    """The second body is kept, answered 200, and not run by itself."""
    post(client, "roomz", inbox.signed("roomz", GOOD))
    inbox.queue.lose()
    other = {**GOOD, "timestamp": "2026-02-02T00:00:00Z"}
    answers = [post(client, "roomz", inbox.signed("roomz", other)) for _ in range(2)]
    kept = inbox.events(status="conflict")[0]["id"]
    assert [(200, {"status": "conflict", "id": kept})] * 2 == [(answer.status_code, answer.json) for answer in answers]
    assert [("conflict", 1, 1), ("received", None, 0)] == [
        (event["status"], event["conflict_of"], event["duplicates"]) for event in inbox.events()
    ]
    assert None is inbox.queue.take()
    assert "event.conflict" in names(logs)


def test_unknown_source_is_404(client: FlaskClient, inbox: Inbox, logs: list[Any]) -> None:
    """An address that is not configured is refused and remembered in one bounded place for all of them."""
    answer = client.post("/in/nobody", data=b"{}")
    assert (404, {"error": "unknown_source"}) == (answer.status_code, answer.json)
    assert ("", "unknown_source") == (refused(inbox)["source"], refused(inbox)["reason"])
    assert "nobody" in refused(inbox)["diagnosis"]
    assert ["request.refused"] == names(logs)


@pytest.mark.parametrize("path", ["/", "/in", "/in/", "/nothing", "/in//roomz"])
def test_paths_that_are_no_address_are_404(client: FlaskClient, inbox: Inbox, path: str) -> None:
    """What is not an address of ours is 404 in JSON."""
    answer = client.post(path, data=b"{}")
    assert 404 == answer.status_code
    assert "error" in (answer.json or {})
    assert [] == inbox.events()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_wrong_method_is_405(client: FlaskClient, inbox: Inbox, method: str) -> None:
    """A method that the source does not take is refused with the methods it takes."""
    answer = client.open("/in/roomz", method=method)
    assert (405, "POST") == (answer.status_code, answer.headers["Allow"])
    assert method == "HEAD" or {"error": "method_not_allowed"} == answer.json
    assert "method_not_allowed" == refused(inbox)["code"]


WELL_FORMED = {"Roomz-Signature": "A" * 86 + "=="}
"""What could be a signature, of a stranger."""


class Endless:
    """A body that goes on for as long as it is read."""

    taken = 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "an unlimited read"
        self.taken += size
        return b"x" * size


@pytest.mark.parametrize(("length", "taken"), [(FORGOTTEN, FORGOTTEN), (FORGOTTEN + 1, 0)])
def test_a_declared_length_over_max_body_is_413(client: FlaskClient, inbox: Inbox, length: int, taken: int) -> None:
    """The Content-Length is enough to refuse; what is not too long is read and forgotten, for the sender's sake."""
    body = Endless()
    overrides = {"wsgi.input": body, "CONTENT_LENGTH": str(length)}
    answer = client.post("/in/small", headers=WELL_FORMED, environ_overrides=overrides)
    assert (413, {"error": "body_too_large"}) == (answer.status_code, answer.json)
    assert "max_body = 10" in refused(inbox)["diagnosis"]
    assert ([], taken) == (inbox.events(), body.taken)


def test_an_undeclared_length_is_read_no_further_than_max_body(client: FlaskClient, inbox: Inbox) -> None:
    """A chunked body is refused one byte after the limit, however long it goes on."""

    stream = Endless()
    overrides = {"wsgi.input": stream, "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    answer = client.post("/in/small", headers=WELL_FORMED, environ_overrides=overrides)
    assert 413 == answer.status_code
    assert 11 == stream.taken


class Gated:
    """A body whose second part comes when it is told to."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._parts = [b"x" * 200, b"x" * 200]

    def read(self, size: int = -1) -> bytes:
        if len(self._parts) == 1:
            self.begun.set()
            assert self.go_on.wait(10)
        return self._parts.pop(0) if self._parts else b""


def test_unproven_body_that_stalls_is_taken_back_for_others(inbox: Inbox) -> None:
    """As on the event loop; a thread that reads finds out with its next part."""
    app, body = create_app(inbox.runtime.receiver, ServerSettings(max_in_flight_bytes=600)), Gated()
    overrides: dict[str, Any] = {"wsgi.input": body, "CONTENT_LENGTH": "400"}
    with ThreadPoolExecutor(1) as pool:
        stalled = pool.submit(app.test_client().post, "/in/roomz", headers=WELL_FORMED, environ_overrides=overrides)
        assert body.begun.wait(10)
        assert 200 == post(app.test_client(), "roomz", inbox.signed("roomz", GOOD)).status_code
        body.go_on.set()
        answer = stalled.result(10)
    assert (503, {"error": "unavailable"}, "5") == (answer.status_code, answer.json, answer.headers["Retry-After"])


def test_many_values_without_any_proof_are_quarantined(inbox: Inbox, client: FlaskClient) -> None:
    """They are kept, and not made into objects; with a proof they are read."""
    body = b"[" + b"[]," * (MAX_UNPROVEN_VALUES // 2) + b"[]]"
    for source, expected in (("open", True), ("wide", False)):
        assert 200 == post(client, source, inbox.signed(source, body)).status_code
        messages = [item["message"] for item in inbox.events()[0]["violations"] or ()]
        assert expected == any("values" in message for message in messages)


@pytest.mark.parametrize("signature", ["", "!!"])
@pytest.mark.parametrize(("length", "taken"), [(FORGOTTEN, FORGOTTEN), (FORGOTTEN + 1, 0)])
def test_what_its_headers_refuse_is_read_up_to_a_limit_and_not_kept(
    client: FlaskClient, inbox: Inbox, signature: str, length: int, taken: int
) -> None:
    """401 whatever the body; it is read and thrown away, so that its sender can write to the end."""
    body = Endless()
    overrides = {"wsgi.input": body, "CONTENT_LENGTH": str(length)}
    answer = client.post("/in/small", headers={"Roomz-Signature": signature}, environ_overrides=overrides)
    assert (401, {"error": "not_authentic"}) == (answer.status_code, answer.json)
    assert ([], taken, 0) == (inbox.events(), body.taken, refused(inbox)["size"])


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing"),
        ({"Roomz-Signature": ""}, "missing"),
        ({"Roomz-Signature": "!!"}, "malformed"),
        ({"Roomz-Signature": "AAAA"}, "malformed"),
        ({"Roomz-Signature": "A" * 86 + "=="}, "mismatch"),
        ({"Roomz-Signature": "é" * 88}, "malformed"),
    ],
)
def test_what_is_not_authentic_is_401_and_says_nothing(
    client: FlaskClient, inbox: Inbox, logs: list[Any], headers: dict[str, str], reason: str
) -> None:
    """The sender learns only that it was refused; the owner gets reason and diagnosis."""
    answer = client.post("/in/roomz", data=json.dumps(GOOD), headers=headers)
    assert (401, {"error": "not_authentic"}) == (answer.status_code, answer.json)
    row = refused(inbox)
    assert ("roomz", "not_authentic", reason) == (row["source"], row["code"], row["reason"])
    assert row["diagnosis"]
    assert [] == inbox.events()
    assert [("request.refused", reason)] == [(entry["event"], entry["reason"]) for entry in logs]


def test_stale_signature_is_401(client: FlaskClient, inbox: Inbox) -> None:
    """A signed time beyond the tolerance is refused, and the diagnosis says how old it is."""
    request = inbox.signed("slow", GOOD)
    inbox.advance(301)
    assert 401 == post(client, "slow", request).status_code
    assert ("stale", True) == (refused(inbox)["reason"], "301 s ago" in refused(inbox)["diagnosis"])


NOT_JSON = {
    "empty": b"",
    "white space": b" \n",
    "half": b'{"id": ',
    "text": b"Hello, World!",
    "NaN": b'{"id": NaN}',
    "twice the same key": b'{"id": "1", "id": "2"}',
    "not UTF-8": b'{"id": "\xff"}',
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "UTF-16": '{"id": "1"}'.encode("utf-16"),
    "form": b"a=1&b=2",
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_authentic_but_malformed_is_quarantined(client: FlaskClient, inbox: Inbox, logs: list[Any], name: str) -> None:
    """It is stored byte for byte with the reason, answered 200, and not run."""
    answer = post(client, "roomz", signed(inbox, "roomz", NOT_JSON[name]))
    assert (200, {"status": "quarantined", "id": 1}) == (answer.status_code, answer.json)
    assert NOT_JSON[name] == inbox.runtime.archive.request(1).body
    assert ("quarantined", 1) == (inbox.event(1)["status"], len(inbox.event(1)["violations"]))
    assert None is inbox.queue.take()
    assert ["event.quarantined"] == names(logs)


@pytest.mark.parametrize("name", NOT_JSON)
def test_malformed_is_400_where_the_source_rejects(client: FlaskClient, inbox: Inbox, name: str) -> None:
    """With on_invalid = "reject" the sender is told, and only the refusal is remembered."""
    answer = post(client, "strict", signed(inbox, "strict", NOT_JSON[name]))
    assert (400, {"error": "malformed"}) == (answer.status_code, answer.json)
    assert ([], "malformed") == (inbox.events(), refused(inbox)["code"])


WRONG = {**GOOD, "data": {"workspaceId": 7, "presenceStatus": "Busy"}}


def test_authentic_but_invalid_is_quarantined_with_its_violations(client: FlaskClient, inbox: Inbox) -> None:
    """A schema violation is stored with the place and what is wrong there, and answered 200."""
    answer = post(client, "roomz", inbox.signed("roomz", WRONG))
    assert (200, "quarantined") == (answer.status_code, (answer.json or {})["status"])
    assert ["/data/workspaceId"] == [item["pointer"] for item in inbox.event(1)["violations"]]


def test_invalid_is_422_with_the_violations_where_the_source_rejects(client: FlaskClient, inbox: Inbox) -> None:
    """With on_invalid = "reject" the sender learns what is wrong."""
    answer = post(client, "strict", inbox.signed("strict", WRONG))
    assert (422, "invalid") == (answer.status_code, (answer.json or {})["error"])
    assert ["/data/workspaceId"] == [item["pointer"] for item in (answer.json or {})["violations"]]
    assert ([], "invalid") == (inbox.events(), refused(inbox)["code"])


@pytest.mark.parametrize(
    "payload",
    [
        {**GOOD, "type": "something.new", "data": {"more": 1}},
        {**GOOD, "extra": {"a": [1, 2, {"b": None}]}},
        {**GOOD, "id": "nul \x00 and \ud800 surrogate"},
        {**GOOD, "id": "k" * 10_000},
        {**GOOD, "type": "t" * 10_000},
        {**GOOD, "type": "../../etc/passwd"},
    ],
    ids=["unknown type", "extra fields", "unprintable id", "long id", "long type", "path as type"],
)
def test_odd_but_readable_payloads_are_stored(client: FlaskClient, inbox: Inbox, payload: dict[str, Any]) -> None:
    """Unknown types, more fields and odd characters are no reason to refuse; nothing becomes a 500."""
    answer = post(client, "roomz", signed(inbox, "roomz", json.dumps(payload).encode()))
    assert 200 == answer.status_code
    event = inbox.event(1)
    assert event["status"] in ("received", "quarantined")
    assert len(event["key"]) <= 200
    assert len(event["type"]) <= 200
    assert event["key"].isprintable()


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "é", "x" * 5000, "/;;="]
)
def test_the_content_type_does_not_matter(client: FlaskClient, inbox: Inbox, content_type: str) -> None:
    """A body that is JSON is read as JSON, whatever it is called, and its bytes stay as they are."""
    request = inbox.signed("roomz", GOOD).with_headers({"Content-Type": content_type})
    assert 200 == post(client, "roomz", request).status_code
    assert request.body == inbox.runtime.archive.request(1).body


def test_a_body_secret_is_nowhere(client: FlaskClient, inbox: Inbox, logs: list[Any], tmp_path: Path) -> None:
    """A secret in the body is in no table, no log and no answer; the digest of the original body is kept."""
    request = inbox.signed("breakcold")
    assert SECRET.encode() in request.body
    post(client, "breakcold", request)
    post(client, "breakcold", request.replace(body=request.body.replace(SECRET.encode(), b"wrong-" + SECRET.encode())))
    inbox.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("inbox.db*"))
    assert SECRET.encode() not in stored
    assert b"[redacted]" in stored
    assert SECRET not in repr(logs)


def test_a_header_secret_is_nowhere(client: FlaskClient, inbox: Inbox, logs: list[Any], tmp_path: Path) -> None:
    """A secret in a header is in no table and no log, neither accepted nor refused."""
    request = inbox.signed("romify")
    assert 200 == post(client, "romify", request).status_code
    guess = request.with_headers({"X-Romify-Secret": f"{SECRET} guess"})
    assert 401 == post(client, "romify", guess).status_code
    inbox.close()
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in tmp_path.glob("inbox.db*"))
    assert SECRET not in repr(logs)


def test_a_failing_queue_is_logged_and_not_answered(client: FlaskClient, inbox: Inbox, logs: list[Any]) -> None:
    """The event is on disk, so the answer is 200; the sweep finds it later."""

    def broken() -> None:
        raise OSError("no space for the queue")

    inbox.runtime.receiver._wake = wakes = QueueNotifier(broken)
    assert 200 == post(client, "roomz", inbox.signed("roomz", GOOD)).status_code
    wakes.close()
    assert ["event.accepted", "queue.wake_failed"] == sorted(names(logs))
    assert 1 == inbox.sweep()


def test_a_locked_store_is_503_and_nothing_is_acknowledged(client: FlaskClient, inbox: Inbox, logs: list[Any]) -> None:
    """While somebody else holds the lock: 503 with Retry-After and nothing stored; then all is well."""
    request = inbox.signed("roomz", GOOD)
    inbox.runtime.inlet.probe()
    inbox.runtime.inlet._connection._patience = 0.05  # type: ignore[attr-defined]
    other = sqlite3.connect(inbox.runtime.settings.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = post(client, "roomz", request)
    other.execute("ROLLBACK")
    other.close()
    assert (503, {"error": "unavailable"}) == (answer.status_code, answer.json)
    assert int(answer.headers["Retry-After"]) > 0
    assert ([], "store.unavailable") == (inbox.events(), logs[-1]["event"])
    assert (200, "accepted") == ((again := post(client, "roomz", request)).status_code, (again.json or {})["status"])


def test_a_full_store_is_503_and_nothing_is_half_written(client: FlaskClient, inbox: Inbox) -> None:
    """SQLite has no page left: 503, no row, and accepted again when there is space."""
    inbox.runtime.inlet.probe()
    database = inbox.runtime.inlet._connection.database.conn  # type: ignore[attr-defined]
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages}")
    request = inbox.signed("roomz", {**GOOD, "note": "x" * 500_000})
    assert 503 == post(client, "roomz", request).status_code
    assert [] == inbox.events()
    database.execute("PRAGMA max_page_count = 1000000")
    assert 200 == post(client, "roomz", request).status_code


def test_a_refusal_that_cannot_be_recorded_is_still_a_401(client: FlaskClient, inbox: Inbox, logs: list[Any]) -> None:
    """The answer to a stranger does not depend on the disk."""

    def full(refusal: object) -> None:
        raise StoreUnavailable

    inbox.runtime.inlet.add_refusal = full  # type: ignore[method-assign]
    assert 401 == client.post("/in/roomz", data=b"{}").status_code
    assert [("request.refused", str(StoreUnavailable()))] == [(log["event"], log["not_recorded"]) for log in logs]


def test_a_bug_is_500_and_logged_with_its_traceback(client: FlaskClient, inbox: Inbox, logs: list[Any]) -> None:
    """What nobody thought of acknowledges nothing and is not silent."""

    def bug(event: object) -> None:
        raise ZeroDivisionError

    inbox.runtime.inlet.add_event = bug  # type: ignore[method-assign, assignment]
    answer = post(client, "roomz", inbox.signed("roomz", GOOD))
    assert (500, {"error": "internal_error"}) == (answer.status_code, answer.json)
    assert isinstance(logs[-1]["exc_info"], ZeroDivisionError)


def test_health_and_readiness(client: FlaskClient, inbox: Inbox) -> None:
    """/healthz needs nothing; /readyz writes to the store and is 503 when that fails."""
    assert (200, 200) == (client.get("/healthz").status_code, client.get("/readyz").status_code)

    def broken() -> None:
        raise StoreUnavailable

    inbox.runtime.inlet.probe = broken  # type: ignore[method-assign]
    failing = create_app(inbox.runtime.receiver).test_client()
    assert (200, 503) == (failing.get("/healthz").status_code, failing.get("/readyz").status_code)


def test_the_client_address_is_believed_only_through_trusted_proxies(inbox: Inbox) -> None:
    """X-Forwarded-For counts only as many hops as there are proxies of ours."""
    forwarded = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
    for proxies in (0, 1, 2):
        create_app(inbox.runtime.receiver, ServerSettings(trusted_proxies=proxies)).test_client().post(
            "/in/roomz", headers=forwarded
        )
    assert ["203.0.113.9", "198.51.100.7", "127.0.0.1"] == [
        row["remote"] for row in inbox.runtime.archive.refusals("roomz", 10)
    ]


def test_every_error_has_a_status() -> None:
    """The table of statuses is complete: every refusal and every store error, and nothing else."""

    def leaves(cls: type[InboxError]) -> set[type[InboxError]]:
        below = cls.__subclasses__()
        return set().union(*map(leaves, below)) if below else {cls}

    raised = leaves(errors.Refused) | leaves(errors.StoreError) | {errors.StoreUnusable}
    assert raised == set(STATUSES)
    assert all(400 <= status <= 503 for status in STATUSES.values())


def test_get_and_delete_carry_their_data_in_the_query(client: FlaskClient, inbox: Inbox) -> None:
    """Romify may send GET: the query is the payload, and the order of its parameters does not make another event."""
    headers = {"X-Romify-Secret": SECRET}
    first = client.get("/in/romify/EVENT_STARTS?a=1&b=2", headers=headers)
    again = client.get("/in/romify/EVENT_STARTS?b=2&a=1", headers=headers)
    assert ["accepted", "duplicate"] == [(answer.json or {})["status"] for answer in (first, again)]
    event = inbox.event(1)
    assert ("EVENT_STARTS", "a=1&b=2") == (event["type"], event["request"]["query"])
    assert {"a": "1", "b": "2"} == inbox.runtime.read("romify", inbox.runtime.archive.request(1))
