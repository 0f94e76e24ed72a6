"""`sources`, `handlers`, `events`, `show`, `refusals`: what is there, for people and for programs."""

import json
from pathlib import Path
from typing import Any

import pytest

from inbox.core.errors import Refused
from inbox.core.models import Request
from inbox.store.protocols import EVENT_STATUSES
from inbox.testing import NOW, Inbox
from tests.cli.conftest import Cli

AT = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def busy(inbox: Inbox) -> Inbox:
    """An inbox after a day: two that succeeded, one dead, one quarantined, one unhandled, one conflict."""
    inbox.receive("roomz")
    inbox.run()
    inbox.advance(60)
    inbox.receive("open", {"id": "o1", "type": "fail.hard", "why": "the sun is in the way"})
    inbox.run()
    inbox.advance(60)
    inbox.receive("open", b"not json")
    inbox.receive("open", {"id": "o2", "type": "other"})
    inbox.receive("open", {"id": "o2", "type": "other"})
    inbox.receive("open", {"id": "o2", "type": "changed"})
    inbox.run()
    inbox.advance(60)
    inbox.receive("roomz")
    return inbox


def refuse(inbox: Inbox, source: str = "roomz", **request: Any) -> None:
    with pytest.raises(Refused):
        inbox.accept(source, Request(**request))


def numbers(inbox: Inbox, rows: list[dict[str, Any]]) -> list[int]:
    """Return which of the inbox's events the rows are: 1 is the oldest. (Copies leave gaps between ids.)"""
    order = sorted(row["id"] for row in inbox.events())
    return [order.index(row["id"]) + 1 for row in rows]


def test_sources_shows_what_came_from_each(busy: Inbox, cli: Cli) -> None:
    """Configured ones, with counts and the time of the last."""
    refuse(busy)
    rows = {row["source"]: row for row in cli.json("sources")}
    counts = ("events", "duplicates", "conflicts", "quarantined", "dead", "refusals")
    assert ["open", "roomz"] == sorted(rows)
    assert [4, 1, 1, 1, 1, 0] == [rows["open"][key] for key in counts]
    assert [2, 0, 0, 0, 0, 1] == [rows["roomz"][key] for key in counts]
    assert ("roomz", "/in/roomz", "2026-01-01T00:03:00.000Z") == (
        rows["roomz"]["provider"], rows["roomz"]["address"], rows["roomz"]["last_refusal_at"],
    )  # fmt: skip
    printed = cli("sources").stdout
    assert ["open", "unsigned", "/in/open", "4"] == printed.splitlines()[1].split()[:4]


def test_sources_that_are_gone_stay_visible(busy: Inbox, tmp_path: Path, cli: Cli) -> None:
    """Events of a source that was taken out of inbox.toml are not forgotten, nor are calls of unknown addresses."""
    refuse(busy, "nobody")
    (tmp_path / "inbox.toml").write_text("")
    found = [(row["source"], row["provider"], row["events"], row["refusals"]) for row in cli.json("sources")]
    assert [("open", 4, 0), ("roomz", 2, 0)] == [(name, events, refusals) for name, _, events, refusals in found[1:]]
    assert {"(not configured)"} == {provider for _, provider, _, _ in found}
    assert 1 == found[0][3]


def test_sources_lists_the_providers(inbox: Inbox, cli: Cli) -> None:
    """What `provider` can be, and where its sender documents it."""
    rows = {row["provider"]: row for row in cli.json("sources", "--providers")}
    assert {"roomz", "roomle", "breakcold", "lemlist", "rootfi", "romify", "hmac", "unsigned"} <= set(rows)
    assert "Webhooks that nobody signed." == rows["unsigned"]["what"]
    assert rows["roomz"]["documented"].startswith("https://")
    assert "Webhooks that nobody signed." in cli("sources", "--providers").stdout


def test_handlers_shows_those_that_loaded_and_those_that_did_not(inbox: Inbox, tmp_path: Path, cli: Cli) -> None:
    """One row each, with what it is for or why it failed."""
    (tmp_path / "handlers" / "bad.py").write_text("raise RuntimeError('not [red]today')")
    rows = {row["handler"]: row for row in cli.json("handlers")}
    assert {"own.one": "loaded", "own.two": "loaded", "own.fail": "loaded", "bad": "failed"} == {
        name: row["state"] for name, row in rows.items()
    }
    assert ("open fail*", 1, 30.0, None) == tuple(
        rows["own.fail"][key] for key in ("handles", "attempts", "timeout", "failure")
    )
    assert "RuntimeError: not [red]today" == rows["bad"]["failure"]
    assert "RuntimeError: not [red]today" in cli("handlers").stdout


