"""Replaying: old events again, for all handlers or one, checked again where they were quarantined."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox.store.protocols import Filter
from inbox.testing import Inbox
from inbox.ui.services import actions
from tests.conftest import PROJECT

ONE = '@handles("roomz")\ndef one(event): return [event.is_replay, event.payload and event.payload["id"]]\n'


def write(handlers: Path, code: str, name: str = "own") -> None:
    (handlers / f"{name}.py").write_text("from inbox import *\n" + code)


@pytest.fixture
def inbox(tmp_path: Path, handlers: Path) -> Iterator[Inbox]:
    shutil.copytree(PROJECT / "schemas", tmp_path / "schemas")
    write(handlers, ONE)
    with Inbox(tmp_path, handlers=handlers, schemas=tmp_path / "schemas") as made:
        yield made


def statuses(inbox: Inbox, event_id: int = 1) -> list[tuple[str, int, str]]:
    return [(row["handler"], row["replay_id"], row["status"]) for row in inbox.event(event_id)["deliveries"]]


def fix_schema(inbox: Inbox, tmp_path: Path, schema: object) -> None:
    for path in (tmp_path / "schemas" / "roomz").glob("*.json"):
        path.unlink()
    (tmp_path / "schemas" / "roomz" / "default.json").write_text(json.dumps(schema))
    for name in ("schemas", "replayer", "receiver"):
        inbox.runtime.__dict__.pop(name, None)


def test_a_replay_is_new_work_linked_to_the_old_event(inbox: Inbox) -> None:
    """The first delivery stays as it was; the new one says that it is a replay."""
    inbox.receive("roomz")
    inbox.run()
    done = inbox.replay(1)
    assert (1, 0, 0, "") == (done.created, done.expedited, done.running, done.problem)
    assert "processing" == inbox.event(1)["status"]
    inbox.run()
    assert [("own.one", 0, "succeeded"), ("own.one", 1, "succeeded")] == statuses(inbox)
    assert [False, True] == [json.loads(row["value"])[0] for row in inbox.event(1)["deliveries"]]


def test_a_replay_can_be_for_one_handler_that_did_not_exist(inbox: Inbox, handlers: Path) -> None:
    """A handler written today can have yesterday's events; the others do not run again."""
    inbox.receive("roomz")
    inbox.run()
    write(handlers, '@handles("roomz")\ndef new(event): return 1', name="later")
    inbox.replay(1, "later.new")
    inbox.reload()
    inbox.run()
    assert [("own.one", 0, "succeeded"), ("later.new", 1, "succeeded")] == statuses(inbox)


def test_a_dead_delivery_is_run_again(inbox: Inbox, handlers: Path) -> None:
    """After the fix a replay makes the event succeed; the latest delivery decides."""
    write(handlers, '@handles("roomz", attempts=1)\ndef one(event): 1 / 0')
    inbox.receive("roomz")
    inbox.run()
    assert "dead" == inbox.event(1)["status"]
    write(handlers, ONE)
    inbox.replay(1)
    inbox.reload()
    inbox.run()
    assert ("succeeded", ["dead", "succeeded"]) == (inbox.event(1)["status"], [row[2] for row in statuses(inbox)])


def test_a_waiting_delivery_is_made_due_instead_of_doubled(inbox: Inbox, handlers: Path) -> None:
    """Replaying what is about to be retried runs it now, once."""
    write(handlers, '@handles("roomz")\ndef one(event):\n    if event.attempt == 1: raise Retry(after=3600)')
    inbox.receive("roomz")
    inbox.run()
    done = inbox.replay(1)
    assert (0, 1) == (done.created, done.expedited)
    inbox.run()
    assert [("own.one", 0, "succeeded")] == statuses(inbox)


def test_a_running_delivery_is_left_alone(inbox: Inbox) -> None:
    """Nothing is started beside a run that is going on."""
    inbox.receive("roomz")
    inbox.queue.lose()
    inbox.dispatcher.route()
    delivery = inbox.event(1)["deliveries"][0]["id"]
    inbox.dispatcher._work.claim(delivery, token="t", worker="w", at=inbox.clock(), lease=30.0)
    assert 1 == inbox.replay(1).running
    assert [("own.one", 0, "running")] == statuses(inbox)


def test_a_handler_whose_module_fails_gets_a_parked_replay(inbox: Inbox, handlers: Path) -> None:
    """The replay is not lost: it runs when the module imports again."""
    inbox.receive("roomz")
    inbox.run()
    write(handlers, "1 / 0")
    inbox.reload()
    inbox.replay(1)
    inbox.run()
    assert [("own.one", 0, "succeeded"), ("own.one", 1, "parked")] == statuses(inbox)
    write(handlers, ONE)
    inbox.reload()
    inbox.run()
    assert [("own.one", 0, "succeeded"), ("own.one", 1, "succeeded")] == statuses(inbox)


