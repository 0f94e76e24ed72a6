"""What a program is told and can do under /inbox/api/; each answer here is compared with the document, too."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from structlog.testing import capture_logs

from inbox.core.config.settings import ServerSettings
from inbox.core.errors import NotAuthentic
from inbox.core.models import Request
from inbox.receive.admission import AdmissionControl
from inbox.receive.wsgi_bridge import MAX_FORM, BufferedWsgi
from inbox.store.filters import DELIVERY_STATUSES, EVENT_STATUSES
from inbox.store.protocols_actions import ACTION_KINDS, ACTION_STATES, PAUSE_KINDS
from inbox.testing import Inbox
from inbox.ui.api.blueprint import METHODS
from inbox.ui.api.document import document
from inbox.ui.app import alone
from inbox.ui.services import accounts
from tests.support.wire import Line, Sent
from tests.ui.conftest import HANDLERS, Reader
from tests.ui.programs import BASE, STRICT, Program, stocked

REPAIRED = HANDLERS.replace('raise ValueError(event.payload["why"])', 'return "done"')


@pytest.fixture
def program(inbox: Inbox) -> Program:
    """A program with a token; nobody can log in."""
    return Program(alone(inbox.runtime), accounts.add_token(inbox.runtime, "deploy"))


@pytest.fixture
def failed(tmp_path: Path) -> Iterator[Inbox]:
    """An inbox with events that did not succeed."""
    with stocked(tmp_path) as made:
        yield made


@pytest.fixture
def worker(failed: Inbox) -> Program:
    """A program that does something about them."""
    return Program(alone(failed.runtime), accounts.add_token(failed.runtime, "deploy"))


@pytest.fixture(scope="module")
def asker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A program that changes nothing in an inbox with events that did not succeed."""
    with stocked(tmp_path_factory.mktemp("inbox")) as made:
        made.index()
        yield Program(alone(made.runtime), accounts.add_token(made.runtime, "deploy"))


def repair(inbox: Inbox, folder: Path) -> None:
    """Let the handler that failed succeed from now on."""
    (folder / "own" / "own.py").write_text(REPAIRED)
    inbox.reload()


def test_endpoints_are_off_until_there_is_a_token_or_a_password(inbox: Inbox) -> None:
    """Whoever is on this machine is told what to do; then it is 401 without a token."""
    stranger = Program(alone(inbox.runtime))
    here = stranger.get("/overview", 404)
    there = stranger.get("/overview", 404, environ_overrides={"REMOTE_ADDR": "192.0.2.1"})
    assert [True, False] == ["inbox admin add-token" in said["message"] for said in (here, there)]
    assert [404, 404] == [stranger.ask(method, "/nowhere").status_code for method in ("GET", "PUT")]
    accounts.add_token(inbox.runtime, "deploy")
    assert "unauthorized" == stranger.get("/overview", 401)["error"]
    accounts.remove_token(inbox.runtime, "deploy")
    assert "not_found" == stranger.get("/overview", 404)["error"]
    accounts.set_password(inbox.runtime, "admin", "a password of the owner")
    assert "unauthorized" == stranger.get("/overview", 401)["error"]


def test_a_token_is_enough_and_ends_when_it_is_removed(program: Program, inbox: Inbox) -> None:
    """The pages stay off meanwhile; the store knows when it was used."""
    assert ["open", "roomz"] == [row["source"] for row in program.get("/overview")["sources"]]
    assert 404 == Reader(program.client.application).get("/inbox/", headers=program.headers).status_code
    assert [inbox.clock()] == [row["last_used_at"] for row in inbox.runtime.access.tokens()]
    accounts.add_token(inbox.runtime, "other")
    accounts.remove_token(inbox.runtime, "deploy")
    program.get("/overview", 401)


