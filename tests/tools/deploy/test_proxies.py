"""What `inbox deploy nginx` and `inbox deploy caddy` print, in the real nginx and Caddy, before a real receiver."""

import contextlib
import os
import re
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from inbox.store.protocols import Archive, Filter
from inbox.store.sqlite import open_archive
from tests.acceptance.test_wire import secret, signature
from tests.support.authority import Authority
from tests.support.place import Place, eventually
from tests.tools.deploy.proxies import Answer, Proxy, head, post, read

MIB = 1024 * 1024
SERVER = "trusted_proxies = 1\nstore_timeout = 1.0\nmax_connections = 4"
MORE = """
[sources.open]
provider = "unsigned"
event_id = ["json:/id"]
"""
BODY = '{"id":  "%s",\t"type" : "new.type", "timestamp": "2026-01-01T00:00:00Z",\r\n "data": {"é": "\\u00e9 ☃"} }\n\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One inbox behind both proxies."""
    made = Place(tmp_path_factory.mktemp("place"))
    made.configure(server=SERVER)
    with (made.folder / "inbox.toml").open("a") as file:
        file.write(MORE)
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def proxies(place: Place) -> Iterator[dict[str, Proxy]]:
    """Both, each with a certificate of the tests' own."""
    authority = Authority(place.folder)
    with contextlib.ExitStack() as stack:
        made = {name: Proxy(name, place, authority) for name in ("nginx", "caddy")}
        for item in made.values():
            stack.callback(item.close)
        yield made


@pytest.fixture(params=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, proxies: dict[str, Proxy]) -> Proxy:
    """Each of the two."""
    return proxies[request.param]


@pytest.fixture(scope="module")
def archive(place: Place) -> Iterator[Archive]:
    """What is stored."""
    opened = open_archive(place.folder / "inbox.db")
    yield opened
    opened.close()


def test_nothing_is_said_against_settings_that_fit(proxy: Proxy) -> None:
    """One proxy, loopback, trusted_proxies = 1."""
    assert "" == proxy.printed.stderr


def test_a_body_arrives_as_it_was_sent(place: Place, archive: Archive, proxy: Proxy) -> None:
    """Odd white space, line ends and letters: the signature holds, also in chunks, and the bytes are kept."""
    body = (BODY % proxy.name).encode()
    signed = b"Roomz-Signature: " + signature(place, body)
    answer = proxy.raw(post(b"/in/roomz", body, signed))
    assert (200, "accepted") == (answer.status, answer.content["status"])
    assert body == archive.request(answer.content["id"]).body
    chunks = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (10, body[:10], len(body) - 10, body[10:])
    again = proxy.raw(head(b"POST", b"/in/roomz", signed, b"Transfer-Encoding: chunked") + chunks)
    assert (200, "duplicate") == (again.status, again.content["status"])


def test_path_and_query_arrive_as_they_were_sent(place: Place, archive: Archive, proxy: Proxy) -> None:
    """Percent signs, plus signs, dots and doubled slashes: the same as without a proxy."""
    target = b"/in/open/a%2Fb%20c/%C3%BC/~x//y?q=%ff+%2B&a=%5B1%5D&b=c%20d&e"
    body = b'{"id": "path %s %s"}'
    answer = proxy.raw(post(target, body % (b"through", proxy.name.encode())))
    with socket.create_connection(("127.0.0.1", place.port), 20) as connection:
        connection.sendall(post(target, body % (b"past", proxy.name.encode())))
        direct = read(connection)
    through, past = archive.request(answer.content["id"]), archive.request(direct.content["id"])
    assert (past.path, past.query) == (through.path, through.query)
    assert "%ff+%2B" in through.query


def test_a_header_name_with_an_underscore_arrives(place: Place, proxy: Proxy) -> None:
    """Rootfi's own example names its static header `api_key`."""
    body = b'{"event": "connection.changed", "company_id": 496, "from": "%s"}' % proxy.name.encode()
    answer = proxy.raw(post(b"/in/rootfi", body, b"api_key: " + secret(place, "ROOTFI_SECRET").encode()))
    assert (200, "accepted") == (answer.status, answer.content["status"])


def test_the_largest_body_passes_and_one_byte_more_does_not(proxy: Proxy) -> None:
    """The largest max_body of all sources is the proxy's limit; its 413 is the receiver's, in chunks as well."""
    front = b'{"id": "large %s", "x": "' % proxy.name.encode()
    body = front + b"x" * (MIB - len(front) - 2) + b'"}'
    answer = proxy.raw(post(b"/in/open", body))
    assert (200, "accepted") == (answer.status, answer.content["status"])
    chunked = head(b"POST", b"/in/open", b"Transfer-Encoding: chunked")
    for raw in (post(b"/in/open", body + b"\n"), chunked + b"%x\r\n%s\n\r\n0\r\n\r\n" % (MIB + 1, body)):
        answer = proxy.raw(raw)
        assert (413, {"error": "body_too_large"}) == (answer.status, answer.content)
    answer = proxy.raw(chunked + b"%x\r\n%s\r\n0\r\n\r\n" % (MIB, body))
    assert (200, "duplicate") == (answer.status, answer.content["status"])


