"""`inbox release`: what a wrong secret refused is taken in, and its owner is told about it before and after."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inbox.core.errors import NotAuthentic
from inbox.core.models import Request, Secret
from inbox.testing import Inbox
from tests.cli.conftest import Cli
from tests.support.place import Place

SOURCES = {"roomz": {"provider": "roomz", "on_unverified": "hold"}}
SETTINGS = """
[sources.roomz]
provider = "roomz"
secrets = ["env:ROOMZ_WEBHOOK_SECRET"]
on_unverified = "hold"
"""

HANDLER = """
from inbox import handles
from ._noted import noted

@handles("roomz")
@noted
def note(event):
    return event.key
"""


@pytest.fixture
def holding(inbox: Inbox, tmp_path: Path) -> Iterator[Inbox]:
    """An inbox that holds two requests under the right secret, which it did not have, and one that nobody signed."""
    (tmp_path / "inbox.toml").write_text(SETTINGS)
    inbox.close()
    with Inbox(tmp_path, sources={"roomz": {**SOURCES["roomz"], "secrets": ["wrong"]}}) as made:
        source = made.runtime.sources["roomz"]
        for body in (b'{"id": "one"}', b'{"id": "two"}', b"junk"):
            request = source.verifier.sign(Request(body=body), Secret("s" if body != b"junk" else "x"), at=made.clock())
            with pytest.raises(NotAuthentic):
                made.accept("roomz", request)
        yield made


def test_release_tells_what_became_of_the_requests(holding: Inbox, cli: Cli) -> None:
    """A line of numbers, and why the rest is still held; then only the rest is left."""
    assert [
        "2 quarantined, 1 still held",
        "1 still held: the signature fits none of the configured secrets: wrong secret, or a body that was changed on "
        "the way",
    ] == cli("release", "roomz").stdout.splitlines()
    assert "1 still held" == cli("release", "roomz").stdout.splitlines()[0]
    assert ["two", "one"] == [row["key"] for row in holding.events()]


def test_release_as_json(holding: Inbox, cli: Cli) -> None:
    """One object per request: its number, what it became and which event, or why it is still held."""
    rows = cli.json("release", "roomz")
    assert [(1, "quarantined", 1), (2, "quarantined", 2), (3, "", None)] == [
        (row["held"], row["status"], row["id"]) for row in rows
    ]
    assert ["", "", True] == [row["diagnosis"] and True for row in rows]


def test_held_lists_what_is_held(holding: Inbox, cli: Cli) -> None:
    """Oldest first, with the time until which each is kept, and never its body; of one source or of all."""
    rows = cli.json("held", "roomz")
    assert [(1, "roomz", "POST", 13), (2, "roomz", "POST", 13), (3, "roomz", "POST", 4)] == [
        (row["id"], row["source"], row["method"], row["size"]) for row in rows
    ]
    assert {"2026-01-01T00:00:00.000Z", "2026-01-08T00:00:00.000Z"} == {
        row[name] for row in rows for name in ("at", "expires_at")
    }
    assert {"id", "source", "at", "expires_at", "method", "size", "remote"} == set(rows[0])
    assert rows == cli.json("held")
    assert ["1", "2", "3"] == [line.split()[0] for line in cli("held").stdout.splitlines()[1:]]


def test_held_of_nothing_says_so(inbox: Inbox, cli: Cli) -> None:
    """And a source that nobody knows is an error, not an empty list."""
    assert ("nothing is held\n", []) == (cli("held").stdout, cli.json("held", "roomz"))
    assert "no source is called gone; configured: roomz, open" in cli("held", "gone", code=1).stderr


def test_discard_forgets_what_is_held_after_a_question(holding: Inbox, cli: Cli) -> None:
    """Nothing is taken in, nothing is held any more; without a yes everything stays."""
    refused = cli("release", "roomz", "--discard", text="n\n", code=1)
    assert ("", True) == (refused.stdout, "Discard 3 held requests of roomz for good?" in refused.stderr)
    assert 3 == len(cli.json("held"))
    assert "3 discarded\n" == cli("release", "roomz", "--discard", "--yes").stdout
    assert ([], []) == (cli.json("held"), holding.events())
    assert "nothing is held\n" == cli("release", "roomz", "--discard").stdout


def test_discard_of_a_source_that_was_removed(holding: Inbox, cli: Cli, tmp_path: Path) -> None:
    """Its requests can be listed and forgotten, though nobody can verify them; as JSON, one object per request."""
    (tmp_path / "inbox.toml").write_text("")
    assert 3 == len(cli.json("held", "roomz"))
    assert "no source is called roomz" in cli("release", "roomz", code=1).stderr
    rows = cli.json("release", "roomz", "--discard", "--yes")
    assert [(1, "discarded"), (2, "discarded"), (3, "discarded")] == [(row["held"], row["status"]) for row in rows]
    assert "no source is called roomz" in cli("release", "roomz", "--discard", code=1).stderr


def test_release_of_nothing_says_so(inbox: Inbox, cli: Cli) -> None:
    """A source that holds nothing, whether it is to hold or not."""
    assert "nothing is held\n" == cli("release", "roomz").stdout
    assert [] == cli.json("release", "roomz")


def test_release_of_an_unknown_source_names_those_that_are_there(inbox: Inbox, cli: Cli) -> None:
    """Exit code 1 and one line."""
    assert "no source is called gone; configured: roomz, open" in cli("release", "gone", code=1).stderr


def test_owner_sees_that_requests_are_held(holding: Inbox, cli: Cli) -> None:
    """`inbox sources` counts them, `inbox check` says what to do; when nothing is held both are silent."""
    assert [3] == [row["held"] for row in cli.json("sources")]
    assert "3 requests were not authentic and are held: `inbox release roomz`" in cli("check").stderr
    cli("release", "roomz")
    holding.advance(8 * 86_400)
    holding.sweep()
    assert [0] == [row["held"] for row in cli.json("sources")]
    assert "" == cli("check").stderr


def test_release_works_while_the_receiver_runs(place: Place) -> None:
    """The whole story with real processes: refused, secret corrected, restarted, released, handled."""
    place.configure(sources='[sources.roomz]\nprovider = "roomz"\nsecrets = ["env:OWN"]\non_unverified = "hold"\n')
    place.only_handler("own", HANDLER)
    place.environment["OWN"] = "wrong"
    place.start()
    place.environment["OWN"] = "right"
    assert [401, 401] == [answer["http_status"] for answer in place.send("roomz", 2, fate="refused")]
    assert [2] == [row["held"] for row in place.json("sources")]
    place.stop()
    place.start()
    rows = place.json("release", "roomz")
    assert ["accepted", "accepted"] == [row["status"] for row in rows]
    released = zip(place.witness.answers(), rows, strict=True)
    place.witness.add(
        *(replace(told, fate="succeeded", http=200, outcome="accepted", id=row["id"]) for told, row in released)
    )
    assert [200] == [answer["http_status"] for answer in place.send("roomz")]
    for event_id in (1, 2, 3):
        place.until_status(event_id, "succeeded")
    place.prove()