@pytest.mark.parametrize("given", ["Bearer wit_wrong", "Bearer ", "Bearer", "Basic YTpi", "wit_", "\xe9"])
def test_wrong_tokens_are_refused(program: Program, given: str) -> None:
    """401 says what to send; the log has a line without it."""
    with capture_logs() as logs:
        answer = program.ask("GET", "/overview", headers={"Authorization": given})
    assert (401, "Bearer") == (answer.status_code, answer.headers["WWW-Authenticate"])
    assert "Authorization: Bearer wit_…" in answer.json["message"]
    assert [{"event": "token.refused", "remote": "127.0.0.1", "log_level": "warning"}] == logs


def test_who_tries_tokens_has_to_wait(program: Program) -> None:
    """The eleventh wrong one of an address is a 429; right ones and other addresses are answered as ever."""
    wrong = {"headers": {"Authorization": "Bearer wit_wrong"}}
    tries = [program.ask("GET", "/overview", **wrong) for _ in range(11)]
    assert [401] * 10 + [429] == [answer.status_code for answer in tries]
    assert ("300", "too_many_tries") == (tries[-1].headers["Retry-After"], tries[-1].json["error"])
    program.get("/overview")
    program.get("/overview", 401, environ_overrides={"REMOTE_ADDR": "192.0.2.7"}, **wrong)


@pytest.mark.parametrize(
    ("base", "status"),
    [("https://hooks.example.com", 200), ("http://hooks.example.com", 403), ("http://[::1]:8000", 200)],
)
def test_no_token_crosses_a_network_in_the_clear(program: Program, base: str, status: int) -> None:
    """Over plain HTTP only on this machine."""
    other = Program(program.client.application, base=base)
    other.get("/overview", status, headers=program.headers)


def test_a_browser_changes_something_only_with_its_csrf_token(reader: Reader, owned: Inbox) -> None:
    """It may look with its login; what it does is recorded with its user."""
    browser = Program(reader.client.application)
    browser.client = reader.client
    owned.receive("roomz")
    assert [1] == [row["id"] for row in browser.get("/events")["events"]]
    new = {"kind": "replay", "ids": [1]}
    assert "forbidden" == browser.post("/actions", new, 403)["error"]
    assert "forbidden" == browser.post("/actions", new, 403, headers={"X-CSRFToken": "wrong"})["error"]
    assert [] == browser.get("/actions")["actions"]
    token = reader.token("/inbox/")
    assert "admin" == browser.post("/actions", new, 202, headers={"X-CSRFToken": token})["who"]
    browser.get("/overview", 401, headers={"Authorization": "Bearer wit_wrong", "X-CSRFToken": token})


def test_every_answer_has_the_headers_of_the_pages(asker: Program) -> None:
    """No cache keeps it, and a browser takes it for nothing else."""
    asked = [("GET", "/events/1"), ("GET", "/events/1/body"), ("GET", "/x"), ("PUT", "/events"), ("POST", "/actions")]
    for method, path in asked:
        headers = asker.ask(method, path).headers
        assert ("no-store", "nosniff", "DENY") == tuple(
            headers[name] for name in ("Cache-Control", "X-Content-Type-Options", "X-Frame-Options")
        )
        assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_an_event_that_failed_is_told_with_its_reason(asker: Program) -> None:
    """Its payload, each attempt with traceback, and the conflict with what differs."""
    found = asker.get("/events/1")
    assert ("dead", {"id": "a", "type": "fail.x", "why": "no"}) == (found["status"], found["payload"]["value"])
    assert "ValueError: no" in found["deliveries"][0]["runs"][0]["error"]
    assert ["received", "answered", "routed", "attempt", "finished"] == [entry["what"] for entry in found["timeline"]]
    assert [{"pointer": "/why", "kind": "changed", "before": "no", "after": "yes"}] == found["conflicts"][0]["changes"]
    assert "not JSON" in asker.get("/events/4")["violations"][0]["message"]
    body = asker.ask("GET", "/events/1/body")
    assert {"id": "a", "type": "fail.x", "why": "no"} == json.loads(body.data)
    assert 'attachment; filename="event-1.body"' == body.headers["Content-Disposition"]
    assert "curl -sS" in asker.get("/events/1/copies")["curl"]["text"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [4, 3, 1]),
        ("limit=2", [4, 3]),
        ("limit=2&before=3", [1]),
        ("after=1&limit=1", [3]),
        ("status=dead&source=open&type=fail.x&handler=own.fail", [1]),
        ("since=2026-01-01&until=2026-01-01T00:00:01Z", [4, 3, 1]),
        ("until=2026-01-01", []),
        ("since=1h", [4, 3, 1]),
        ("text=yes", [3]),
    ],
)
def test_events_are_found(asker: Program, query: str, expected: list[int]) -> None:
    """By everything that the pages find them by, page by page."""
    assert expected == [row["id"] for row in asker.get(f"/events?{query}")["events"]]


