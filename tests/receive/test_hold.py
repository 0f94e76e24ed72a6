"""on_unverified = "hold" at the endpoint: the answer is a refusal's, and strangers fill nothing but fixed places."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from inbox.core.config.settings import ServerSettings
from inbox.core.errors import ConfigError, Refused, StoreUnavailable
from inbox.core.models import Request
from inbox.receive.wsgi import create_app
from inbox.store.sql.refusals import REFUSAL_BYTES_PER_SOURCE, REFUSALS_PER_SOURCE
from inbox.testing import Inbox

SMALL = {"hold_requests": 5, "hold_bytes": 2000, "hold_for": 100.0, "max_body": 1500}
SOURCES: dict[str, dict[str, Any]] = {
    "plain": {"provider": "roomz"},
    "hold": {"provider": "roomz", "on_unverified": "hold"},
    "small": {"provider": "roomz", "on_unverified": "hold", **SMALL},
    "small2": {"provider": "roomz", "on_unverified": "hold", **SMALL},
}


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    (tmp_path / "schemas").mkdir()
    with Inbox(tmp_path, sources=SOURCES, schemas=tmp_path / "schemas") as made:
        yield made


@pytest.fixture
def client(inbox: Inbox) -> FlaskClient:
    return create_app(inbox.runtime.receiver).test_client()


def held(inbox: Inbox, source: str) -> list[Request]:
    return [request for _, _, request in inbox.runtime.archive.held(source, 0, 10_000)]


def post(client: FlaskClient, source: str, body: bytes = b"{}", remote: str = "192.0.2.7") -> TestResponse:
    return client.post(f"/in/{source}", data=body, environ_overrides={"REMOTE_ADDR": remote})


def test_answer_is_the_same_as_to_any_refusal(client: FlaskClient, inbox: Inbox, logs: list[Any]) -> None:
    """Status, body and headers do not tell a stranger that his request is kept; the log tells the owner."""
    plain, hold = post(client, "plain"), post(client, "hold")
    assert 401 == hold.status_code
    ids = [answer.headers.pop("Inbox-Request-Id") for answer in (plain, hold)]
    assert (plain.status_code, plain.data, list(plain.headers)) == (hold.status_code, hold.data, list(hold.headers))
    assert [("request.refused", ids[0], None), ("request.refused", ids[1], True)] == [
        (entry["event"], entry["request"], entry.get("held")) for entry in logs
    ]
    assert ([], 0, 1) == (inbox.events(), len(held(inbox, "plain")), len(held(inbox, "hold")))


def test_everything_of_the_request_is_kept(client: FlaskClient, inbox: Inbox) -> None:
    """Path, query, each header and the body's bytes, whatever they are; what is no text becomes no error."""
    client.post(
        "/in/hold/a/b",
        query_string="a=1&b=%00",
        data=b"\x00\xff",
        headers={"Authorization": "Bearer s", "X-É": "é"},
        environ_overrides={"REMOTE_ADDR": "192.0.2.7"},
    )
    (request,) = held(inbox, "hold")
    assert ("POST", "a/b", "a=1&b=%00", b"\x00\xff", "192.0.2.7") == (
        request.method,
        request.path,
        request.query,
        request.body,
        request.remote,
    )
    assert "Bearer s" == request.header("authorization")
    for odd in ({"PATH_INFO": "/in/hold/\xff\x00\xed\xb2\x80"}, {"QUERY_STRING": "a=\xff\x00"}, {"HTTP_X_A": "\xff"}):
        assert 401 == client.post("/in/hold", environ_overrides=odd).status_code
    assert 4 == len(held(inbox, "hold"))


@pytest.mark.parametrize(
    ("method", "body", "status"), [("GET", b"", 405), ("POST", b"x" * 1501, 413)], ids=["method", "size"]
)
def test_only_what_is_not_authentic_is_held(
    client: FlaskClient, inbox: Inbox, method: str, body: bytes, status: int
) -> None:
    """Another method and a body that is too large are refused before anybody asks who sent them."""
    assert status == client.open("/in/small", method=method, data=body).status_code
    assert [] == held(inbox, "small")


