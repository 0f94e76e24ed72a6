"""`inbox release`: what a wrong secret refused is taken in, and its owner is told about it before and after."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox.errors import NotAuthentic
from inbox.models import Request, Secret
from inbox.testing import Inbox
from tests.acceptance.place import Place, eventually
from tests.cli.conftest import Cli

SOURCES = {"roomz": {"provider": "roomz", "on_unverified": "hold"}}
SETTINGS = """
[sources.roomz]
provider = "roomz"
secrets = ["env:ROOMZ_WEBHOOK_SECRET"]
on_unverified = "hold"
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
    place.only_handler(
        "own", "from inbox import handles\n\n@handles('roomz')\ndef note(event):\n    return event.key\n"
    )
    place.environment["OWN"] = "wrong"
    place.start()
    place.environment["OWN"] = "right"
    assert [401, 401] == [answer["http_status"] for answer in place.send("roomz", "--times", "2", ok=False)]
    assert [2] == [row["held"] for row in place.json("sources")]
    place.stop()
    place.start()
    assert ["accepted", "accepted"] == [row["status"] for row in place.json("release", "roomz")]
    for event_id in (1, 2):
        place.until_status(event_id, "succeeded")
    assert [200] == [answer["http_status"] for answer in place.send("roomz")]
    eventually(lambda: place.event(3)["status"] == "succeeded", "a new event is handled as before")