def test_refusals_lead_to_advice_and_requests_to_what_became_of_them(program: Program, inbox: Inbox) -> None:
    """By source, by request id, page by page."""
    for identity in ("r1", "r2"):
        with pytest.raises(NotAuthentic):
            inbox.accept("roomz", Request(method="POST", body=b"{}", id=identity))
    inbox.accept("open", Request(method="POST", body=b'{"id": "b"}', id="r3"))
    page = program.get("/refusals?limit=1")
    assert (["r2"], 2) == ([row["request_id"] for row in page["refusals"]], page["older"])
    assert ["r1"] == [row["request_id"] for row in program.get("/refusals?before=2")["refusals"]]
    assert [2, 0, 0] == [len(program.get(f"/refusals?source={name}")["refusals"]) for name in ("roomz", "open", "")]
    assert [1, 0, 0] == [
        len(program.get(f"/refusals?request_id={query}")["refusals"]) for query in ("r1", "r1&source=open", "r3")
    ]
    refused = program.get("/requests/r1")
    assert (None, True) == (refused["event"], "Set the secret" in refused["refusal"]["advice"])
    assert {"event": 1, "refusal": None} == program.get("/requests/r3")
    program.get("/requests/r4", 404)


def test_handlers_are_told_with_modules_that_do_not_import(program: Program, inbox: Inbox, tmp_path: Path) -> None:
    """With the traceback."""
    (tmp_path / "own" / "bad.py").write_text("import nothing_such\n")
    inbox.dispatcher.sweep()
    found = program.get("/handlers")
    assert ["own.fail", "own.one"] == [row["handler"] for row in found["handlers"]]
    assert "nothing_such" in found["failures"][0]["failure"]


def test_an_event_is_replayed_and_succeeds(worker: Program, failed: Inbox, tmp_path: Path) -> None:
    """202 with where its progress is; a worker carries it out; who and why stay with the event."""
    repair(failed, tmp_path)
    new = {"kind": "replay", "ids": [1], "handler": "own.fail", "why": " it is repaired "}
    answer = worker.ask("POST", "/actions", json=new)
    assert (202, f"{BASE}/actions/1") == (answer.status_code, answer.headers["Location"])
    assert ("waiting", "token deploy", "it is repaired", 1) == tuple(
        answer.json[name] for name in ("state", "who", "why", "total")
    )
    failed.run()
    found = worker.get("/actions/1")
    assert ("done", 1, {"created": 1}) == (found["state"], found["events"], found["results"])
    event = worker.get("/events/1")
    assert ("succeeded", '"done"') == (event["status"], event["deliveries"][-1]["value"])
    assert "by token deploy: it is repaired" in [entry["text"] for entry in event["timeline"]]
    assert [found] == worker.get("/actions")["actions"]


def test_a_filter_is_counted_before_it_is_replayed(worker: Program, failed: Inbox, tmp_path: Path) -> None:
    """With `before` one above `upto`, what came since stays as it is."""
    repair(failed, tmp_path)
    new = {"kind": "replay", "filter": {"source": "open", "type": "fail.x", "status": "dead"}}
    found = worker.post("/actions/preview", new)
    assert {"count": 1, "upto": 4, "said": []} == found
    assert [] == worker.get("/actions")["actions"]
    new["filter"] = {"source": "open", "type": "fail.x", "before": found["upto"] + 1}
    failed.receive("open", {"id": "z", "type": "fail.x", "why": "later"})
    assert 2 == worker.post("/actions", new, 202)["total"]
    failed.run()
    assert [0, 1, 1] == [len([each for each in worker.get(f"/events/{number}")["deliveries"] if each["replay_id"]])
                         for number in (5, 3, 1)]  # fmt: skip