def test_requests_are_capped_and_the_first_stay(client: FlaskClient, inbox: Inbox, logs: list[Any]) -> None:
    """Junk that comes later pushes nothing out, is refused all the same, and the log says that it is not held."""
    assert {401} == {post(client, "small", b"%d" % n, f"192.0.2.{n}").status_code for n in range(20)}
    assert [b"0", b"1", b"2", b"3", b"4"] == [request.body for request in held(inbox, "small")]
    assert [True] * 5 + [False] * 5 == [entry["held"] for entry in logs if "held" in entry][:10]
    assert 20 == len(inbox.runtime.archive.refusals("small", 100))


def test_bytes_are_capped(client: FlaskClient, inbox: Inbox) -> None:
    """A large request that does not fit is not held, a small one after it still is."""
    for number, size in enumerate((1000, 1000, 100)):
        post(client, "small", b"x" * size, f"192.0.2.{number}")
    assert [1000, 100] == [len(request.body) for request in held(inbox, "small")]


def test_age_is_capped_by_the_sweep(client: FlaskClient, inbox: Inbox, logs: list[Any]) -> None:
    """After hold_for the request is forgotten, and the log says so; then there is room again."""
    for number in range(5):
        post(client, "small", remote=f"192.0.2.{number}")
    inbox.advance(99)
    inbox.sweep()
    assert 5 == len(held(inbox, "small"))
    inbox.advance(1.1)
    inbox.sweep()
    assert [] == held(inbox, "small")
    assert [("held.expired", 5)] == [(e["event"], e["requests"]) for e in logs if e["event"] == "held.expired"]
    post(client, "small")
    assert 1 == len(held(inbox, "small"))