def test_a_senders_own_forwarded_address_is_not_believed(archive: Archive, proxy: Proxy) -> None:
    """What is kept is the address that the connection came from."""
    for given in (b"X-Forwarded-For: 203.0.113.9", b"X-Forwarded-For: 203.0.113.9, 203.0.113.10", b"X-Other: none"):
        with proxy.connect("127.0.0.2") as connection:
            connection.sendall(post(b"/in/roomz", b"{}", given))
            assert 401 == read(connection).status
        assert "127.0.0.2" == archive.refusals("roomz", 1)[0]["remote"]


def test_plain_http_is_refused_for_senders_and_redirected_for_browsers(archive: Archive, proxy: Proxy) -> None:
    """Nothing is taken, and the address that is right is not learned by a redirect."""
    before = archive.refusals(None, 500)
    answer = proxy.plain(post(b"/in/open", b'{"id": "plain"}'))
    assert (403, {"error": "https_required"}) == (answer.status, answer.content)
    answer = proxy.plain(head(b"GET", b"/some/page?x=1"))
    assert (308, f"https://hooks.test:{proxy.https}/some/page?x=1") == (answer.status, answer.headers["location"])
    assert before == archive.refusals(None, 500)
    assert [] == [row for row in archive.events(Filter(source="open"), 1000) if row["key"] == "plain"]


def test_only_what_senders_need_is_public(proxy: Proxy) -> None:
    """Addresses that lead elsewhere by dots, slashes or percent signs included."""
    assert (200, {"status": "ok"}) == proxy.raw(head(b"GET", b"/healthz"))[:2]
    for path in (
        b"/",
        b"/readyz",
        b"/metrics",
        b"/inbox/",
        b"/readyz/../in/open",
        b"/in/../readyz",
        b"/in/%2e%2e/readyz",
        b"//readyz",
        b"/%72eadyz",
        b"/healthz/../readyz",
        b"/healthzz",
    ):
        answer = proxy.raw(head(b"GET", path))
        assert (404, False) == (answer.status, "ready" in str(answer.content)), (path, answer)


@pytest.mark.parametrize(("name", "guesser"), [("nginx", "127.0.0.3"), ("caddy", "127.0.0.4")])
def test_an_owner_logs_in_through_a_proxy_that_lets_the_pages_through(place: Place, name: str, guesser: str) -> None:
    """With `--public /inbox/`: a cookie for HTTPS only, the tries counted for each address, and nothing else public."""
    place.inbox("admin", "set-password", "--user", name, input="a password of the owner\n")
    proxy = Proxy(name, place, Authority(place.folder), "--public", "/inbox/")
    try:
        form = proxy.raw(head(b"GET", b"/inbox/login?next=/inbox/events"))
        assert 200 == form.status
        found = re.search(rb'name="csrf_token" value="([^"]+)"', form.content)
        assert found is not None
        fields = b"csrf_token=%s&next=/inbox/events&user=%s&password=" % (found[1], name.encode())
        typed = b"Content-Type: application/x-www-form-urlencoded"

        def log_in(password: bytes, source: str) -> Answer:
            lines = (typed, b"Cookie: " + cookie(form), b"X-Forwarded-For: 203.0.113.9", b"X-Real-IP: 203.0.113.9")
            with proxy.connect(source) as connection:
                connection.sendall(post(b"/inbox/login", fields + password, *lines))
                return read(connection)

        tries = [log_in(b"wrong", guesser).status for _ in range(11)]
        assert [403] * 10 + [429] == tries
        begun = log_in(b"a+password+of+the+owner", "127.0.0.5")
        assert (302, "/inbox/events") == (begun.status, begun.headers["location"])
        assert {"Secure", "HttpOnly", "Path=/inbox", "SameSite=Lax"} <= set(begun.headers["set-cookie"].split("; "))
        assert 200 == proxy.raw(head(b"GET", b"/inbox/events", b"Cookie: " + cookie(begun))).status
        for path in (
            b"/inbox/../readyz",
            b"/inbox/%2e%2e/readyz",
            b"/in/../inbox/",
            b"//inbox/",
            b"/%69nbox/",
            b"/inboxx",
        ):
            answer = proxy.raw(head(b"GET", path, b"Cookie: " + cookie(begun)))
            assert answer.status == 404, (path, answer)
    finally:
        proxy.close()


