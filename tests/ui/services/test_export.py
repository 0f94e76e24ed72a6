"""What is copied from an event runs: curl and `inbox send` against a real receiver, the test under Python."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inbox.cli.send import post
from inbox.core.errors import NotFound
from inbox.core.models import Request
from inbox.runtime import Runtime
from inbox.testing import Inbox
from inbox.ui.services.export import FILL_IN, INLINE, copies
from tests.support import needs
from tests.support.place import Place

SECRET = 'it\'s $(a) "secret"'
SOURCES = """
[sources.open]
provider = "unsigned"
event_id = ["json:/id"]
event_type = ["json:/type"]
[sources.token]
provider = "token"
secrets = ["env:TOKEN_SECRET"]
secret_in = "header"
secret_name = "x-acme-token"
event_id = ["json:/id"]
[sources.roomz]
provider = "roomz"
secrets = ["env:ROOMZ_SECRET"]
"""
HOSTILE = {
    "quotes": b"""{"id": "q", "type": "x'; touch pwned; '\\"$(touch pwned)`touch pwned`\\\\ !! %s"}""",
    "lines": b'{\n\t"id": "l",\n\n "n": 1}\n',
    "a file's name": b"@/etc/passwd",
    "an option": b"-H x: y",
    "end of the text": b'END\n$(touch pwned)\nEND\n{"id": 1}',
    "carriage returns": b'{"id": "c"}\r\n',
    "zero": b"a\x00b",
    "binary": bytes(range(256)) * 3,
    "large": b'{"id": "big", "x": "' + b"y" * 200_000 + b'"}',
    "empty": b"",
    "not ascii": '{"id": "ü", "x": "\u202e\U0001f600"}'.encode(),
    "half a character": b'{"id": "\\ud800", "type": "\\ud800"}',
    "null": b"null",
}
HEADERS = (
    ("content-type", "application/json; x='$(touch pwned)'"),
    ("x-evil", "`touch pwned` \"; touch pwned; '@/etc/passwd"),
    ("x-empty", ""),
    ("x-latin", "gr\xfcn"),
)


@dataclass
class Running:
    """A real receiver, and the same inbox as the desk sees it."""

    place: Place
    runtime: Runtime

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.place.port}"

    def send(self, source: str, request: Request) -> int:
        """Send a request and return the event's id."""
        found = post(f"{self.url}/in/{source}", request)
        assert 200 == found["http_status"], found
        return int(found["answer"]["id"])

    def copies(self, number: int) -> dict[str, Any]:
        return copies(self.runtime, number, base=self.url + "/")

    def shell(self, text: str) -> str:
        """Run what was copied as a person does, and return what it printed."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**self.place.environment, "PATH": path}
        done = subprocess.run(
            ["bash", "-c", text], cwd=self.place.folder, env=environment, capture_output=True, text=True, timeout=30
        )
        assert "" == done.stderr, done.stderr
        assert not (self.place.folder / "pwned").exists()
        return done.stdout

    def test(self, text: str, folder: Path) -> None:
        """Run the test that was copied, in the folder of inbox.toml."""
        file = self.place.folder / "test_copied.py"
        file.write_text(text)
        names: dict[str, Any] = {"__file__": str(file), "__name__": "test_copied"}
        exec(compile(text, file, "exec"), names)
        before = Path.cwd()
        os.chdir(self.place.folder)
        try:
            next(value for name, value in names.items() if name.startswith("test_"))(folder)
        finally:
            os.chdir(before)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One receiver for all of these; no worker, so that nothing changes meanwhile."""
    needs.program("curl", "curl")
    place = Place(tmp_path_factory.mktemp("copies"))
    place.configure(sources=SOURCES)
    secrets = {"TOKEN_SECRET": SECRET, "ROOMZ_SECRET": "r" * 32}
    place.environment |= secrets
    place.start("serve")
    runtime = Runtime(place.settings)
    yield Running(place, runtime)
    runtime.close()
    place.close()


