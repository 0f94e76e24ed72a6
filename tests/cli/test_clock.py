"""`inbox clock`: whether the clock is believed, and saying that it is right."""

from inbox.testing import NOW, Inbox
from tests.cli.conftest import Cli

DAY = 86_400.0


def test_a_clock_that_is_believed(cli: Cli, inbox: Inbox) -> None:
    """An inbox with nothing in it believes any clock."""
    said = cli("clock").stdout
    assert "the clock is believed: it goes in step with the time that passes\n" in said
    (row,) = cli.json("clock")
    assert (False, 0.0, None) == (row["doubtful"], row["gap"], row["jumped_at"])
    assert {"at", "known", "doubtful", "gap", "settled", "jumped_at", "jump"} == set(row)


def test_a_clock_in_doubt_says_what_to_do(cli: Cli, inbox: Inbox) -> None:
    """The last that is stored is from long ago; the doctor says it, too."""
    inbox.receive("roomz")
    said = cli("clock").stdout
    assert "the clock is in doubt: it jumped by +" in said
    assert "if it is right now: `inbox clock confirm`; if it stays in step, that happens by itself in 1 h 0 min" in said
    assert "if the machine was off for that long: `inbox clock confirm --count`" in said
    (row,) = cli.json("clock")
    assert (True, "2026-01-01T00:00:00") == (row["doubtful"], row["known"][:19])
    doctor = cli("doctor", code=1).stdout
    assert "is in doubt: nothing is deleted for its age until that is over" in doctor


def test_a_confirmed_clock_is_believed_and_makes_nothing_older(cli: Cli, inbox: Inbox) -> None:
    """Nothing is left to count afterwards."""
    inbox.receive("roomz")
    cli("clock")
    said = cli("clock", "confirm").stdout
    assert said.startswith("it is 20")
    assert "the jump by +" in said
    assert "makes nothing older" in said
    assert "the clock is believed" in cli("clock").stdout
    assert "; the jump" not in cli("clock", "confirm").stdout
    assert NOW == inbox.event(1)["received_at"]


def test_a_jump_that_counts(cli: Cli, inbox: Inbox) -> None:
    """Because the machine was off."""
    inbox.receive("roomz")
    assert "the jump by +" in cli("clock", "confirm", "--count").stdout
    assert "the clock is believed" in cli("clock").stdout
