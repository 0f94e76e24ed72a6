"""What strangers sent never steers the terminal of the owner who looks at it, and a closed pipe is no error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inbox.core.errors import Refused
from inbox.core.models import Request
from inbox.testing import Inbox
from tests.cli.conftest import Cli, unprintable

HOSTILE = {
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;owned\x07",
    "eight bit": "\x9b31mred",
    "nul": "a\x00b",
    "carriage return": "good\rbad",
    "reversed": "\u202egpj.exe",
    "half a character": "a\ud800b",
    "separator": "one\u2028two",
    "markup": "[red]not red[/red]",
    "broken markup": "[/nothing] [link=http://x]",
    "emoji code": ":warning: :smile:",
    "long": "x" * 100_000,
    "lines": "one\ntwo\n\nthree",
}
LISTS = (["events"], ["show", "1"], ["refusals"], ["sources"], ["handlers"], ["replays"], ["actions"], ["pause"])


@pytest.fixture(params=HOSTILE)
def text(request: pytest.FixtureRequest, inbox: Inbox) -> str:
    """Hostile text, received wherever a stranger can put some: type, key, body, header, path, and a handler's error."""
    found = HOSTILE[request.param]
    payload = {"id": found, "type": f"fail {found}", "why": found, found: found}
    inbox.receive("open", json.dumps(payload).encode(), headers={"X-Note": found})
    inbox.run()
    for source in ("nobody" + found, "roomz"):
        with pytest.raises(Refused):
            inbox.accept(source, Request(path=found, query=found, remote=found, headers=(("x-note", found),)))
    return found


def test_lists_show_hostile_text_as_text(text: str, inbox: Inbox, cli: Cli) -> None:
    """No control character, no mark that reverses text, no line wider than the table, in any list."""
    assert "dead" == inbox.event(1)["status"]
    for command in LISTS:
        printed = cli(*command).stdout
        assert "" == unprintable(printed), command
    assert max(map(len, cli("events").stdout.splitlines())) <= 200


def test_json_has_hostile_text_escaped_but_unchanged(text: str, inbox: Inbox, cli: Cli) -> None:
    """A program reads what came; a terminal has nothing to obey."""
    for command in LISTS:
        assert "" == unprintable(cli(*command, "--json").stdout), command
    (event,) = cli.json("show", "1")
    assert text == json.loads(event["body"])["why"]


@pytest.mark.parametrize("case", ["markup", "broken markup", "emoji code"])
def test_text_is_not_markup(case: str, inbox: Inbox, cli: Cli) -> None:
    """What looks like rich's markup or emoji codes is printed letter by letter."""
    inbox.receive("open", {"id": "1", "type": HOSTILE[case]})
    assert HOSTILE[case] in cli("events").stdout
    assert HOSTILE[case] in cli("show", "1").stdout


def test_a_body_that_is_not_json_is_shown_escaped(inbox: Inbox, cli: Cli) -> None:
    """Raw bytes of a quarantined event."""
    inbox.receive("open", b"\x1b[2J\xff\x00")
    assert r"\x1b[2J\xff\x00" in cli("show", "1").stdout
    assert "" == unprintable(cli("show", "1").stdout)


@pytest.mark.parametrize("command", [["events", "--limit", "400"], ["events", "--limit", "400", "--json"]])
def test_a_closed_pipe_is_no_error(command: list[str], inbox: Inbox, tmp_path: Path) -> None:
    """`inbox events | head -1` prints one line and no traceback."""
    for number in range(400):
        inbox.receive("open", {"id": f"{number:>150}", "type": "x" * 100})
    shell = f'"{sys.executable}" -m inbox {" ".join(command)} | head -1; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert ("", 2, "0") == (done.stderr, len(done.stdout.splitlines()), done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("where", "code", "said"),
    [
        (">&-", 0, ""),
        ("> >(exec >&-)", 0, ""),
        (">/dev/full", 1, "inbox: not everything could be written: No space left on device\n"),
    ],
)
def test_output_that_cannot_be_written_ends_quietly(
    where: str, code: int, said: str, inbox: Inbox, tmp_path: Path
) -> None:
    """Closed, without a reader, or on a full disk: no traceback, and the exit code tells."""
    inbox.receive("open", {"id": "1", "type": "t"})
    shell = f'"{sys.executable}" -m inbox events {where}'
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert (code, said) == (done.returncode, done.stderr)