def cookie(answer: Answer) -> bytes:
    """Return the cookie of an answer as a browser sends it back."""
    return answer.headers["set-cookie"].split(";")[0].encode()


def test_slow_senders_neither_hold_the_receiver_nor_stay(proxy: Proxy) -> None:
    """More bodies are on their way than the receiver has `max_connections`: others are answered, these cut off."""
    slow = [proxy.connect() for _ in range(8)]
    with contextlib.ExitStack() as stack:
        for number, connection in enumerate(slow):
            stack.enter_context(connection)
            connection.sendall(post(b"/in/open", b'{"id": "slow %d"}' % number)[:-3])
        began = time.monotonic()
        answer = proxy.raw(post(b"/in/open", b'{"id": "quick %s"}' % proxy.name.encode()))
        assert (200, True) == (answer.status, time.monotonic() - began < 1.5)
        for connection in slow:
            connection.settimeout(15)
            text = connection.recv(65536)
            assert not text or text.split()[1] in (b"408", b"504"), text
        assert time.monotonic() - began < 15


def test_a_half_closed_connection_gets_its_answer(proxy: Proxy) -> None:
    """The sender has said all that it has to say, and waits."""
    with proxy.connect() as connection:
        connection.sendall(post(b"/in/open", b'{"id": "half %s"}' % proxy.name.encode()))
        socket.socket.shutdown(connection, socket.SHUT_WR)
        answer = read(connection)
    assert (200, "accepted") == (answer.status, answer.content["status"])


def test_the_receivers_own_503_comes_through(place: Place, proxy: Proxy) -> None:
    """The store is locked for longer than `store_timeout`: the proxy waits for that answer, half-closed or not."""
    with contextlib.closing(sqlite3.connect(place.folder / "inbox.db", isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        answer = proxy.raw(post(b"/in/open", b'{"id": "locked"}'))
        with proxy.connect() as connection:
            connection.sendall(post(b"/in/open", b'{"id": "locked"}'))
            socket.socket.shutdown(connection, socket.SHUT_WR)
            half = read(connection)
        lock.execute("ROLLBACK")
    assert (503, {"error": "unavailable"}, "5") == (answer.status, answer.content, answer.headers["retry-after"])
    assert (503, {"error": "unavailable"}) == half[:2]


class Sender(threading.Thread):
    """Sends one event after the other through the proxy, each on a connection of its own, again until it is taken."""

    def __init__(self, proxy: Proxy, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.proxy = proxy
        self.ended = threading.Event()
        self.acknowledged: list[str] = []
        self.answers: Counter[tuple[int, str]] = Counter()
        self.dropped: list[str] = []

    def run(self) -> None:
        while not self.ended.is_set():
            key = f"{self.name}-{len(self.acknowledged)}"
            try:
                answer = self.proxy.raw(post(b"/in/open", b'{"id": "%s"}' % key.encode(), b"Connection: close"))
            except Exception as error:
                self.dropped.append(f"{key}: {error!r}")
                continue
            self.answers[answer.status, answer.headers.get("retry-after", "")] += 1
            if answer.status == 200:
                self.acknowledged.append(key)
            self.ended.wait(0.05)


def test_a_restart_behind_the_proxy_drops_no_request_without_an_answer(
    place: Place, archive: Archive, proxies: dict[str, Proxy]
) -> None:
    """The receiver alone, then everything: 200, or 502 with Retry-After; what was taken is stored once."""
    senders = [Sender(proxy, f"{proxy.name}{n}") for proxy in proxies.values() for n in range(2)]
    for sender in senders:
        sender.start()
    eventually(lambda: all(sender.acknowledged for sender in senders), "all are sending")
    before = len(place.children("receiver"))
    os.kill(place.children("receiver")[-1], signal.SIGTERM)
    eventually(lambda: len(place.children("receiver")) > before and place.answers(), "the receiver is started again")
    assert 0 == place.stop()
    place.start()
    sent = [len(sender.acknowledged) for sender in senders]
    eventually(lambda: all(len(s.acknowledged) > n + 1 for s, n in zip(senders, sent, strict=True)), "all go on")
    for sender in senders:
        sender.ended.set()
        sender.join(30)
    assert [] == [drop for sender in senders for drop in sender.dropped]
    answers = sum((sender.answers for sender in senders), Counter())
    assert {(200, ""), (502, "5")} == set(answers)
    rows = Counter(row["key"] for row in archive.events(Filter(source="open"), 100_000))
    assert set() == {key for sender in senders for key in sender.acknowledged if rows[key] != 1}