def test_quarantined_events_are_ignored_and_waiting_ones_cancelled(worker: Program, failed: Inbox) -> None:
    """By the same endpoint."""
    failed.receive("open", {"id": "z", "type": "fail.x", "why": "later"})
    worker.post("/pauses", {"kind": "source", "name": "open"}, 201)
    failed.run()
    worker.post("/actions", {"kind": "ignore", "filter": {"status": "quarantined"}}, 202)
    worker.post("/actions", {"kind": "cancel", "ids": [5]}, 202)
    failed.run()
    assert ["ignored", ["cancelled"]] == [
        worker.get("/events/4")["status"],
        [row["status"] for row in worker.get("/events/5")["deliveries"]],
    ]


def test_an_action_is_stopped(worker: Program, failed: Inbox) -> None:
    """What it did stays done; stopping it again changes nothing."""
    worker.post("/actions", {"kind": "replay", "ids": [1]}, 202)
    stopped = worker.post("/actions/1/stop")
    assert ("stopped", "stopped by token deploy") == (stopped["state"], stopped["error"])
    assert "stopped" == worker.post("/actions/1/stop")["state"]
    failed.run()
    assert "dead" == worker.get("/events/1")["status"]


def test_a_paused_source_waits_until_it_is_resumed(program: Program, inbox: Inbox) -> None:
    """201, then 200; its events are accepted meanwhile; 204 lets them go."""
    pause = {"kind": "source", "name": "roomz", "why": "the bank is down"}
    begun = program.post("/pauses", pause, 201)
    assert ("token deploy", "the bank is down") == (begun["who"], begun["why"])
    program.post("/pauses", pause, 200)
    inbox.receive("roomz")
    inbox.run()
    assert ["processing", 1] == [program.get("/events/1")["status"], program.get("/pauses")["pauses"][0]["waiting"]]
    assert (204, b"") == ((gone := program.ask("DELETE", "/pauses/source/roomz")).status_code, gone.data)
    inbox.run()
    assert "succeeded" == program.get("/events/1")["status"]
    program.ask("DELETE", "/pauses/source/roomz")
    assert "the source roomz is not paused" in program.ask("DELETE", "/pauses/source/roomz").json["message"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/events?limit=201", "limit: 201 is greater than the maximum of 200"),
        ("/events?limit=1&limit=2", "limit: stands twice in the query"),
        ("/events?soruce=open", "soruce: there is no such parameter; allowed: source, type,"),
        ("/events?status=gone", "status: 'gone' is not one of ['received',"),
        ("/events?since=soon", "since: A date or time in ISO 8601"),
        ("/events?before=0", "before: 0 is less than the minimum of 1"),
        ("/events?before=one", "before: 'one' is not of type 'integer'"),
        ("/events?source=", "source: '' does not match"),
        ("/overview?x=1", "x: there is no such parameter; allowed: none"),
    ],
)
def test_addresses_that_mean_nothing_are_told_what_is_allowed(asker: Program, path: str, says: str) -> None:
    """400: nothing is guessed, least of all which events were meant."""
    found = asker.get(path, 400)
    assert ("invalid", True) == (found["error"], says in found["message"]), found["message"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "the body is not JSON"),
        (b"", 400, "the body is empty"),
        (b"[]", 400, "[] is not of type 'object'"),
        (b'{"kind": "replay"}', 400, "which events? name them either by `ids` or by `filter`"),
        (b'{"kind": "replay", "ids": [1], "filter": {"source": "open"}}', 400, "which events?"),
        (b'{"kind": "eat", "ids": [1]}', 400, "/kind: 'eat' is not one of ['replay', 'cancel', 'ignore']"),
        (b'{"kind": "replay", "ids": []}', 400, "/ids: [] should be non-empty"),
        (b'{"kind": "replay", "ids": [1e400]}', 400, "too large"),
        (b'{"kind": "replay", "ids": [1000000000000000000]}', 400, "/ids/0: 1000000000000000000 is greater than"),
        (b'{"kind": "replay", "filter": {}}', 400, "/filter: {} should be non-empty"),
        (b'{"kind": "replay", "filter": {"soruce": "open"}}', 400, "'soruce' was unexpected"),
        (b'{"kind": "replay", "filter": {"source": "\\ud800"}}', 400, "half of a character"),
        (b'{"kind": "replay", "filter": {"source": "open", "text": "\\u2003"}}', 422, "text: blank"),
        (b'{"kind": "replay", "filter": {"source": " "}}', 400, "/filter/source: ' ' does not match"),
        (b'{"kind": "replay", "filter": {"before": 9}}', 422, "every event there is would be too many"),
        (b'{"kind": "ignore", "ids": [1], "handler": "own.one"}', 422, "ignored as a whole"),
        (b'{"kind": "cancel", "filter": {"status": "dead"}}', 422, "nothing to cancel in events that are dead"),
        (b'{"kind": "replay", "ids": [99]}', 404, "there is no event 99"),
        (b'{"kind": "replay", "ids": [1], "handler": "own.two"}', 404, "there is no handler own.two"),
    ],
)
def test_actions_that_mean_nothing_are_not_begun(asker: Program, body: bytes, status: int, says: str) -> None:
    """400 is said of what is not as the document says, 422 of what is and cannot be done."""
    for path in ("/actions", "/actions/preview"):
        answer = asker.ask("POST", path, data=body, content_type="application/json")
        assert (status, True) == (answer.status_code, says in answer.json["message"]), answer.json
    assert [] == asker.get("/actions")["actions"]