def test_sweep_wakes_work_although_nothing_can_be_forgotten(
    client: FlaskClient, inbox: Inbox, logs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is full or locked for writing keeps expired requests a while longer, and nothing else back."""

    def full(at: float) -> int:
        raise StoreUnavailable

    inbox.receive("plain", {"id": "one", "type": "t"})
    inbox.queue.lose()
    monkeypatch.setattr(inbox.dispatcher._work, "expire", full)
    assert 1 == inbox.sweep()
    assert ("work", 0) == inbox.queue.take()
    assert "held.not_expired" in [entry["event"] for entry in logs]


def test_request_that_cannot_be_held_is_still_a_401(
    client: FlaskClient, inbox: Inbox, logs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to a stranger does not depend on the disk; the owner reads that it was not kept."""

    def full(refusal: object) -> bool:
        raise StoreUnavailable

    monkeypatch.setattr(inbox.runtime.inlet, "add_refusal", full)
    assert 401 == post(client, "hold").status_code
    assert [("request.refused", str(StoreUnavailable()), False)] == [
        (entry["event"], entry["not_recorded"], entry["held"]) for entry in logs
    ]


def test_limits_must_leave_room_for_the_largest_request(tmp_path: Path) -> None:
    """A source that could never hold its own largest request does not start."""
    table = {"provider": "roomz", "on_unverified": "hold", "hold_bytes": 1000}
    with Inbox(tmp_path, sources={"r": table}) as inbox, pytest.raises(ConfigError, match="hold_bytes must be at leas"):
        _ = inbox.runtime.sources


@pytest.mark.parametrize(
    ("remote", "other", "share"),
    [
        ("192.0.2.7", "192.0.2.8", "another"),
        ("2001:db8:1:2::7", "2001:db8:1:3::7", "another"),
        ("2001:db8:1:2::7", "2001:db8:1:2:ffff::8", "the same"),
        ("::ffff:192.0.2.7", "192.0.2.7", "the same"),
    ],
)
def test_one_stranger_leaves_room_for_others(
    client: FlaskClient, inbox: Inbox, remote: str, other: str, share: str
) -> None:
    """An address, or an IPv6 /64, fills half of the place; a sender at another one finds room in the rest."""
    for number in range(20):
        post(client, "small", b"%d" % number, remote)
    assert [b"0", b"1"] == [request.body for request in held(inbox, "small")]
    post(client, "small", b"genuine", other)
    expected = [b"0", b"1"] + [b"genuine"] * (share == "another")
    assert expected == [request.body for request in held(inbox, "small")]


def test_address_is_the_one_that_believed_proxies_saw(inbox: Inbox) -> None:
    """Behind a proxy of ours each client has its own share; without it all are the proxy."""
    for proxies, source, expected in ((1, "small", 3), (0, "small2", 2)):
        client = create_app(inbox.runtime.receiver, ServerSettings(trusted_proxies=proxies)).test_client()
        for number in range(3):
            client.post(f"/in/{source}", data=b"{}", headers={"X-Forwarded-For": f"203.0.113.{number}"})
        assert expected == len(held(inbox, source))


def junk(number: int) -> Request:
    """Return what a stranger might send: sizes and headers at random, the same for a number each time."""
    source = random.Random(number)
    headers = tuple((f"x-{n}", "y" * source.randrange(200)) for n in range(source.randrange(60)))
    size = source.choice((0, 10, 1000, 60_000)) if number % 50 == 0 else source.randrange(200)
    return Request("POST", "p", f"q={number}", headers, source.randbytes(size), f"192.0.2.{number % 256}")


def flood(inbox: Inbox, names: list[str], count: int) -> int:
    """Send junk to the named sources in turn, from 16 senders at once, and return how many requests were refused."""
    _ = inbox.runtime.receiver  # made once, before there are threads

    def send(number: int) -> bool:
        request = junk(number)
        try:
            inbox.runtime.receiver.accept(names[number % len(names)], request, lambda limit: request.body)
        except Refused:
            return True
        return False

    with ThreadPoolExecutor(16) as pool:
        return sum(pool.map(send, range(count)))


def rows(inbox: Inbox) -> dict[str, int]:
    """Return how many rows each table has."""
    connection = inbox.runtime.archive._connection  # type: ignore[attr-defined]
    tables = connection.rows("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB '*sqlite_*'")
    return {name: connection.rows(f"SELECT count(*) FROM {name}")[0][0] for (name,) in tables}


def size(folder: Path) -> int:
    """Return how many bytes all files take, except SQLite's log, which is emptied from 4 MiB on."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-wal"))


@pytest.mark.parametrize(("source", "count"), [("plain", 4_000), ("hold", 12_000)])
def test_flood_of_requests_fills_fixed_places(inbox: Inbox, source: str, count: int, tmp_path: Path) -> None:
    """Unauthenticated requests leave the latest refusals and, where the source holds, the first requests."""
    assert count == flood(inbox, [source], count)
    found = rows(inbox)
    limit = inbox.runtime.sources[source].hold_requests if source == "hold" else 0
    assert (0, True) == (found.pop("events"), found.pop("refusals") <= REFUSALS_PER_SOURCE)
    assert limit * 0.99 <= found.pop("held") <= limit  # the last places are for addresses that have none
    assert (1, 1) == (found.pop("counts"), found.pop("search_owner"))
    assert (1, 1, 1) == (found.pop("elapsed"), found.pop("elapsed_marks"), found.pop("identity"))
    assert set() == {table for table, number in found.items() if number}, "strangers fill nothing else"
    limit_bytes = REFUSAL_BYTES_PER_SOURCE + (inbox.runtime.sources[source].hold_bytes if limit else 0)
    assert size(tmp_path) < 2 * limit_bytes + 1_000_000
    before = size(tmp_path)
    flood(inbox, [source], 1000)
    assert size(tmp_path) - before < 200_000


def test_flood_of_unknown_addresses_is_one_place(inbox: Inbox, tmp_path: Path) -> None:
    """However many names are tried, all unknown addresses together have one source's share, and no name a row."""
    names = [f"guess-{n}-{'x' * (n % 300)}" for n in range(5000)]
    assert 5000 == flood(inbox, names, 5000)
    assert REFUSALS_PER_SOURCE >= rows(inbox)["refusals"] > 100
    assert [""] == [row["source"] for row in inbox.runtime.archive.sources()]
    assert size(tmp_path) < 2 * REFUSAL_BYTES_PER_SOURCE + 1_000_000


def test_flood_does_not_keep_the_sender_out(inbox: Inbox) -> None:
    """After it the sender's own events are accepted, and what was held before it is still there."""
    inbox_request = Request(body=b"first")
    with pytest.raises(Refused):
        inbox.accept("small", inbox_request)
    flood(inbox, ["small", "plain", "nobody"], 3000)
    assert inbox_request == held(inbox, "small")[0]
    assert "accepted" == inbox.receive("plain", {"id": "one", "type": "t"}).status
