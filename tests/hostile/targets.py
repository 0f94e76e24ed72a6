"""What fuzzing calls: each target takes bytes that a stranger chose and fails if a promise is broken.

A request is written as text, so that a fuzzer can change it: a byte that picks the source, `METHOD path?query`, header
lines, an empty line, the body. `seeds` gives a genuine request of every source, and everything that was recorded.
"""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from inbox.core.config.settings import SourceSettings
from inbox.core.errors import Malformed, NotAuthentic, Refused
from inbox.core.models import NewEvent, Refusal, Request, Secret, Stored, Verified, header_name
from inbox.receive.receiver import Receiver, payload_of
from inbox.verify import event_key
from inbox.verify.providers import build
from inbox.verify.providers.base import Provider, encode
from inbox.verify.schemas import MAX_TEXT, MAX_VIOLATIONS, Schemas, parse

AT = 1_773_921_600.0
AES = "0123456789abcdef0123456789abcdef"
TEXT = "s3cret-of-the-sender-0001"
SEED = bytes(range(32))
PUBLIC = bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
"""Of the Ed25519 key whose seed is SEED."""

_LOCKED = {"provider": "token", "secrets": [TEXT], "methods": ("POST", "PUT", "GET", "DELETE")}
_HMAC = {"provider": "hmac", "secrets": [TEXT], "header": "X-Signature"}
_ROOMLE = {"provider": "roomle", "secrets": [AES], "api_key": Secret("the-api-key")}

SOURCES: Mapping[str, Mapping[str, Any]] = {
    "roomz": {"provider": "roomz", "secrets": [TEXT, "older"]},
    "roomle": _ROOMLE,
    "roomle-prefix": {**_ROOMLE, "iv": "prefix", "token_reuse": "allow"},
    "roomle-zero": {**_ROOMLE, "iv": "zero"},
    "roomle-key": {**_ROOMLE, "iv": "key"},
    "roomle-fixed": {**_ROOMLE, "iv": "00112233445566778899aabbccddeeff"},
    "roomle-ecb": {**_ROOMLE, "schemes": ("02",), "header": "authorization"},
    "breakcold": {"provider": "breakcold", "secrets": [TEXT]},
    "breakcold-v2": {"provider": "breakcold_v2", "secrets": [TEXT]},
    "lemlist": {"provider": "lemlist", "secrets": [TEXT]},
    "rootfi": {"provider": "rootfi", "secrets": [TEXT]},
    "rootfi-v4": {"provider": "rootfi", "secrets": [TEXT], "version": "v4"},
    "rootfi-v4-time": {
        "provider": "rootfi",
        "secrets": [TEXT],
        "version": "v4",
        "encoding": "base64",
        "signed": "{timestamp}.{body}",
        "timestamp_header": "X-Time",
    },
    "romify": {"provider": "romify", "secrets": [TEXT], "prefix": "Bearer "},
    "romify-query": {"provider": "romify", "secrets": [TEXT], "secret_in": "query"},
    "romify-body": {"provider": "romify", "secrets": [TEXT], "secret_in": "body"},
    "romify-path": {"provider": "romify", "secrets": [TEXT], "secret_in": "path", "methods": ("GET", "DELETE")},
    "standard": {
        "provider": "standard_webhooks",
        "secrets": [f"whsec_{base64.b64encode(SEED).decode()}", f"whpk_{base64.b64encode(PUBLIC).decode()}"],
    },
    "standard-v1a": {
        "provider": "standard_webhooks",
        "secrets": [f"whsk_{base64.b64encode(SEED + PUBLIC).decode()}"],
    },
    "hmac": {**_HMAC, "event_id": ("json:/id", "header:X-Id"), "on_invalid": "reject"},
    "hmac-sha1": {**_HMAC, "digest": "sha1", "encoding": "base64", "prefix": "sha1=", "event_id": ("path:1", "body")},
    "hmac-slack": {**_HMAC, "prefix": "v0=", "signed": "v0:{timestamp}:{body}", "timestamp_header": "X-Time"},
    "hmac-stripe": {**_HMAC, "list_keys": ("t", "v1"), "signed": "{timestamp}.{body}", "event_id": ("json:/a/0/~1",)},
    "hmac-id": {
        **_HMAC,
        "digest": "sha512",
        "signed": "{id}.{timestamp}.{body}",
        "id_header": "X-Id",
        "timestamp_header": "X-Time",
        "event_id": ("header:X-Id",),
    },
    "hmac-id-alone": {**_HMAC, "signed": "{id}{body}", "id_header": "X-Id", "event_id": ("header:X-Id",)},
    "hmac-hex-key": {**_HMAC, "secrets": [SEED.hex()], "key_encoding": "hex", "digest": "sha384"},
    "hmac-base64-key": {**_HMAC, "secrets": [base64.b64encode(SEED).decode()], "key_encoding": "base64"},
    "token": {**_LOCKED, "secret_name": "X-Token-Here", "event_id": ("query:id", "path"), "event_type": ("=fixed",)},
    "token-query": {**_LOCKED, "secret_in": "query", "secret_name": "key &=ö", "event_type": ("query:type",)},
    "token-body": {**_LOCKED, "secret_in": "body", "secret_name": "/a/b~1c/ö", "methods": ("POST",)},
    "token-path": {**_LOCKED, "secret_in": "path", "secret_name": "2", "event_id": ("path",)},
    "basic": {"provider": "basic", "secrets": [TEXT], "username": "jörg"},
    "unsigned": {"provider": "unsigned", "secrets": []},
}
"""Every provider in every way of setting it up that takes another path through the code."""