def test_events_whose_text_is_not_known_yet_are_not_replayed_by_it(worker: Program, failed: Inbox) -> None:
    """Who looks is told what is missing, who changes something is stopped."""
    assert ["3 events are not indexed yet"] == worker.get("/events?text=why")["unseen"]["said"]
    new = {"kind": "replay", "filter": {"text": "why"}}
    assert "3 events that the other filters mean are not indexed yet" in worker.post("/actions", new, 422)["message"]
    failed.index()
    assert 2 == worker.post("/actions", new, 202)["total"]


def test_only_json_is_read(asker: Program) -> None:
    """A form of another site is a 415 even where a login would do."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None):
        answer = asker.ask("POST", "/actions", data=b'{"kind": "replay", "ids": [1]}', content_type=kind)
        assert (415, "unsupported_media_type") == (answer.status_code, answer.json["error"])


@pytest.mark.parametrize(
    "path",
    ["", "/", "/x", "/events/x", "/events/-1", "/events/99", "/events/0", f"/events/{'9' * 5000}", "/events/99/body",
     "/events/99/copies", "/actions/99", "/requests/a%00b", "/events/1/x", "/a%0Ab", "//", "//x",
     "/pauses/source/a%2Fb%0A"],
)  # fmt: skip
def test_what_is_not_there_is_a_404(asker: Program, path: str) -> None:
    """In JSON, whatever the address."""
    assert "not_found" == asker.get(path, 404)["error"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/events", "GET, HEAD, OPTIONS"), ("/actions", "GET, HEAD, POST, OPTIONS"), ("/actions/1/stop", "POST, OPTIONS")],
)
def test_methods_that_are_not_there_are_told_which_are(asker: Program, path: str, allowed: str) -> None:
    """405 with the header Allow; OPTIONS says the same."""
    answer = asker.ask("PATCH", path)
    assert (405, allowed, "method_not_allowed") == (answer.status_code, answer.headers["Allow"], answer.json["error"])
    assert allowed == asker.ask("OPTIONS", path).headers["Allow"]


def test_a_body_that_is_too_large_is_told_so(program: Program, inbox: Inbox) -> None:
    """413 in JSON, with its message, also where the event loop reads it."""
    answer = program.ask("POST", "/actions", data=b" " * (MAX_FORM + 1), content_type="application/json")
    assert (413, "body_too_large") == (answer.status_code, answer.json["error"])
    server = ServerSettings()
    line = Line(Sent(target=f"{BASE}/actions".encode(), parts=(b" " * (MAX_FORM + 1),)))
    asyncio.run(
        BufferedWsgi(program.client.application, server, AdmissionControl(server))(line.scope, line.receive, line.send)
    )  # type: ignore[arg-type]
    assert (413, {"error", "message"}) == (line.told.status, json.loads(line.told.body).keys())


def test_a_store_that_is_gone_is_a_503(program: Program, inbox: Inbox, tmp_path: Path) -> None:
    """With the header Retry-After, and a line in the log."""
    program.get("/overview")
    (tmp_path / "inbox.db").unlink()
    with capture_logs() as logs:
        answer = program.ask("GET", "/overview")
    assert (503, "5", "unavailable") == (answer.status_code, answer.headers["Retry-After"], answer.json["error"])
    assert "api.unavailable" == [entry["event"] for entry in logs][-1]  # after what the store says, once a file


def test_a_mistake_of_ours_is_a_500_in_json(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its log has more, the answer has not."""
    monkeypatch.setattr("inbox.ui.api.views.look", lambda runtime: 1 / 0)
    with capture_logs() as logs:
        answer = program.client.get(f"{BASE}/overview", headers=program.headers)
    assert (500, "internal_error") == (answer.status_code, answer.json["error"] if answer.json else None)
    assert "division" not in answer.text
    assert [("api.failed", "/inbox/api/overview")] == [(entry["event"], entry["path"]) for entry in logs]