def test_a_quarantined_event_is_checked_again(inbox: Inbox, tmp_path: Path) -> None:
    """Before the schema is fixed it stays quarantined; after it the event is delivered."""
    payload = {"id": "1", "type": "workspace.presence.changed", "timestamp": "t", "data": {"workspaceId": 7}}
    assert "quarantined" == inbox.receive("roomz", payload).status
    inbox.run()
    assert "invalid" == inbox.replay(1).problem
    assert ("quarantined", []) == (inbox.event(1)["status"], inbox.event(1)["deliveries"])
    fix_schema(inbox, tmp_path, {"type": "object"})
    assert 1 == inbox.replay(1).created
    inbox.run()
    event = inbox.event(1)
    assert ("succeeded", [], "1") == (
        event["status"],
        event["violations"],
        json.loads(event["deliveries"][0]["value"])[1],
    )


def test_a_quarantined_event_that_breaks_another_schema_says_so(inbox: Inbox, tmp_path: Path) -> None:
    """The violations that are shown are today's."""
    inbox.receive("roomz", {"id": "1", "type": "workspace.presence.changed", "timestamp": "t", "data": {}})
    fix_schema(inbox, tmp_path, {"required": ["later"]})
    inbox.replay(1)
    assert ["'later' is a required property"] == [item["message"] for item in inbox.event(1)["violations"]]


def test_force_runs_handlers_on_what_is_not_json(inbox: Inbox) -> None:
    """An owner may want the bytes handled as they are: the payload is None then."""
    inbox.receive("roomz", b"not json")
    assert "invalid" == inbox.replay(1).problem
    assert 1 == inbox.replay(1, force=True).created
    inbox.run()
    assert [True, None] == json.loads(inbox.event(1)["deliveries"][0]["value"])


def test_a_conflict_can_be_replayed(inbox: Inbox) -> None:
    """The other body of the same key is not run by itself, but on demand."""
    payload = {"id": "1", "type": "x", "timestamp": "t", "data": {}}
    inbox.receive("roomz", payload)
    other = inbox.receive("roomz", {**payload, "timestamp": "u"})
    inbox.run()
    assert ("conflict", []) == (inbox.event(other.id)["status"], inbox.event(other.id)["deliveries"])
    inbox.replay(other.id)
    inbox.run()
    assert "succeeded" == inbox.event(other.id)["status"]


def test_an_event_that_no_handler_matches_says_so(inbox: Inbox) -> None:
    """Nothing is made up: there is no handler for it."""
    inbox.receive("lemlist")
    inbox.run()
    assert "no handler" == inbox.replay(1).problem
    assert "unhandled" == inbox.event(1)["status"]


def test_a_valid_quarantined_event_without_a_handler_becomes_unhandled(inbox: Inbox, tmp_path: Path) -> None:
    """It leaves quarantine even though nobody wants it."""
    inbox.receive("lemlist", {"type": 5})
    (tmp_path / "schemas" / "lemlist" / "default.json").write_text("{}")
    for name in ("schemas", "replayer"):
        inbox.runtime.__dict__.pop(name, None)
    assert ("no handler", "unhandled") == (inbox.replay(1).problem, inbox.event(1)["status"])


def test_a_quarantined_event_of_a_removed_source_stays_unless_forced(inbox: Inbox) -> None:
    """What cannot be checked is not guessed."""
    inbox.receive("roomz", b"[]")
    inbox.runtime.__dict__["sources"] = {}
    inbox.runtime.__dict__.pop("replayer", None)
    assert "invalid" == inbox.replay(1).problem
    assert "not configured" in inbox.event(1)["violations"][0]["message"]
    assert 1 == inbox.replay(1, force=True).created


def test_an_action_takes_the_matching_events_oldest_first(inbox: Inbox) -> None:
    """In several steps, and without what comes while it goes on."""
    for _ in range(5):
        inbox.receive("roomz")
    inbox.receive("lemlist")
    number = actions.begin(inbox.runtime, "replay", who="me", why="", wanted=Filter(source="roomz"))
    found, acting = [], inbox.runtime.acting
    while acting.action(number)["state"] != "done":
        done = inbox.runtime.performer.step(acting.action(number), 2)
        assert done is not None
        found += [each.event_id for each in done]
        inbox.receive("roomz")
    assert [1, 2, 3, 4, 5] == found


def test_a_plan_changes_nothing(inbox: Inbox) -> None:
    """It says what a replay would do."""
    inbox.receive("roomz")
    inbox.receive("roomz", b"[]")
    inbox.run()
    before = [inbox.event(1), inbox.event(2)]
    plans = [inbox.runtime.replayer.plan(event, None) for event in before]
    assert [(1, ""), (0, "invalid")] == [(plan.created, plan.problem) for plan in plans]
    assert before == [inbox.event(1), inbox.event(2)]


def test_who_and_why_are_recorded(inbox: Inbox) -> None:
    """Each replay leaves a row with its selection and what it came to."""
    inbox.receive("roomz")
    inbox.run()
    inbox.replay(1, "own.one")
    (row,) = inbox.runtime.acting.actions(10)
    assert ("test", '{"ids": [1]}', "own.one", 1, 1) == tuple(
        row[name] for name in ("who", "selection", "handler", "events", "deliveries")
    )