def test_handlers_that_are_gone_but_have_work_left_are_shown(inbox: Inbox, tmp_path: Path, cli: Cli) -> None:
    """Events wait for a handler whose file was removed or does not import: the owner sees how many."""
    inbox.receive("roomz")
    inbox.dispatcher.route()
    (tmp_path / "handlers" / "own.py").write_text("import gone_module")
    states = {row["handler"]: (row["state"], row["waiting"]) for row in cli.json("handlers")}
    assert {"own": ("failed", 0), "own.one": ("parked", 1), "own.two": ("parked", 1)} == states
    (tmp_path / "handlers" / "own.py").unlink()
    states = {row["handler"]: (row["state"], row["waiting"]) for row in cli.json("handlers")}
    assert {"own.one": ("gone", 1), "own.two": ("gone", 1)} == states


def test_events_are_listed_newest_first(busy: Inbox, cli: Cli) -> None:
    """Each with at least the members that the design promises."""
    rows = cli.json("events")
    assert [6, 5, 4, 3, 2, 1] == numbers(busy, rows)
    assert {"id", "source", "type", "key", "status", "received_at", "size", "duplicates", "conflict_of"} <= set(rows[0])
    assert (1, "roomz", "workspace.presence.changed", "succeeded", AT) == tuple(
        rows[-1][key] for key in ("id", "source", "type", "status", "received_at")
    )
    newest = [str(rows[0]["id"]), "roomz", "workspace.presence.changed"]
    assert newest == cli("events").stdout.splitlines()[1].split()[:3]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--source", "roomz"], [6, 1]),
        (["--source", "nobody"], []),
        (["--type", "fail.hard"], [2]),
        (["--type", "*a*"], [6, 5, 2, 1]),
        (["--type", "fail.har?"], [2]),
        (["--status", "succeeded"], [1]),
        (["--status", "dead"], [2]),
        (["--status", "quarantined"], [3]),
        (["--status", "unhandled"], [4]),
        (["--status", "conflict"], [5]),
        (["--status", "received"], [6]),
        (["--since", "2026-01-01T00:02:00Z"], [6, 5, 4, 3]),
        (["--until", "2026-01-01T00:02:00Z"], [2, 1]),
        (["--since", "2026-01-01T00:01:00Z", "--until", "2026-01-01T00:01:01Z"], [2]),
        (["--limit", "2"], [6, 5]),
        (["--source", "open", "--status", "conflict", "--type", "changed"], [5]),
    ],
)
def test_events_can_be_filtered(options: list[str], wanted: list[int], busy: Inbox, cli: Cli) -> None:
    """Every filter alone and together; all must hold."""
    assert wanted == numbers(busy, cli.json("events", *options))


def test_events_can_be_paged(busy: Inbox, cli: Cli) -> None:
    """The next page is below the last id of this one."""
    page = cli.json("events", "--limit", "4")
    assert [2, 1] == numbers(busy, cli.json("events", "--limit", "4", "--before", str(page[-1]["id"])))


@pytest.mark.parametrize("command", [["events"], ["refusals"], ["replays"]])
def test_empty_lists_say_so(command: list[str], inbox: Inbox, cli: Cli) -> None:
    """A sentence for people, an empty array for programs."""
    assert cli(*command).stdout.strip().endswith((".", "refused.", "yet."))
    assert [] == cli.json(*command)


def test_an_inbox_without_sources_or_handlers_says_what_to_do(inbox: Inbox, tmp_path: Path, cli: Cli) -> None:
    """The next step is in the sentence."""
    (tmp_path / "inbox.toml").write_text("")
    (tmp_path / "handlers" / "own.py").unlink()
    assert "No source is configured: add a [sources.NAME] table to inbox.toml.\n" == cli("sources").stdout
    assert (
        f"No handler is there: add a file to {tmp_path / 'handlers'}."
        == " ".join(cli("handlers").stdout.split("\n")).strip()
    )


def test_show_tells_everything_about_an_event(busy: Inbox, cli: Cli) -> None:
    """What came, what its handlers did, and the traceback of the one that failed."""
    printed = cli("show", "2").stdout
    for line in ("source        open", "type          fail.hard", "key           o1", "status        dead"):
        assert line in printed.splitlines()
    assert '  "why": "the sun is in the way"\n' in printed
    assert "own.fail: dead\n  1. 2026-01-01T00:01:00.000Z error\n  Traceback" in printed
    assert printed.endswith("ValueError: the sun is in the way\n")


def test_show_json_has_deliveries_and_the_body(busy: Inbox, cli: Cli) -> None:
    """An array with one object."""
    (event,) = cli.json("show", "1")
    assert ("roomz", "succeeded", AT) == (event["source"], event["status"], event["received_at"])
    assert [("own.one", "succeeded", AT), ("own.two", "succeeded", AT)] == [
        (row["handler"], row["status"], row["created_at"]) for row in event["deliveries"]
    ]
    assert "workspace.presence.changed" == json.loads(event["body"])["type"]
    assert ["content-type", "application/json"] in event["request"]["headers"]


def test_show_tells_why_an_event_is_quarantined(busy: Inbox, cli: Cli) -> None:
    """Where the payload breaks which rule."""
    assert "violation     /: " in cli("show", "3").stdout
    assert "not json" in cli("show", "3").stdout