ROOMLE = tuple(name for name in SOURCES if name.startswith("roomle"))
FOLDER = Path(__file__).parents[1]
SCHEMAS = Schemas(FOLDER.parent / "schemas")
COVERED = ("roomz", "breakcold-v2", "rootfi-v4", "standard", "hmac")
"""How the names of those sources begin whose sender's proof covers the body."""


def covers_body(name: str) -> bool:
    """Tell whether the proof of this source's sender covers the body."""
    return name.startswith(COVERED)


def _build(name: str, table: Mapping[str, Any]) -> Provider:
    options = {key: list(value) if isinstance(value, tuple) else value for key, value in table.items()}
    options = {key: value for key, value in options.items() if key not in ("provider", "secrets")}
    return build(SourceSettings(name, table["provider"], tuple(map(Secret, table["secrets"])), options))


PROVIDERS: Mapping[str, Provider] = {name: _build(name, table) for name, table in SOURCES.items()}


def genuine(name: str) -> Request:
    """Return a request as this source's sender sends it."""
    provider = PROVIDERS[name]
    payload = provider.sample("", id="evt-1", at=AT)
    request = provider.compose(encode(payload), "", id="evt-1", at=AT)
    if name == "token-path":
        request = request.replace(path="hooks/rest")
    with patch("os.urandom", return_value=bytes(range(16))):
        return provider.sign(request, at=AT)


GENUINE: Mapping[str, Request] = {name: genuine(name) for name in SOURCES}


def written(request: Request) -> bytes:
    """Return a request as text."""
    lines = [
        f"{request.method} {request.path}?{request.query}",
        *(f"{name}: {value}" for name, value in request.headers),
    ]
    return "\n".join(lines).encode("latin-1", "replace") + b"\n\n" + request.body


