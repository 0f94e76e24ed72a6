"""What holds for every request that anybody could think of, and for every change of a genuine one."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inbox.core.models import REDACTED, Request
from inbox.receive.statuses import STATUSES
from inbox.receive.wsgi import create_app
from inbox.testing import Inbox
from tests.hostile import targets
from tests.hostile.targets import GENUINE, PROVIDERS, SOURCES, believed, check_request, covers_body, everything

EXAMPLES = settings(
    derandomize=True, deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
HEADERS = sorted({name for request in GENUINE.values() for name, _ in request.headers} | {"host", "x-token"})
ODD = (
    "",
    " ",
    ",",
    "=",
    "%",
    ";",
    "ö",
    "\x00",
    "\udc80",
    "١٢٣",
    "sha256=",
    "v1,",
    "01-",
    "1e9",
    "-1",
    "9" * 400,
    "A" * 5000,
)

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20))
payloads = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["secret", "id", "_id", "type", "event", "data", "a", "b/c", "ö", "\ud800"]), inner
        ),
    ),
    max_leaves=10,
)
bodies = st.one_of(
    st.binary(max_size=200),
    payloads.map(lambda payload: targets.json.dumps(payload).encode()),
    st.sampled_from([request.body for request in GENUINE.values()]),
    st.sampled_from(
        [b"[" * 20_000, b'{"a":' * 5000, b'{"secret":"\\ud800"}', b'{"secret":NaN}', b"9" * 5000, b"\xff" * 9]
    ),
)
values = st.one_of(
    st.text(max_size=60),
    st.sampled_from(ODD),
    st.sampled_from([value for request in GENUINE.values() for _, value in request.headers]),
)
requests = st.builds(
    Request,
    method=st.one_of(st.sampled_from(["POST", "GET", "DELETE", "PUT", "HEAD", ""]), st.text(max_size=9)),
    path=st.one_of(st.text(max_size=40), st.sampled_from(["a/b", "//", "../..;/", "%2f", targets.TEXT, "x/\x00/y"])),
    query=st.one_of(st.text(max_size=60), st.sampled_from(["a=b&a=c", "&&==", "id=%ff", "romify_secret=%", "+" * 50])),
    headers=st.lists(st.tuples(st.one_of(st.sampled_from(HEADERS), st.text(max_size=9)), values), max_size=6).map(
        tuple
    ),
    body=bodies,
)
sources = pytest.mark.parametrize("name", SOURCES)


@sources
@EXAMPLES
@given(request=requests)
def test_any_request_is_believed_or_refused(name: str, request: Request) -> None:
    """Verify, redact, type, key and violations never raise anything else, whatever stands in the request."""
    check_request(name, request)


def changed(request: Request, chance: random.Random) -> Request:
    """Return the request after a few changes as a stranger, a proxy or a broken line makes them."""
    for _ in range(chance.randint(1, 3)):
        request = chance.choice(CHANGES)(request, chance)
    return request


def _bit(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data)) if data else 0
    return data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :] if data else b"x"


def _body_bit(request: Request, chance: random.Random) -> Request:
    return request.replace(body=_bit(request.body, chance))


def _body_cut(request: Request, chance: random.Random) -> Request:
    return request.replace(body=request.body[: chance.randrange(len(request.body) + 1)])


def _body_more(request: Request, chance: random.Random) -> Request:
    more = chance.choice([b"\n", b" ", b"\0", b"{}", request.body, b',"a":1}'])
    return request.replace(body=chance.choice([request.body + more, more + request.body]))


def _headers(request: Request, chance: random.Random, change: Any) -> Request:
    headers = list(request.headers)
    place = chance.randrange(len(headers))
    headers[place : place + 1] = change(*headers[place])
    return request.replace(headers=tuple(headers))


def _value_bit(request: Request, chance: random.Random) -> Request:
    bit = lambda name, value: [(name, _bit(value.encode("latin-1", "replace"), chance).decode("latin-1"))]  # noqa: E731
    return _headers(request, chance, bit)


def _value_cut(request: Request, chance: random.Random) -> Request:
    return _headers(request, chance, lambda name, value: [(name, value[: chance.randrange(len(value) + 1)])])


def _value_respelled(request: Request, chance: random.Random) -> Request:
    spell = chance.choice([str.upper, str.lower, lambda text: f" {text}\t", lambda text: text.replace("=", "= ")])
    return _headers(request, chance, lambda name, value: [(name, spell(value))])


def _header_twice(request: Request, chance: random.Random) -> Request:
    other = chance.choice(ODD)
    both = chance.choice(
        [lambda name, value: [(name, value), (name, other)], lambda name, value: [(name, other), (name, value)]]
    )
    return _headers(request, chance, both)


def _header_joined(request: Request, chance: random.Random) -> Request:
    """As granian joins a header that stands there twice."""
    return _headers(request, chance, lambda name, value: [(name, f"{value},{chance.choice([value, *ODD])}")])


def _boundary(request: Request, chance: random.Random) -> Request:
    """Move bytes between what is signed in a header and the body: the same bytes, cut elsewhere."""
    names = [name for name, _ in request.headers if name in ("x-id", "x-time", "webhook-id", "webhook-timestamp")]
    if not names or not request.body:
        return request
    name, size = chance.choice(names), chance.randint(1, min(40, len(request.body)))
    value = str(request.header(name))
    glue = chance.choice(["", "."])
    if chance.random() < 0.5:
        moved = value + glue + request.body[:size].decode("latin-1")
        return request.with_headers({name: moved}).replace(body=request.body[size:])
    return request.with_headers({name: value[:-1]}).replace(
        body=value[-1:].encode("utf-8", "surrogatepass") + glue.encode() + request.body
    )


CHANGES = (
    _body_bit,
    _body_cut,
    _body_more,
    _value_bit,
    _value_cut,
    _value_respelled,
    _header_twice,
    _header_joined,
    _boundary,
)


@sources
@EXAMPLES
@given(chance=st.randoms(use_true_random=False))
def test_no_change_of_a_genuine_request_passes_another_body(name: str, chance: random.Random) -> None:
    """Flipped, cut, repeated, joined, respelled, shifted: where the body is covered, only the signed one passes."""
    check_request(name, changed(GENUINE[name], chance))


@sources
def test_a_genuine_request_is_believed(name: str) -> None:
    """What the other tests change does pass as it is, and its secret would not be stored."""
    check_request(name, GENUINE[name])
    assert believed(name, GENUINE[name]) is not None
    stored = everything(PROVIDERS[name].redact(GENUINE[name]))
    assert [] == [secret for secret in SOURCES[name]["secrets"] if secret.encode() in unquote_to_bytes(stored)]


@pytest.mark.parametrize("cut", range(1, 30))
def test_an_id_that_is_signed_cannot_take_bytes_of_the_body(cut: int) -> None:
    """Where nothing stands between id and body, the boundary could be anywhere; brackets and quotes tell."""
    request = GENUINE["hmac-id-alone"]
    shifted = request.with_headers({"X-Id": f"evt-1{request.body[:cut].decode()}"}).replace(body=request.body[cut:])
    assert believed("hmac-id-alone", shifted) is None


in_place = pytest.mark.parametrize("name", [name for name in SOURCES if not covers_body(name) and name != "unsigned"])


@in_place
@EXAMPLES
@given(
    prefix=st.sampled_from(["", " ", "\ufeff", "\n"]),
    escaped=st.lists(st.booleans(), min_size=30, max_size=30),
    body=bodies,
)
def test_no_secret_stays_however_it_was_written(name: str, prefix: str, escaped: list[bool], body: bytes) -> None:
    """Escaped in JSON, percent-encoded in a query: whoever reads what is stored cannot send it again."""
    request = GENUINE[name]
    body = body.replace(targets.TEXT.encode(), b"something else")
    if name in ("breakcold", "lemlist", "romify-body", "token-body"):
        spelled = "".join(
            f"\\u{ord(char):04x}" if flag else char for char, flag in zip(targets.TEXT, escaped, strict=False)
        )
        request = request.replace(body=prefix.encode() + request.body.replace(targets.TEXT.encode(), spelled.encode()))
    elif name in ("romify-query", "token-query"):
        spelled = "".join(
            f"%{ord(char):02X}" if flag else char for char, flag in zip(targets.TEXT, escaped, strict=False)
        )
        request = request.replace(query=request.query.replace(targets.TEXT, spelled), body=body)
    else:
        request = request.replace(body=body)
    assert prefix == "\n" or believed(name, request) is not None
    stored = PROVIDERS[name].redact(request)
    assert believed(name, stored) is None
    assert REDACTED.encode() in everything(stored)
    assert targets.TEXT.encode() not in unquote_to_bytes(everything(stored))


@EXAMPLES
@given(data=st.one_of(st.binary(), payloads.map(lambda payload: targets.json.dumps(payload).encode()), bodies))
def test_any_body_is_json_or_malformed(data: bytes) -> None:
    """`parse` gives a value that can be written and read again, or says in one line why not."""
    targets.json_text(data)


@EXAMPLES
@given(
    payload=payloads,
    kind=st.one_of(st.text(max_size=30), st.sampled_from(["a/../b", "..", "_x", "lead.create", "." * 999])),
)
@pytest.mark.parametrize(
    "provider", ["roomz", "roomle", "breakcold", "breakcold_v2", "lemlist", "rootfi", "romify", "nobody"]
)
def test_violations_can_be_shown(provider: str, payload: Any, kind: str) -> None:
    """Whatever payload and type: few violations, each in one printable line."""
    targets.check_violations(provider, kind, payload)


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inbox]:
    """One inbox with every source but the one that believes everybody."""
    folder: Path = tmp_path_factory.mktemp("hostile")
    tables = {name: dict(table) for name, table in SOURCES.items() if name != "unsigned"}
    tables = {
        name: {key: list(value) if isinstance(value, tuple) else value for key, value in table.items()}
        for name, table in tables.items()
    }
    with Inbox(folder, sources=tables, now=targets.AT) as made:
        yield made


@pytest.fixture(scope="module")
def client(inbox: Inbox) -> FlaskClient:
    return create_app(inbox.runtime.receiver).test_client()


TABLE = {200, *STATUSES.values()} - {503}
FRAMEWORK = {404, 405}
segments = st.one_of(
    st.sampled_from([*SOURCES, "nobody", "..", "%2e%2e", "roomz%00", "roomz/", "ROOMZ"]), st.text(max_size=9)
)


@settings(EXAMPLES, max_examples=100)
@given(
    start=st.sampled_from(["/in/", "/in//", "/", "//in/", "/healthz", "/readyz", "/IN/", "/in%2f"]),
    source=segments,
    request=requests,
    chunked=st.booleans(),
)
def test_the_endpoint_answers_by_its_table(
    client: FlaskClient, inbox: Inbox, logs: list[Any], start: str, source: str, request: Request, chunked: bool
) -> None:
    """Never 500, and no event of a request that nobody signed."""
    before = len(inbox.events())
    headers = [
        (name, _wire(value)) for name, value in request.headers if name.isascii() and name.isprintable() and name
    ]
    environ = (
        {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True} if chunked else {}
    )
    address = f"{start}{source}/{request.path}".encode("utf-8", "surrogatepass").decode("latin-1")
    answer = client.open(
        "/",
        method="".join(filter(str.isalpha, request.method.encode("ascii", "ignore").decode())) or "POST",
        headers=headers,
        data=request.body,
        query_string=_wire(request.query),
        environ_overrides={"PATH_INFO": address, **environ},
    )
    signed = believed(source, request) is not None if source in PROVIDERS and source != "unsigned" else False
    assert answer.status_code in TABLE | FRAMEWORK
    assert answer.is_json or answer.request.method == "HEAD"
    assert [] == [entry for entry in logs if entry["event"] == "request.failed"]
    assert signed or len(inbox.events()) == before


@settings(EXAMPLES, max_examples=100)
@given(name=st.sampled_from([name for name in SOURCES if name != "unsigned"]), chance=st.randoms(use_true_random=False))
def test_the_endpoint_stores_what_is_believed_and_nothing_else(
    client: FlaskClient, inbox: Inbox, name: str, chance: random.Random
) -> None:
    """Changed genuine requests through Flask: an event is there exactly when the answer was 2xx."""
    request = changed(GENUINE[name], chance)
    before = _count(inbox)
    answer = client.open(
        f"/in/{name}/{request.path}",
        method=request.method,
        query_string=request.query,
        headers=[(key, _wire(value)) for key, value in request.headers],
        data=request.body,
    )
    assert answer.status_code in TABLE
    assert (answer.status_code == 200) == (_count(inbox) > before)


def _count(inbox: Inbox) -> int:
    return sum(1 + event["duplicates"] for event in inbox.events())


def _wire(text: str) -> str:
    """Return text as a server hands it over: Latin-1, one line."""
    return "".join(char for char in text.encode("latin-1", "replace").decode("latin-1") if char not in "\r\n\0")


@pytest.mark.parametrize(
    ("name", "status"),
    [("token", 400), ("roomle", 400), ("basic", 400), ("roomz", 200), ("standard", 200), ("hmac", 400)],
)
def test_chunks_that_are_not_json_are_kept_only_where_they_are_signed(
    client: FlaskClient, inbox: Inbox, name: str, status: int
) -> None:
    """Nobody says whether the last chunk came; a signature over them does. `hmac` here rejects malformed ones."""
    provider = PROVIDERS[name]
    request = provider.sign(GENUINE[name].replace(body=b'{"id": "cut'), at=targets.AT)
    before = _count(inbox)
    answer = client.post(
        f"/in/{name}",
        data=request.body,
        headers=list(request.headers),
        environ_overrides={"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True},
    )
    assert status == answer.status_code
    assert (_count(inbox) > before) == (status == 200)


def test_a_body_shorter_than_its_length_is_incomplete(client: FlaskClient, inbox: Inbox) -> None:
    """400 with a code of its own, and a refusal that gives both numbers."""
    before = _count(inbox)
    answer = client.post(
        "/in/basic",
        data=b"{}",
        headers=list(GENUINE["basic"].headers),
        environ_overrides={"CONTENT_LENGTH": "12", "wsgi.input_terminated": True},
    )
    assert (400, {"error": "incomplete_body"}) == (answer.status_code, answer.json)
    assert before == _count(inbox)
    assert "12 bytes, 2 came" in inbox.runtime.archive.refusals("basic", 1)[0]["diagnosis"]
