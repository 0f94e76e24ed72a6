"""What the pages show of an inbox with something in it, and what their forms do; without script."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from inbox.core.errors import NotAuthentic, StoreUnavailable
from inbox.receive.wsgi import create_app
from inbox.testing import Inbox
from inbox.ui.app import alone
from inbox.ui.services import accounts, actions, overview
from tests.ui.conftest import PASSWORD, Reader, make

EVIL = '"><script>alert(1)</script>{{7*7}}'


def fill(owned: Inbox) -> Inbox:
    """Have one event that succeeded, one that is dead, one that is quarantined, a conflict and a refusal."""
    owned.receive("open", {"id": "1", "type": "fail.a", "why": EVIL, EVIL: [EVIL]})
    owned.receive("open", {"id": "1", "type": "fail.a", "why": "other"})
    owned.receive("roomz")
    owned.receive("roomz", b'{"type": "x"}')
    with pytest.raises(NotAuthentic):
        owned.receive("roomz", headers={"Roomz-Signature": "A" * 43 + "="})
    owned.run()
    owned.index()
    return owned


@pytest.fixture
def filled(owned: Inbox) -> Inbox:
    """An inbox with something of everything."""
    return fill(owned)


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """The owner, in front of one that is only looked at."""
    with pytest.MonkeyPatch.context() as patch, make(tmp_path_factory.mktemp("filled")) as inbox:
        patch.setattr("inbox.ui.services.passwords.MEMORY", 8)
        accounts.set_password(inbox.runtime, "admin", PASSWORD)
        made = Reader(alone(fill(inbox).runtime))
        assert 302 == made.log_in().status_code
        yield made


@pytest.fixture
def reader(filled: Inbox, reader: Reader) -> Reader:
    """The owner, in front of it."""
    return reader


def done(inbox: Inbox) -> None:
    """Let the worker do what there is to do."""
    inbox.run()


def shown(reader: Reader, path: str) -> str:
    """Return a page that is there."""
    answer = reader.get(path)
    assert 200 == answer.status_code, answer.text
    return answer.text


PLACES = (
    "/inbox/", "/inbox/events", "/inbox/events/1", "/inbox/events/3", "/inbox/events/4", "/inbox/events/5",
    "/inbox/refusals", "/inbox/handlers", "/inbox/actions", "/inbox/actions/new?kind=replay&id=1",
    "/inbox/events/newer?after=0",
)  # fmt: skip


@pytest.mark.parametrize("path", PLACES)
def test_nothing_from_outside_is_html(visitor: Reader, path: str) -> None:
    """A payload, its keys, an error of a handler: text, wherever they are shown, and no template either."""
    page = shown(visitor, path)
    assert ("<script>alert" in page, "/script&gt;49" in page) == (False, False)
    assert not re.search(r"<[^>]+\s(on\w+|style)=", page), "the policy would stop it, and so it is not written"


def test_overview_says_what_stands_out(visitor: Reader) -> None:
    """Sources with their counts, and what to do."""
    page = shown(visitor, "/inbox/")
    assert "Dead: 1." in page
    assert "Quarantined: 1, of which 1 in the last day." in page
    assert '<a href="/inbox/events?source=open&amp;status=dead">1</a>' in page
    assert page.count('<svg class="chart"') == 2 * len(overview.overview(runtime_of(visitor))["sources"])


def runtime_of(reader: Reader) -> Any:
    return reader.client.application.extensions["inbox"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [5, 4, 3, 1]),
        ("source=open", [3, 1]),
        ("status=dead", [1]),
        ("type=fail.*&status=conflict", [3]),
        ("handler=own.fail", [1]),
        ("text=alert", [1]),
        ('text="nowhere to be found"', []),
        ("since=1h", [5, 4, 3, 1]),
        ("until=1h", []),
        ("before=4", [3, 1]),
    ],
)
def test_events_are_found(visitor: Reader, query: str, expected: list[int]) -> None:
    """By all that can be known of them; what finds nothing says what to do."""
    page = shown(visitor, f"/inbox/events?{query}")
    assert expected == [int(found) for found in re.findall(r'<input type="checkbox" name="id" value="(\d+)"', page)]
    assert bool(expected) != ("No event is like that" in page)


def test_wrong_filter_says_what_is_allowed(visitor: Reader) -> None:
    """400, and a page."""
    answer = visitor.get("/inbox/events?status=done")
    assert (400, True) == (answer.status_code, "allowed: received, quarantined" in answer.text)


def test_newer_events_are_counted_aside(visitor: Reader) -> None:
    """For the script: a link to the first page, with the same filter."""
    page = shown(visitor, "/inbox/events/newer?after=3&source=roomz")
    assert 'href="/inbox/events?source=roomz">Show 2 newer events</a>' in page
    assert "Show" not in shown(visitor, "/inbox/events/newer?after=5")


def test_event_that_failed(visitor: Reader) -> None:
    """The attempt with its traceback, the conflict with its difference, copies for elsewhere."""
    page = shown(visitor, "/inbox/events/1")
    assert "Traceback (most recent call last)" in page
    assert "own.fail, attempt 1: error" in page
    assert "In conflict with it: event" in page
    assert "<code>/why</code>" in page
    assert all(title in page for title in ("As curl", "As inbox send", "As a test"))


def test_event_with_half_a_character_is_shown(reader: Reader, filled: Inbox) -> None:
    """Some senders cut a text in the middle of an emoji; JSON can say so, UTF-8 cannot."""
    number = filled.receive("open", b'{"id": "half", "type": "x", "cut \\ud83d": "short \\ud83d"}').id
    page = shown(reader, f"/inbox/events/{number}")
    assert ("cut \\ud83d" in page, "short \\ud83d" in page) == (True, True)


def test_long_type_does_not_fill_the_list(reader: Reader, filled: Inbox) -> None:
    """It is whole on the page of its event."""
    number = filled.receive("open", {"id": "long", "type": "t" * 100_000}).id
    assert len(shown(reader, "/inbox/events")) < 50_000
    assert "t" * 100_000 in shown(reader, f"/inbox/events/{number}")


def test_event_in_quarantine(visitor: Reader) -> None:
    """Each violation, also at its place in the payload."""
    page = shown(visitor, "/inbox/events/5")
    assert ("of the schema" in page, '<span class="why">← ' in page) == (True, True)


def test_body_is_a_file(visitor: Reader) -> None:
    """Byte for byte, and never shown by a browser."""
    answer = visitor.get("/inbox/events/1/body")
    kind, how = answer.headers["Content-Type"], answer.headers["Content-Disposition"]
    assert ("application/octet-stream", 'attachment; filename="event-1.body"') == (kind, how)
    assert EVIL == json.loads(answer.data)["why"]


@pytest.mark.parametrize(
    "path",
    [
        "/inbox/events/99", "/inbox/events/99/body", f"/inbox/events/{2**70}", "/inbox/actions/9", "/inbox/requests/r0",
        "/inbox/x", f"/inbox/actions/{2**70}",
    ],
)  # fmt: skip
def test_what_is_not_there(visitor: Reader, path: str) -> None:
    """404 with a page that leads back."""
    answer = visitor.get(path)
    assert (404, True) == (answer.status_code, 'href="/inbox/"' in answer.text)


def test_request_id_leads_to_what_became_of_it(reader: Reader, filled: Inbox) -> None:
    """An event or a refusal, by what its sender was told."""
    sender = create_app(filled.runtime.receiver).test_client()
    event, refusal = (sender.post(f"/in/{name}", json={}).headers["Inbox-Request-Id"] for name in ("open", "roomz"))
    assert "/inbox/events/6" == reader.get(f"/inbox/requests/{event}").location
    page = reader.get(f"/inbox/requests/{refusal}").location
    assert f"/inbox/refusals?request_id={refusal}" == page
    assert refusal in shown(reader, page)


def test_refusals_say_what_to_do(visitor: Reader) -> None:
    """What is wrong, and what to change where."""
    page = shown(visitor, "/inbox/refusals?source=roomz")
    assert ("not_authentic: malformed" in page, "What to do:" in page) == (True, True)
    assert "Nothing was refused" in shown(visitor, "/inbox/refusals?source=open")


def test_replay_of_one_event(reader: Reader, filled: Inbox) -> None:
    """Begun with a form, done by a worker, recorded with who and why."""
    answer = reader.post(
        "/inbox/actions", {"kind": "replay", "id": "1", "why": EVIL}, token=reader.token("/inbox/events/1")
    )
    assert (302, "/inbox/actions/1") == (answer.status_code, answer.location)
    assert "waiting" in shown(reader, answer.location)
    done(filled)
    row = actions.action(filled.runtime, 1)
    assert ("done", "admin", EVIL, 1) == tuple(row[name] for name in ("state", "who", "why", "events"))
    assert 2 == len(filled.event(1)["deliveries"])
    assert "&lt;script&gt;" in shown(reader, "/inbox/actions")


def test_replay_of_all_that_a_filter_finds(reader: Reader, filled: Inbox) -> None:
    """After a look at how many; what comes later is not meant."""
    page = shown(reader, "/inbox/actions/new?kind=replay&all=1&source=roomz&since=1h")
    assert "Replay 2 events?" in page
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
    filled.receive("roomz")
    answer = reader.post("/inbox/actions", fields, token=fields["csrf_token"])
    done(filled)
    assert (2, 2) == tuple(
        actions.action(filled.runtime, int(answer.location[-1]))[name] for name in ("total", "events")
    )


def test_ignored_and_cancelled(reader: Reader, filled: Inbox) -> None:
    """What is quarantined is marked as seen; what waits is ended."""
    token = reader.token("/inbox/events/5")
    reader.post("/inbox/actions", {"kind": "ignore", "id": ["5", "3"]}, token=token)
    done(filled)
    assert ["ignored", "ignored"] == [filled.event(number)["status"] for number in (3, 5)]
    actions.pause(filled.runtime, "handler", "own.one", who="x", why="")
    number = filled.receive("roomz").id
    done(filled)
    reader.post("/inbox/actions", {"kind": "cancel", "id": str(number)}, token=token)
    done(filled)
    assert "cancelled" == filled.event(number)["deliveries"][0]["status"]


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"kind": "explode", "id": "1"}, "There is no action"),
        ({"kind": "replay"}, "Choose 1 to 5000 events"),
        ({"kind": "replay", "all": "1"}, "Every event there is would be too many"),
        ({"kind": "replay", "id": "x"}, "id is a whole number"),
        ({"kind": "ignore", "id": "1", "handler_only": "own.one"}, "no handler can be named"),
        ({"kind": "replay", "all": "1", "source": "open", "status": "nope"}, "There is no status"),
    ],
)  # fmt: skip
def test_action_that_makes_no_sense(reader: Reader, filled: Inbox, form: dict[str, str], said: str) -> None:
    """400 with what is allowed; nothing is recorded."""
    answer = reader.post("/inbox/actions", form, token=reader.token("/inbox/events/1"))
    assert (400, True) == (answer.status_code, said in answer.text)
    assert [] == actions.actions(filled.runtime, 9)


def test_stopped_action_stays_where_it_is(reader: Reader, filled: Inbox) -> None:
    """What is done stays done."""
    token = reader.token("/inbox/events/1")
    reader.post("/inbox/actions", {"kind": "replay", "id": "1"}, token=token)
    assert "/inbox/actions/1" == reader.post("/inbox/actions/1/stop", {}, token=token).location
    done(filled)
    assert ("stopped", 1) == (actions.action(filled.runtime, 1)["state"], len(filled.event(1)["deliveries"]))


@pytest.mark.parametrize(("kind", "name"), [("handler", "own.one"), ("source", "roomz")])
def test_paused_and_resumed(reader: Reader, filled: Inbox, kind: str, name: str) -> None:
    """What comes meanwhile is accepted and waits; the pages say so."""
    token = reader.token("/inbox/handlers")
    answer = reader.post("/inbox/pauses", {"kind": kind, "name": name, "why": "spring cleaning"}, token=token)
    assert "/inbox/handlers" == answer.location
    page = shown(reader, "/inbox/handlers")
    assert ("is paused: events are accepted and wait" in page, "spring cleaning" in page) == (True, True)
    number = filled.receive("roomz").id
    done(filled)
    assert "processing" == filled.event(number)["status"]
    assert f"The {kind} {name} is paused since" in shown(reader, f"/inbox/events/{number}")
    reader.post("/inbox/pauses/end", {"kind": kind, "name": name}, token=token)
    done(filled)
    assert "succeeded" == filled.event(number)["status"]


@pytest.mark.parametrize(
    ("path", "form", "status"),
    [
        ("/inbox/pauses", {"kind": "handler", "name": "nobody"}, 404),
        ("/inbox/pauses", {"kind": "planet", "name": "mars"}, 400),
        ("/inbox/pauses/end", {"kind": "source", "name": "roomz"}, 404),
    ],
)
def test_pause_of_what_is_not_there(reader: Reader, path: str, form: dict[str, str], status: int) -> None:
    """Names are checked, and the page says which there are."""
    answer = reader.post(path, form, token=reader.token("/inbox/handlers"))
    assert status == answer.status_code
    assert "Traceback" not in answer.text


def test_store_that_cannot_be_read_is_a_page(reader: Reader, filled: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, what it means for the senders, and a line in the log."""

    def unavailable(*arguments: object, **options: object) -> None:
        raise StoreUnavailable("the disk is away")

    monkeypatch.setattr("inbox.ui.pages.overview.look", unavailable)
    with capture_logs() as logs:
        answer = reader.get("/inbox/")
    assert (503, True) == (answer.status_code, "the disk is away" in answer.text)
    assert [("page.unavailable", "/inbox/", "the disk is away")] == [
        (line["event"], line["path"], line["error"]) for line in logs
    ]


def test_mistake_of_ours_is_a_page(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """500 without details; the log has them."""
    monkeypatch.setattr("inbox.ui.pages.overview.look", lambda runtime: 1 / 0)
    with capture_logs() as logs:
        answer = reader.get("/inbox/")
    assert (500, False) == (answer.status_code, "ZeroDivisionError" in answer.text)
    assert [("page.failed", "/inbox/", True)] == [(line["event"], line["path"], line["exc_info"]) for line in logs]


def test_empty_inbox_says_what_to_do(owned: Inbox) -> None:
    """No event, no refusal, no action: the next step is named."""
    reader = Reader(alone(owned.runtime))
    reader.log_in()
    assert "inbox send roomz" in shown(reader, "/inbox/")
    assert "No event has come yet" in shown(reader, "/inbox/events")
    assert "Nothing was refused" in shown(reader, "/inbox/refusals")
    assert "No handler is loaded" in shown(reader, "/inbox/handlers")
    assert "Nothing was done by hand yet" in shown(reader, "/inbox/actions")