def read(text: bytes) -> Request:
    """Return the request that text, or anything else, stands for."""
    head, _, body = text.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    method, _, target = first.partition(" ")
    path, _, query = target.partition("?")
    headers = [(header_name(name.strip()), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Request(method, path, query, tuple(headers), body, "127.0.0.1")


def everything(request: Request) -> bytes:
    """Return all that would be stored of a request, in one piece."""
    text = "\n".join((request.path, request.query, *(part for pair in request.headers for part in pair)))
    return text.encode("utf-8", "surrogatepass") + request.body


def is_line(text: str, most: int) -> bool:
    """Tell whether text can stand in a table, in a log and in a database."""
    text.encode()
    return len(text) <= most and not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text)


def believed(name: str, request: Request) -> Verified | None:
    """Return why the request is believed, None if it is refused; nothing else may happen."""
    try:
        verified = PROVIDERS[name].verify(request, at=AT)
    except NotAuthentic as refused:
        check_refused(refused)
        return None
    assert isinstance(verified, Verified)
    return verified


def check_refused(refused: Refused) -> None:
    """Check that a refusal can be counted and shown."""
    reason = getattr(refused, "reason", "")
    assert reason in ("", "missing", "malformed", "mismatch", "stale", "forbidden")
    assert is_line(event_key.printable(refused.diagnosis), 10_000)
    assert refused.diagnosis


def check_request(name: str, request: Request) -> None:
    """Check everything that is promised about one request to one source."""
    provider = PROVIDERS[name]
    verified = believed(name, request)
    redacted = provider.redact(request)
    if verified is not None and name != "unsigned":
        if covers_body(name):
            assert request.body == GENUINE[name].body
            assert verified.whole
        else:
            assert believed(name, redacted) is None, "what is stored would be believed"
    found = verified or Verified("nobody")
    try:
        payload = payload_of(provider, redacted)
    except Malformed as malformed:
        check_refused(malformed)
        payload = None
    digest = event_key.content_digest(redacted)
    kind = provider.type_of(redacted, payload)
    assert is_line(kind, event_key.MAX_TYPE)
    assert kind
    assert is_line(provider.key_of(redacted, payload, found, digest), 300)
    assert provider.binds(redacted, payload, found) in (True, False)
    check_violations(provider.name, kind, payload)


def check_violations(provider: str, kind: str, payload: Any) -> None:
    """Check that violations are few and can be shown."""
    for formats in ("annotate", "assert"):
        violations = SCHEMAS.violations(provider, kind, payload, formats=formats)
        assert len(violations) <= MAX_VIOLATIONS
        assert all(is_line(str(item), 2 * MAX_TEXT + 50) for item in violations)


class _Inlet:
    """Keeps nothing, and looks at what it is given."""

    def __init__(self) -> None:
        self.events: list[NewEvent] = []

    def add_event(self, event: NewEvent) -> Stored:
        self.events.append(event)
        return Stored("accepted", 1, wake=True)

    def add_refusal(self, refusal: Refusal) -> bool:
        shown = (
            refusal.diagnosis,
            refusal.method,
            refusal.remote,
            *(part for pair in refusal.headers for part in pair),
        )
        assert all(is_line(text, 15_000) for text in shown)
        return True


class _Known:
    """A clock that is believed."""

    def now(self) -> float:
        return AT

    def day(self, wall: float) -> float:
        return wall


def verify(data: bytes) -> None:
    """Any request to any source."""
    name = list(SOURCES)[(data[0] if data else 0) % len(SOURCES)]
    check_request(name, read(data[1:]))


def receive(data: bytes) -> None:
    """The whole way of a request up to the store."""
    name = list(SOURCES)[(data[0] if data else 0) % len(SOURCES)]
    inlet, request = _Inlet(), read(data[1:])
    receiver = Receiver(PROVIDERS, SCHEMAS, inlet, lambda event_id: None, lambda: AT, _Known())  # type: ignore[arg-type]
    try:
        receiver.accept(name, request, lambda limit: request.body)
    except Refused:
        assert inlet.events == []
    else:
        assert len(inlet.events) == 1
        assert believed(name, request) is not None


def json_text(data: bytes) -> None:
    """Any body: JSON that says the same when it is written again, or Malformed."""
    try:
        payload = parse(data)
    except Malformed as malformed:
        check_refused(malformed)
        return
    assert parse(json.dumps(payload).encode()) == payload


def schema(data: bytes) -> None:
    """A type of any name in the first line, any JSON after it, against every provider's schemas."""
    kind, _, body = data.partition(b"\n")
    try:
        payload = parse(body)
    except Malformed:
        return
    for provider in ("roomz", "roomle", "breakcold", "breakcold_v2", "lemlist", "rootfi", "romify"):
        check_violations(provider, kind.decode("utf-8", "replace"), payload)


def rules(data: bytes) -> None:
    """A rule for id or type in the first line, and a request after it."""
    rule, _, text = data.partition(b"\n")
    try:
        event_key.check_rule(rule.decode("utf-8", "replace"))
    except ValueError:
        return
    request = read(text)
    try:
        payload = parse(request.body)
    except Malformed:
        payload = None
    names = (rule.decode("utf-8", "replace"),)
    event_key.pointed(payload, names[0])
    digest = event_key.content_digest(request)
    assert is_line(
        event_key.event_key(names, request, payload, Verified("any", 0, "token:1"), digest), event_key.MAX_KEY
    )
    assert is_line(event_key.event_type(names, request, payload), event_key.MAX_TYPE)


def aes_token(data: bytes) -> None:
    """Any token: in no reading is it believed, unless it ends as a genuine one does."""
    for name in ROOMLE:
        provider = PROVIDERS[name]
        request = GENUINE[name].with_headers({provider.header: data.decode("latin-1")})  # type: ignore[attr-defined]
        if believed(name, request) is not None:
            assert _end(name, request) in {_end(other, GENUINE[other]) for other in ROOMLE}


def _end(name: str, request: Request) -> bytes:
    token = str(request.header(PROVIDERS[name].header)).strip().partition("-")[2]  # type: ignore[attr-defined]
    standard = token.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(standard + "=" * (-len(standard) % 4))[-16:]


def standard_webhooks(data: bytes) -> None:
    """The three headers and the body, one after the other."""
    parts = [*data.split(b"\n", 3), b"", b"", b"", b""][:4]
    event_id, stamp, signature = (part.decode("latin-1") for part in parts[:3])
    for name in ("standard", "standard-v1a"):
        headers = {"webhook-id": event_id, "webhook-timestamp": stamp, "webhook-signature": signature}
        request = Request(body=parts[3]).with_headers(headers)
        if believed(name, request) is not None:
            assert (GENUINE[name].body, GENUINE[name].header("webhook-id")) == (request.body, event_id.strip())


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "verify": verify,
    "receive": receive,
    "json_text": json_text,
    "schema": schema,
    "rules": rules,
    "aes_token": aes_token,
    "standard_webhooks": standard_webhooks,
}