@pytest.mark.parametrize("body", [b'{"id":"r", "n": 1.0}\r\n', b"\xff\x00\x1b[31m", b"", b'{"a": "\\u0000"}'])
def test_show_raw_prints_the_bytes_and_nothing_else(body: bytes, inbox: Inbox, cli: Cli) -> None:
    """For pipes: not decoded, no line break added."""
    number = inbox.receive("open", body).id
    assert body == cli("show", str(number), "--raw").stdout_bytes


def test_show_says_when_the_body_is_gone(busy: Inbox, cli: Cli) -> None:
    """Bodies may be removed before events are."""
    with busy.runtime.archive._connection.write() as connection:  # type: ignore[attr-defined]
        connection.execute("DELETE FROM bodies WHERE event_id = 1")
    assert "(the body was removed)" in cli("show", "1").stdout
    assert cli.json("show", "1")[0]["body"] is None
    assert "inbox: there is no body" in cli("show", "1", "--raw", code=1).stderr


@pytest.mark.parametrize("option", [[], ["--json"], ["--raw"]])
def test_show_of_an_unknown_id_fails(option: list[str], inbox: Inbox, cli: Cli) -> None:
    """Exit code 1 and a sentence."""
    result = cli("show", "99", *option, code=1)
    assert ("", "inbox: there is no event 99\n") == (result.stdout, result.stderr)


def test_refusals_tell_what_is_probably_wrong(inbox: Inbox, cli: Cli) -> None:
    """Newest first, for one source or all, with reason and diagnosis, and never the body."""
    refuse(inbox)
    inbox.advance(1)
    refuse(inbox, "nobody", body=b"secret body")
    refuse(inbox, "open", method="PUT")
    rows = cli.json("refusals")
    assert [("open", "method_not_allowed"), ("", "unknown_source"), ("roomz", "missing")] == [
        (row["source"], row["reason"]) for row in rows
    ]
    assert AT == rows[-1]["at"]
    assert ["roomz"] == [row["source"] for row in cli.json("refusals", "roomz")]
    assert ["open"] == [row["source"] for row in cli.json("refusals", "--limit", "1")]
    printed = cli("refusals").stdout
    assert "no source is called 'nobody'" in " ".join(printed.split())
    assert "secret body" not in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ["events", "--status", "sleeping"],
        ["events", "--since", "yesterday"],
        ["events", "--limit", "0"],
        ["events", "--before", "x"],
        ["show"],
        ["show", "x"],
        ["refusals", "--limit", "0"],
        ["sources", "roomz"],
        ["nothing"],
        ["--log-level", "loud", "events"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], inbox: Inbox, cli: Cli) -> None:
    """Click's own code for it, with a hint."""
    assert "Error: " in cli(*arguments, code=2).stderr


def test_every_status_can_be_asked_for(inbox: Inbox, cli: Cli) -> None:
    """The words of the design."""
    assert all(status in cli("events", "--help").stdout for status in EVENT_STATUSES)
    assert NOW == inbox.clock()


def test_show_finds_by_request_id(inbox: Inbox, cli: Cli) -> None:
    """What a sender has in his `Inbox-Request-Id` leads to the event, or to why there is none."""
    event, refusal = "r" + "1" * 23, "r" + "2" * 23
    inbox.accept("roomz", inbox.signed("roomz").replace(id=event))
    refuse(inbox, id=refusal)
    assert [(1, event)] == [(row["id"], row["request_id"]) for row in cli.json("show", event)]
    assert [event] == [row["request_id"] for row in cli.json("events")]
    assert f"request id    {event}" in cli("show", event).stdout.splitlines()
    assert ("refused", True) == (
        (found := cli("show", refusal).stdout.splitlines())[0],
        f"request id    {refusal}" in found,
    )
    assert [refusal] == [row["request_id"] for row in cli.json("show", refusal)]
    assert refusal in cli("refusals").stdout
    unknown = cli("show", "r" + "3" * 23, code=1)
    assert "no event and no refusal has the request id r333" in unknown.output
    cli("show", "r3", code=2)


def test_sources_tell_which_secret_matched_last(inbox: Inbox, tmp_path: Path, cli: Cli) -> None:
    """By its place in `secrets` and to the minute; one that never matched, or long ago, can go."""
    settings = tmp_path / "inbox.toml"
    settings.write_text(settings.read_text().replace('RET"]', 'RET", "file:old"]', 1))
    (tmp_path / "old").write_text("old secret")
    inbox.receive("roomz")
    inbox.advance(130)
    inbox.receive("roomz", {"id": "two", "type": "x"})
    found = {row["source"]: row["secrets"] for row in cli.json("sources")}
    first = {"secret": 1, "last_matched_at": "2026-01-01T00:02:00.000Z"}
    assert {"open": [], "roomz": [first, {"secret": 2, "last_matched_at": None}]} == found
    assert "1: 2026-01-01T00:02:00.000Z, 2: never" in cli("sources").stdout
