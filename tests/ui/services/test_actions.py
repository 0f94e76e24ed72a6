"""What an owner is told who wants something done that cannot be done; and that nothing here needs a handler's code."""

from pathlib import Path
from typing import Any

import pytest

from inbox.core.errors import InboxError, NotFound
from inbox.store.protocols import Filter
from inbox.testing import Inbox
from inbox.ui.services import actions

ME = {"who": "ann", "why": ""}


@pytest.fixture
def known(inbox: Inbox, handlers: Path) -> Inbox:
    """An inbox whose store knows a handler, with an event; no handler is loaded in this process any more."""
    (handlers / "own.py").write_text("from inbox import *\n@handles('roomz')\ndef one(event): pass\n")
    inbox.receive("roomz")
    inbox.run()
    inbox.runtime.__dict__.pop("registry")
    return inbox


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"kind": "eat", "wanted": Filter()}, "there is no action 'eat'; allowed: replay, cancel, ignore"),
        ({"kind": "replay"}, "a filter or about ids: name one"),
        ({"kind": "replay", "wanted": Filter(), "ids": [1]}, "a filter or about ids: name one"),
        ({"kind": "replay", "ids": [1, 99]}, "there is no event 99"),
        (
            {"kind": "replay", "ids": [1], "handler": "own.on"},
            "there is no handler own.on; `inbox handlers`",
        ),
        ({"kind": "ignore", "ids": [1], "handler": "own.one"}, "ignored as a whole"),
        (
            {"kind": "cancel", "wanted": Filter(status="dead")},
            "nothing to cancel in events that are dead: only in those that are received or processing",
        ),
        (
            {"kind": "ignore", "wanted": Filter(status="dead")},
            "nothing to ignore in events that are dead: only in those that are quarantined or conflict",
        ),
    ],
)
def test_what_cannot_be_done_is_said_and_not_begun(known: Inbox, call: dict[str, Any], says: str) -> None:
    """The same by preview and by begin, and no row is left."""
    kind = call.pop("kind")
    with pytest.raises(InboxError, match=says):
        actions.preview(known.runtime, kind, **call)
    with pytest.raises(InboxError, match=says):
        actions.begin(known.runtime, kind, **ME, **call)
    assert [] == actions.actions(known.runtime, 10)


@pytest.mark.parametrize("rate", [0.0, -1.0, 0.009, 2e6])
def test_a_pace_that_makes_no_sense_is_refused(known: Inbox, rate: float) -> None:
    """One so slow that nobody could hold the action meanwhile, too."""
    with pytest.raises(InboxError, match=r"is out of range; allowed: 0\.01 to 1e\+06 events per second"):
        actions.begin(known.runtime, "replay", **ME, ids=[1], rate=rate)
    assert [] == actions.actions(known.runtime, 10)


def test_an_action_is_begun_without_loading_handlers(known: Inbox) -> None:
    """As the receiver must: their names come from the store."""
    number = actions.begin(known.runtime, "replay", **ME, wanted=Filter(source="roomz"), handler="own.one")
    actions.pause(known.runtime, "handler", "own.one", **ME)
    assert "registry" not in known.runtime.__dict__
    row = actions.action(known.runtime, number)
    assert ({"source": "roomz"}, "own.one", 1, 0, "waiting") == tuple(
        row[name] for name in ("selection", "handler", "total", "events", "state")
    )
    assert [row] == actions.actions(known.runtime, 10)
    assert [] == actions.actions(known.runtime, 10, before=number)


def test_a_preview_counts_what_is_there_now(known: Inbox) -> None:
    """All that match, up to the newest."""
    for _ in range(3):
        known.receive("roomz")
    known.receive("roomz", b"[]")
    found = [
        actions.preview(known.runtime, kind, Filter(source="roomz"))["count"] for kind in ("replay", "cancel", "ignore")
    ]
    assert [5, 3, 1] == found
    assert {"count": 2, "cursor": 0, "upto": 0, "said": []} == actions.preview(known.runtime, "replay", ids=[1, 2, 1])


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("handler", "own.two", "there is no handler own.two; there are: own.one$"),
        ("source", "acme", "there is no source acme; there are: breakcold, .*, rootfi$"),
        ("planet", "mars", "there is no kind 'planet'; allowed: handler, source$"),
    ],
)
def test_only_what_is_there_can_be_paused(known: Inbox, kind: Any, name: str, says: str) -> None:
    """A typing error must not look like a pause."""
    with pytest.raises(InboxError, match=says):
        actions.pause(known.runtime, kind, name, **ME)
    assert [] == actions.pauses(known.runtime)


def test_what_is_not_paused_cannot_be_resumed(known: Inbox) -> None:
    """The message says what is."""
    with pytest.raises(NotFound, match="the source roomz is not paused; paused: nothing"):
        actions.resume(known.runtime, "source", "roomz", who="ann")
    assert actions.pause(known.runtime, "handler", "own.one", **ME)
    assert not actions.pause(known.runtime, "handler", "own.one", **ME)
    with pytest.raises(NotFound, match=r"the source roomz is not paused; paused: handler own\.one$"):
        actions.resume(known.runtime, "source", "roomz", who="ann")


def test_a_queue_that_fails_keeps_nothing_from_being_begun(
    known: Inbox, monkeypatch: pytest.MonkeyPatch, logs: list[Any]
) -> None:
    """The sweep finds it; the log says so."""

    def broken() -> None:
        raise OSError("no queue")

    monkeypatch.setattr(known.queue, "wake", broken)
    number = actions.begin(known.runtime, "replay", **ME, ids=[1])
    assert "waiting" == actions.action(known.runtime, number)["state"]
    assert "queue.wake_failed" in [entry["event"] for entry in logs]