def seeds(target: str) -> Iterator[bytes]:
    """Yield inputs that are near to what the target takes for good."""
    bodies = [path.read_bytes() for path in sorted((FOLDER / "samples").rglob("*.json"))]
    if target in ("verify", "receive"):
        for number, (_, request) in enumerate(GENUINE.items()):
            yield bytes([number]) + written(request)
        for vector in json.loads((FOLDER / "vectors.json").read_bytes()):
            headers = tuple((header_name(name), value) for name, value in vector["headers"].items())
            yield b"\x13" + written(Request(headers=headers, body=vector.get("body", "").encode()))
    elif target == "json_text":
        yield from bodies
        yield from (b"[1e999]", b'{"a":1,"a":2}', b"\xef\xbb\xbf{}", b'"\\ud800"', b"[" * 101 + b"]" * 101, b"-0.0")
    elif target == "schema":
        yield from (f"{name}\n".encode() + body for body in bodies for name in _names(body))
    elif target == "rules":
        shown = written(GENUINE["romify-query"])
        rules = ("json:/a/0/~1~0", "header:X-Id", "query:id", "path", "path:2", "body", "token", "=fixed")
        yield from (rule.encode() + b"\n" + shown for rule in rules)
        yield from (b"json:/data/0/id\n" + shown.partition(b"\n\n")[0] + b"\n\n" + body for body in bodies)
    elif target == "aes_token":
        for name in ROOMLE:
            yield str(GENUINE[name].header(PROVIDERS[name].header)).encode()  # type: ignore[attr-defined]
    else:
        for name in ("standard", "standard-v1a"):
            parts = [str(GENUINE[name].header(f"webhook-{part}")).encode() for part in ("id", "timestamp", "signature")]
            yield b"\n".join((*parts, GENUINE[name].body))


def _names(body: bytes) -> Iterator[str]:
    payload = json.loads(body)
    found = (payload.get(key) for key in ("type", "event") if isinstance(payload, dict))
    yield from (name for name in found if isinstance(name, str))
    yield "default"