def test_the_document_describes_what_is_there_and_nothing_else(program: Program) -> None:
    """Addresses and methods of the application are those of the document."""
    rules = program.client.application.url_map.iter_rules()
    found = {
        (rule.rule.removeprefix(BASE), method, rule.endpoint)
        for rule in rules
        if rule.endpoint.startswith("api.") and rule.endpoint != "api.nowhere"
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    expected = {
        (path, method.upper(), f"api.{operation['operationId']}")
        for path, operations in document()["paths"].items()
        for method, operation in operations.items()
    }
    plain = {(_plain(path), method, endpoint) for path, method, endpoint in found}
    assert expected == plain
    assert {method for _, method, _ in expected} <= set(METHODS)


def _plain(rule: str) -> str:
    """Return an address as the document writes it."""
    for converter in ("id:", "any(handler, source):"):
        rule = rule.replace(f"<{converter}", "<")
    return rule.replace("<", "{").replace(">", "}")


def test_the_document_knows_the_words_of_the_code(program: Program) -> None:
    """Statuses, kinds and the name of the cookie; and it is sent as it is."""
    schemas = STRICT["components"]["schemas"]
    names = ("EventStatus", "DeliveryStatus", "ActionKind", "ActionState", "PauseKind")
    words = [EVENT_STATUSES, DELIVERY_STATUSES, ACTION_KINDS, ACTION_STATES, PAUSE_KINDS]
    assert [list(each) for each in words] == [schemas[name]["enum"] for name in names]
    cookie = document()["components"]["securitySchemes"]["login"]["name"]
    assert program.client.application.config["SESSION_COOKIE_NAME"] == cookie
    assert document() == program.get("/openapi.json")


def test_every_example_is_as_its_schema_says() -> None:
    """Those of requests and answers alike."""
    wrong: list[Any] = []

    def look(part: Any) -> None:
        if isinstance(part, dict):
            for example in part.get("examples", ()) if isinstance(part.get("examples"), list) else ():
                wrong.extend(
                    error.message
                    for error in Draft202012Validator({**part, "components": STRICT["components"]}).iter_errors(example)
                )
        for child in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            look(child)

    look(STRICT)
    assert [] == wrong
