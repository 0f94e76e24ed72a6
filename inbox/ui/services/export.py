"""One event as text that a person takes elsewhere: a curl command, an `inbox send` command, a test. All of it runs.

What a sender sent stands in it only quoted, for the shell or for Python. Credentials are not stored, so a curl command
has gaps, which `fill` names; `inbox send` signs anew.
"""

import re
from base64 import b64encode
from pprint import pformat
from shlex import quote
from typing import Any
from urllib.parse import quote as percent

from inbox.core.errors import Malformed, NotFound, Unreadable
from inbox.core.models import REDACTED, Request, Secret
from inbox.runtime import Runtime
from inbox.verify.providers.base import encode
from inbox.verify.schemas import parse

INLINE = 32 * 1024
"""Bytes of a body up to which it is part of the text; a larger one is fetched with `inbox show ID --raw`."""

FILL_IN = "FILL-IN"
_LEFT_OUT = frozenset({"host", "content-length", "transfer-encoding", "connection", "keep-alive", "expect", "te"})
"""Headers that curl makes itself, or that belong to the connection."""

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""What a shell cannot hold, or what does not survive that it is copied from a page; line breaks do."""


def copies(runtime: Runtime, event_id: int, *, base: str = "http://127.0.0.1:8000") -> dict[str, Any]:
    """Return `curl`, `send` and `pytest`, each {text, notes} or None, and `problem`: why there is none of them.

    text   what to copy; a whole command or file, with a line break at its end
    notes  sentences that the reader needs: which header to fill in, what answer to expect
    fill   in `curl`: the names of what has to be filled in
    `base` is the address of the receiver as its senders know it. Raises NotFound.
    """
    event = runtime.archive.event(event_id)
    try:
        request = runtime.archive.request(event_id)
    except (NotFound, Unreadable) as error:
        return {"curl": None, "send": None, "pytest": None, "problem": str(error)}
    return {
        "curl": curl(event, request, base.rstrip("/")),
        "send": send(runtime, event, request),
        "pytest": sample(runtime, event, request),
        "problem": None,
    }


def curl(event: dict[str, Any], request: Request, base: str) -> dict[str, Any]:
    """Return the request as a curl command, as far as it is stored."""
    fill, options, odd = [], [], []
    for name, value in request.headers:
        if name in _LEFT_OUT or not _NAME.fullmatch(name):
            continue
        if _CONTROL.search(value) or not value.isascii():
            odd.append(name)
        elif REDACTED in value:
            fill.append(name)
            options.append(f"-H {quote(f'{name}: {value.replace(REDACTED, FILL_IN)}')}")
        else:
            options.append(f"-H {quote(f'{name}: {value}' if value else f'{name};')}")
    if request.header("content-type") is None and request.body:
        options.append("-H 'content-type:'")
    if REDACTED in request.query or REDACTED in request.path:
        fill.append("the address")
    if REDACTED.encode() in request.body:
        fill.append("the body")
    before, data = _data(event["id"], request)
    lines = [f"curl -sS -g --path-as-is -X {quote(request.method)} {quote(_address(event['source'], request, base))}"]
    lines += [*options, *([data] if data else [])]
    text = before + " \\\n  ".join(lines) + "\n"
    if before.startswith("base64"):
        text += f"{_wrapped(request.body)}\nEND\n"
    return {"text": text, "notes": _curl_notes(fill, odd), "fill": fill}


def _address(source: str, request: Request, base: str) -> str:
    path = "/" + percent(request.path.replace(REDACTED, FILL_IN)) if request.path else ""
    query = request.query.replace(REDACTED, FILL_IN)
    query = percent(query, safe="/?:@!$&'()*+,;=%-._~[]|")
    return f"{base}/in/{source}{path}" + (f"?{query}" if query else "")


def _data(event_id: int, request: Request) -> tuple[str, str]:
    """Return what stands before curl, and the option for the body."""
    body = request.body.replace(REDACTED.encode(), FILL_IN.encode())
    if not body:
        return "", "" if request.method in ("GET", "DELETE") else "--data-raw ''"
    if len(body) > INLINE:
        return f"inbox show {event_id} --raw | ", "--data-binary @-"
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if _CONTROL.search(text):
        return "base64 -d <<'END' | ", "--data-binary @-"
    return "", f"--data-raw {quote(text)}"


def _wrapped(body: bytes) -> str:
    text = b64encode(body.replace(REDACTED.encode(), FILL_IN.encode())).decode()
    return "\n".join(text[begin : begin + 100] for begin in range(0, len(text), 100))


def _curl_notes(fill: list[str], odd: list[str]) -> list[str]:
    notes = []
    if fill:
        places = ", ".join(fill)
        notes.append(
            f"Secrets are not stored: put yours, as the sender writes it, in the place of {FILL_IN} in {places}; "
            "until then the answer is 401."
        )
    else:
        notes.append(
            "If its proof is still good it is answered as a duplicate; one that holds its time gets 401 later."
        )
    if odd:
        notes.append(f"Left out, because a shell cannot hold what is in them: {', '.join(odd)}.")
    return notes


def send(runtime: Runtime, event: dict[str, Any], request: Request) -> dict[str, Any] | None:
    """Return the body and type as an `inbox send` command, which signs anew; None if the source is not configured."""
    if event["source"] not in runtime.sources:
        return None
    text = (
        f"inbox show {event['id']} --raw | inbox send {quote(event['source'])} --data - --type={quote(event['type'])}\n"
    )
    notes = [
        "It is signed anew with the first secret, in the folder of inbox.toml. Where the event key is in the body it "
        "is a duplicate; otherwise it is a new event, and handlers run."
    ]
    if request.method in ("GET", "DELETE") and not request.body:
        notes.append("This event has its data in the address, which is not sent: use the curl command.")
    return {"text": text, "notes": notes}


def sample(runtime: Runtime, event: dict[str, Any], request: Request) -> dict[str, Any] | None:
    """Return a test that receives the event and runs the handlers on it; None if the source is not configured."""
    if event["source"] not in runtime.sources:
        return None
    settings = runtime.settings.sources[event["source"]]
    options = {name: value for name, value in settings.options.items() if not isinstance(value, Secret)}
    table = pformat({event["source"]: {"provider": settings.provider, **options}}, width=100, sort_dicts=False)
    body, imports, notes = _body(event["id"], request)
    expected = event["status"] if event["status"] in ("quarantined", "unhandled") else "succeeded"
    places = f"handlers={runtime.settings.inbox.handlers!r}, schemas={runtime.settings.inbox.schemas!r}"
    text = f"""\
{imports}from inbox.testing import Inbox

SOURCES = {table}
BODY = {body}


def test_event_{event["id"]}(tmp_path):
    with Inbox(tmp_path, {places}, sources=SOURCES) as inbox:
        answer = inbox.receive({event["source"]!r}, BODY, type={event["type"]!r})
        inbox.run()
        assert {expected!r} == inbox.event(answer.id)["status"]
"""
    notes.insert(0, "Run it with pytest in the folder of inbox.toml; the handlers really run.")
    return {"text": text, "notes": notes}


def _body(event_id: int, request: Request) -> tuple[str, str, list[str]]:
    """Return the body as Python, the imports that it needs, and notes."""
    if len(request.body) > INLINE:
        name = f"event-{event_id}.body"
        note = f"First: inbox show {event_id} --raw > {name}, beside the test."
        return f'(Path(__file__).parent / "{name}").read_bytes()', "from pathlib import Path\n\n", [note]
    try:
        payload = parse(request.body)
        encode(payload)
    except (Malformed, UnicodeEncodeError):  # the latter of halves of characters, which JSON can only escape
        return repr(request.body), "", []
    if payload is None:  # None would ask for a sample
        return repr(request.body), "", []
    return pformat(payload, width=100, sort_dicts=False), "", []