@pytest.mark.parametrize("name", HOSTILE)
def test_curl_sends_what_came(running: Running, name: str) -> None:
    """The same bytes: the receiver knows them as a copy. Nothing in body or headers reaches the shell."""
    number = running.send("open", Request(path="a b/c", query="x=$(id)&y='[1]'", headers=HEADERS, body=HOSTILE[name]))
    copied = running.copies(number)["curl"]
    assert {"status": "duplicate", "id": number} == json.loads(running.shell(copied["text"]))
    assert [] == copied["fill"]
    assert "cannot hold" in copied["notes"][-1]
    assert "x-latin" in copied["notes"][-1]


def test_curl_says_which_secret_to_fill_in(running: Running) -> None:
    """Until then it is refused; then it is a copy."""
    body = b'{"id": "t1"}'
    number = running.send("token", Request(headers=(("x-acme-token", SECRET),), body=body))
    copied = running.copies(number)["curl"]
    assert ["x-acme-token"] == copied["fill"]
    assert f"in the place of {FILL_IN} in x-acme-token; until then the answer is 401." in copied["notes"][0]
    assert SECRET not in copied["text"]
    assert {"error": "not_authentic"} == json.loads(running.shell(copied["text"]))
    quoted = SECRET.replace("'", "'\"'\"'")
    assert {"status": "duplicate", "id": number} == json.loads(running.shell(copied["text"].replace(FILL_IN, quoted)))


def test_signature_is_still_good(running: Running) -> None:
    """A signed request is a copy without anything to fill in; then the signer's own command is tried, too."""
    number = running.place.send("roomz")[0]["answer"]["id"]
    copied = running.copies(number)
    assert {"status": "duplicate", "id": number} == json.loads(running.shell(copied["curl"]["text"]))
    assert f'200 {{"status": "duplicate", "id": {number}}}\n' == running.shell(copied["send"]["text"])


def test_inbox_send_takes_any_bytes(running: Running) -> None:
    """Also what is no text, and a type that looks like an option."""
    number = running.send("open", Request(body=b'\xff\x00{"id"'))
    copied = running.copies(number)["send"]
    assert f'200 {{"status": "duplicate", "id": {number}}}\n' == running.shell(copied["text"])
    assert "--type=unknown" in copied["text"]


@pytest.mark.parametrize("name", ["quotes", "zero", "half a character", "null", "large"])
def test_sample_is_a_test_that_runs(running: Running, name: str, tmp_path: Path) -> None:
    """The event comes to the same end in a test: with the owner's sources, schemas and handlers."""
    body = HOSTILE[name] if name != "large" else HOSTILE[name].replace(b"big", b"sample")
    number = running.send("open", Request(body=body))
    copied = running.copies(number)["pytest"]
    if len(body) > INLINE:
        running.shell(copied["notes"][1].removeprefix("First: ").partition(", ")[0])
    expected = running.runtime.archive.event(number)["status"]
    if expected == "received":  # nothing handles it here; the owner wants a handler that does
        with pytest.raises(AssertionError):
            running.test(copied["text"], _made(tmp_path / "first"))
        copied["text"] = copied["text"].replace("'succeeded' ==", "'unhandled' ==")
    running.test(copied["text"], _made(tmp_path / "second"))


def test_sample_of_a_signed_event_runs_its_handler(running: Running, tmp_path: Path) -> None:
    """The handler that is shipped for it succeeds."""
    number = running.place.send("roomz")[0]["answer"]["id"]
    text = running.copies(number)["pytest"]["text"]
    running.test(text, tmp_path)
    with pytest.raises(AssertionError):
        running.test(text.replace("'succeeded'", "'dead'"), _made(tmp_path / "other"))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_what_is_gone_cannot_be_copied(desk: Inbox) -> None:
    """Without a body only the reason is given; an event that is not there is not found; of a source that is not
    configured there is the request alone."""
    number = desk.receive("open", {"id": "a", "type": "x"}).id
    del desk.runtime.__dict__["sources"]
    object.__setattr__(desk.runtime.settings, "sources", {})
    found = copies(desk.runtime, number)
    assert (None, None, None) == (found["send"], found["pytest"], found["problem"])
    assert found["curl"]["text"].startswith("curl -sS -g --path-as-is -X POST http://127.0.0.1:8000/in/open \\\n")
    desk.runtime.keeping.close()
    with pytest.raises(NotFound, match="there is no event 99"):
        copies(desk.runtime, 99)
