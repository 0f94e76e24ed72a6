"""The ASGI application: what its WSGI twin says and stores of every request, and what only an event loop meets."""

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox.core.config.settings import ServerSettings
from inbox.core.models import Request, Verified
from inbox.receive.admission import LARGE
from inbox.receive.body import FORGOTTEN
from inbox.receive.endpoint import TICK
from inbox.store.sql.events import _row
from inbox.testing import SECRET, Inbox
from inbox.verify.schemes.base import proved
from tests.support.wire import WELL_FORMED, Line, Sent, Site, Told, by_front, by_twin, drive, sent

SOURCES: dict[str, dict[str, Any]] = {
    "roomz": {"provider": "roomz"},
    "strict": {"provider": "roomz", "on_invalid": "reject"},
    "small": {"provider": "roomz", "max_body": 10},
    "held": {"provider": "roomz", "on_unverified": "hold"},
    "teapot": {"provider": "roomz", "ack_status": 202},
    "token": {"provider": "token", "secret_in": "header", "secret_name": "X-Key", "event_id": ["header:X-Id"]},
    "query": {"provider": "token", "secret_in": "query", "secret_name": "key", "methods": ["GET"],
              "event_id": ["query:id"]},
    "path": {"provider": "roomz", "event_id": ["path"]},
}  # fmt: skip
KEY = (b"X-Key", SECRET.encode())


class Twins:
    """Two inboxes alike, one behind each application; what comes to one comes to the other."""

    def __init__(self, folder: Path) -> None:
        self.both = [Inbox(folder / name, sources=SOURCES) for name in ("front", "twin") if not (folder / name).mkdir()]

    def compare(self, what: Sent, server: ServerSettings, logs: list[Any]) -> tuple[Told, dict[str, Any]]:
        """Send the request to both; return what both told and did. Fails where they differ."""
        front, twin = self.both
        before = self.state(front)
        logs.clear()
        first = by_front(Site(front, server), what)
        first_logs, logs[:] = list(logs), []
        second = by_twin(twin, server, what)
        assert (second.status, second.body or b"") == (first.status, b"" if what.method == "HEAD" else first.body)
        for name in ("content-type", "content-length", "allow", "retry-after"):
            assert second.headers.get(name) == first.headers.get(name), name
        assert _unnamed(logs, second) == _unnamed(first_logs, first)
        after = self.state(front)
        assert self.state(twin) == after
        return first, {name: after[name][: len(after[name]) - len(before[name])] for name in after}

    @staticmethod
    def state(inbox: Inbox) -> dict[str, list[Any]]:
        events, archive = inbox.events(), inbox.runtime.archive
        return {
            "events": [{**event, "request_id": ""} for event in events],
            "requests": [_unordered(archive.request(event["id"])) for event in events],
            "refusals": [
                {**row, "headers": sorted(row["headers"]), "request_id": ""} for row in archive.refusals(None, 1000)
            ],
            "held": [(at, _unordered(request)) for _, at, request in reversed(archive.held("held", 0, 100))],
            "queue": [list(inbox.queue._waiting)],
        }


def _unnamed(logs: list[Any], told: Told) -> list[dict[str, Any]]:
    """Return log lines without the request's id, which is in the answer as well, and without how long it took."""
    assert {entry["request"] for entry in logs if "ms" in entry} <= {told.headers.get("inbox-request-id")}
    return [{name: value for name, value in entry.items() if name not in ("request", "ms")} for entry in logs]


def _unordered(request: Request) -> Request:
    return request.replace(headers=tuple(sorted(request.headers)))


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    made = Twins(tmp_path_factory.mktemp("twins"))
    yield made
    for inbox in made.both:
        inbox.close()


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    with Inbox(tmp_path, sources=SOURCES) as made:
        yield made


def good(key: str, **changes: Any) -> dict[str, Any]:
    data = {"workspaceId": "w", "presenceStatus": "Busy"}
    return {"id": key, "type": "workspace.presence.changed", "timestamp": "2026-01-01T00:00:00Z", "data": data,
            **changes}  # fmt: skip


def signed(twins: Twins, key: str, source: str = "roomz", **changes: Any) -> Sent:
    return sent(source, twins.both[0].signed(source, good(key, **changes.pop("payload", {}))), **changes)


def token(key: bytes, body: bytes = b"{}", *headers: tuple[bytes, bytes], **changes: Any) -> Sent:
    return Sent(**{"target": b"/in/token", "parts": (body,), **changes}, headers=(KEY, (b"X-Id", key), *headers))


CASES: dict[str, tuple[Any, int, str]] = {
    "accepted": (lambda t: signed(t, "accepted"), 200, "accepted"),
    "duplicate": (lambda t: signed(t, "accepted"), 200, "duplicate"),
    "conflict": (lambda t: signed(t, "accepted", payload={"timestamp": "2026-02-02T00:00:00Z"}), 200, "conflict"),
    "quarantined": (lambda t: signed(t, "bad", payload={"data": 7}), 200, "quarantined"),
    "not JSON": (lambda t: sent("roomz", t.both[0].signed("roomz", b"{")), 200, "quarantined"),
    "malformed": (lambda t: sent("strict", t.both[0].signed("strict", b"{")), 400, "malformed"),
    "invalid": (lambda t: signed(t, "bad", "strict", payload={"data": 7}), 422, "invalid"),
    "ack_status": (lambda t: signed(t, "teapot", "teapot"), 202, "accepted"),
    "unsigned": (lambda t: Sent(parts=(b"{}",)), 401, "not_authentic"),
    "hold": (lambda t: Sent(target=b"/in/held/x?y", parts=(b"{}",)), 401, "not_authentic"),
    "unknown source": (lambda t: Sent(target=b"/in/nobody", parts=(b"{}",)), 404, "unknown_source"),
    "elsewhere": (lambda t: Sent(target=b"/elsewhere", parts=(b"{}",)), 404, "not_found"),
    "elsewhere in chunks": (lambda t: Sent(target=b"/x", parts=(b"{", b"}"), chunked=True), 404, "not_found"),
    "elsewhere, odd query": (lambda t: Sent(method="GET", target=b"/x?\xff=%ff"), 404, "not_found"),
    "no source": (lambda t: Sent(target=b"/in/", parts=(b"{}",)), 404, "not_found"),
    "no source, path": (lambda t: Sent(target=b"/in//roomz", parts=(b"{}",)), 404, "not_found"),
    "bare prefix": (lambda t: Sent(target=b"/in", parts=(b"{}",)), 404, "not_found"),
    "slashes before": (lambda t: token(b"slashes before", target=b"//in/token/a"), 200, "accepted"),
    "slashes behind": (lambda t: token(b"slashes behind", target=b"/in/token//a//"), 200, "accepted"),
    "trailing slash": (lambda t: token(b"trailing", target=b"/in/token/"), 200, "accepted"),
    "dots": (lambda t: token(b"dots", target=b"/in/token/%2e%2e/../x"), 200, "accepted"),
    "encoded": (lambda t: token(b"encoded", target=b"/in%2ftoken/%c3%b6%2F%0d%0a%00?%c3%b6&a=+"), 200, "accepted"),
    "not UTF-8": (lambda t: token(b"not UTF-8", target=b"/in/token/%ff\xfe%c3?\xff=%ff"), 200, "accepted"),
    "not UTF-8 source": (lambda t: Sent(target=b"/in/%ff"), 404, "unknown_source"),
    "percent": (lambda t: token(b"percent", target=b"/in/token/%zz%1%"), 200, "accepted"),
    "not a page": (lambda t: Sent(target=b"/healthz", parts=(b"{}",)), 405, "method_not_allowed"),
    "health": (lambda t: Sent(method="GET", target=b"/healthz?x=\xff"), 200, "ok"),
    "ready": (lambda t: Sent(method="GET", target=b"/readyz"), 200, "ready"),
    "wrong method": (lambda t: Sent(method="GET"), 405, "method_not_allowed"),
    "HEAD": (lambda t: Sent(method="HEAD"), 405, "method_not_allowed"),
    "HEAD of a page": (lambda t: Sent(method="HEAD", target=b"/healthz"), 200, ""),
    "OPTIONS": (lambda t: Sent(method="OPTIONS"), 405, "method_not_allowed"),
    "unknown method": (lambda t: Sent(method="SPAM", parts=(b"{}",)), 405, "method_not_allowed"),
    "lower case method": (lambda t: token(b"lower", method="post"), 200, "accepted"),
    "announced too large": (lambda t: Sent(target=b"/in/small", parts=(b"x" * 11,), headers=(WELL_FORMED,)), 413,
                            "body_too_large"),
    "too large in chunks": (lambda t: Sent(target=b"/in/small", parts=(b"x" * 9,) * 9, chunked=True,
                                           headers=(WELL_FORMED,)), 413, "body_too_large"),
    "too large and unsigned": (lambda t: Sent(target=b"/in/small", parts=(b"x" * 11,)), 401, "not_authentic"),
    "unsigned in chunks": (lambda t: Sent(parts=(b"{", b"}"), chunked=True), 401, "not_authentic"),
    "chunks": (lambda t: token(b"chunks", parts=(b"{", b"", b"}"), chunked=True), 200, "accepted"),
    "chunks and length": (lambda t: token(b"both", b"{}", (b"Content-Length", b"9"), chunked=True), 200, "accepted"),
    "half in chunks": (lambda t: token(b"half", parts=(b"{",), chunked=True), 400, "incomplete_body"),
    "less than announced": (lambda t: token(b"less", length=3), 400, "incomplete_body"),
    "header twice": (lambda t: token(b"twice", b"{}", (b"X-A", b"1"), (b"x_a", b"2"), (b"X-A", b"")), 200, "accepted"),
    "odd header": (lambda t: token(b"odd", b"{}", (b"X-B", b"\xff\xfe\xc3\xb6")), 200, "accepted"),
    "odd secret": (lambda t: Sent(target=b"/in/token", headers=((b"X-Key", b"\xff"),)), 401, "not_authentic"),
    "cookies": (lambda t: token(b"cookies", b"{}", (b"Cookie", b"a=b"), (b"Authorization", b"c")), 200, "accepted"),
    "typed": (lambda t: token(b"typed", b"a=b", (b"Content-Type", b"application/x-www-form-urlencoded")), 200,
              "quarantined"),
    "empty": (lambda t: token(b"empty", b""), 200, "quarantined"),
    "query": (lambda t: Sent(method="GET", target=b"/in/query?id=7&x=%C3%B6&key=" + SECRET.encode()), 200, "accepted"),
    "large": (lambda t: token(b"large", b'"%s"' % (b"x" * LARGE)), 200, "accepted"),
    "large and wrong": (lambda t: Sent(target=b"/in/token", parts=(b"x" * LARGE * 2,)), 401, "not_authentic"),
    "large and malformed": (lambda t: token(b"large bad", b"x" * LARGE * 2), 200, "quarantined"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_both_say_and_store_the_same(twins: Twins, logs: list[Any], case: str) -> None:
    """Status, headers, JSON, event, stored request, refusal, held request, wake-up and log do not differ."""
    make, status, word = CASES[case]
    told, _ = twins.compare(make(twins), ServerSettings(), logs)
    content = json.loads(told.body or b"{}")
    assert (status, word) == (told.status, content.get("status") or content.get("error") or "")
    assert (status == 405) == ("allow" in told.headers)


@pytest.mark.parametrize("proxies", [0, 1, 2])
@pytest.mark.parametrize(
    "lines", [(), (b"198.51.100.7",), (b"evil, 198.51.100.7 ,203.0.113.9",), (b"evil", b"198.51.100.7"), (b"",)]
)
def test_both_believe_the_same_proxies(twins: Twins, logs: list[Any], proxies: int, lines: tuple[bytes, ...]) -> None:
    """The address is the one that the first believed proxy saw; without enough of them the connection's own."""
    what = Sent(parts=(b"{}",), headers=tuple((b"X-Forwarded-For", line) for line in lines))
    _, new = twins.compare(what, ServerSettings(trusted_proxies=proxies), logs)
    seen = [address.strip() for address in b",".join(lines).decode().split(",") if address]
    remote = seen[-proxies] if 0 < proxies <= len(seen) else "192.0.2.1"
    assert [remote] == [row["remote"] for row in new["refusals"]]


def genuine(inbox: Inbox, key: str = "one", **data: Any) -> Sent:
    return sent("roomz", inbox.signed("roomz", good(key, **data)))


def told_of(told: Told) -> tuple[int, str]:
    content = json.loads(told.body)
    return told.status, content.get("error") or content.get("status")


def refusals(inbox: Inbox) -> list[str]:
    return [row["code"] for row in inbox.runtime.archive.refusals(None, 100)]


def names(logs: list[Any]) -> list[str]:
    return [entry["event"] for entry in logs]


def test_body_that_does_not_come_in_time_is_408(inbox: Inbox) -> None:
    """However it trickles, all of it has `body_timeout`; a refusal tells the owner, and the connection ends."""
    whole = genuine(inbox)
    slow = Sent(whole.method, whole.target, whole.headers, tuple(bytes([byte]) for byte in whole.body))

    async def story(site: Site) -> Told:
        return await site.take(Line(slow, pause=0.02))

    told = drive(Site(inbox, ServerSettings(body_timeout=0.2)), story)
    assert ((408, "body_too_slow"), "close") == (told_of(told), told.headers["connection"])
    assert ([], ["body_too_slow"]) == (inbox.events(), refusals(inbox))
    assert "0.2 s" in inbox.runtime.archive.refusals(None, 1)[0]["diagnosis"]


@pytest.mark.parametrize("chunked", [False, True])
def test_connection_that_ends_in_the_body_leaves_nothing(inbox: Inbox, chunked: bool) -> None:
    """400 to nobody, a refusal for the owner; the sender's retry is the first copy."""
    whole = genuine(inbox)
    cut = Sent(whole.method, whole.target, whole.headers, (whole.body[:-1], None), chunked=chunked, length=999)
    assert (400, "incomplete_body") == told_of(by_front(Site(inbox), cut))
    assert ([], ["incomplete_body"]) == (inbox.events(), refusals(inbox))
    assert (200, "accepted") == told_of(by_front(Site(inbox), whole))


class Locked:
    """The store, locked by another program for as long as the block lasts."""

    def __init__(self, inbox: Inbox) -> None:
        _ = inbox.runtime.inlet
        self._connection = sqlite3.connect(inbox.runtime.settings.database, isolation_level=None)

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *error: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


def impatient(inbox: Inbox, patience: float) -> Inbox:
    """Have the store wait only so long."""
    settings = inbox.runtime.settings
    object.__setattr__(settings, "server", ServerSettings(store_timeout=patience))
    return inbox


def test_sender_that_is_gone_before_the_answer_loses_nothing(inbox: Inbox, logs: list[Any]) -> None:
    """The body was there: the event is stored, told to the queue, and nothing is logged as a failure."""

    async def story(site: Site) -> None:
        line = Line(genuine(inbox))
        with Locked(inbox):
            answering = asyncio.create_task(site.take(line))
            await asyncio.sleep(0.1)
            line.gone.set()
        assert 0 == (await answering).status

    drive(Site(inbox), story)
    assert ["received"] == [event["status"] for event in inbox.events()]
    assert ("event", 1) == inbox.queue.take()
    assert ["event.accepted"] == names(logs)


def test_request_that_is_cancelled_leaves_the_room(inbox: Inbox) -> None:
    """A server that gives a request up, while it waits for body or store, has the place back; what is stored stays."""

    async def story(site: Site) -> None:
        waiting = Line(Sent(headers=genuine(inbox).headers, parts=(), length=9))
        with Locked(inbox):
            tasks = [asyncio.create_task(site.take(line)) for line in (waiting, Line(genuine(inbox)))]
            await asyncio.sleep(0.1)
            assert 1 == site.room._requests
            for task in tasks:
                task.cancel()
            assert [True] * 2 == [
                isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks, return_exceptions=True)
            ]
        assert (0, 0) == (site.room._requests, site.room._bytes)
        assert (200, "duplicate") == told_of(await site.take(Line(genuine(inbox))))

    drive(Site(inbox), story)
    assert 1 == len(inbox.events())


def test_large_body_is_read_in_a_thread(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its verification keeps nobody else waiting; a small one is not worth the way there."""
    seen: list[tuple[int, bool]] = []

    def spy(found: Any, request: Request) -> Verified:
        seen.append((len(request.body) > LARGE, threading.current_thread() is threading.main_thread()))
        return proved(found, request)

    monkeypatch.setattr("inbox.receive.receiver.proved", spy)
    for key, text in (("a", ""), ("b", "x" * LARGE)):
        assert (200, "accepted") == told_of(by_front(Site(inbox), genuine(inbox, key, more=text)))
    assert [(False, True), (True, False)] == seen


@pytest.mark.parametrize("limits", [{"max_in_flight": 2}, {"max_in_flight_bytes": 300}])
def test_full_room_is_503_and_the_body_is_read(inbox: Inbox, limits: dict[str, int], logs: list[Any]) -> None:
    """Who finds no room is told when to come again, has written its body to the end, and left no trace."""
    whole = genuine(inbox)

    async def story(site: Site) -> None:
        with Locked(inbox):
            inside = [asyncio.create_task(site.take(Line(genuine(inbox, key)))) for key in "ab"]
            await asyncio.sleep(0.05)
            line = Line(Sent(whole.method, whole.target, whole.headers, (whole.body[:50], whole.body[50:])))
            told = await site.take(line)
        assert ((503, "unavailable"), "5", len(whole.body)) == (told_of(told), told.headers["retry-after"], line.taken)
        assert [(200, "accepted")] * 2 == [told_of(told) for told in await asyncio.gather(*inside)]
        assert (200, "accepted") == told_of(await site.take(Line(whole)))

    drive(Site(inbox, ServerSettings(**limits)), story)
    assert ["store.unavailable", *["event.accepted"] * 3] == names(logs)
    assert [] == refusals(inbox)


def test_those_who_announce_much_and_send_little_keep_nobody_out(inbox: Inbox) -> None:
    """A body that is still coming weighs what has come of it, and takes no place among those that are worked on."""

    async def story(site: Site) -> None:
        much = Sent(parts=(b"{", b""), length=1_000_000, headers=(WELL_FORMED,))
        slow = [Line(much, pause=0.05) for _ in range(20)]
        tasks = [asyncio.create_task(site.take(line)) for line in slow]
        await asyncio.sleep(0.07)
        assert (0, 20) == (site.room._requests, site.room._bytes)
        assert (200, "accepted") == told_of(await site.take(Line(genuine(inbox))))
        assert [(400, "incomplete_body")] * 20 == [told_of(told) for told in await asyncio.gather(*tasks)]

    drive(Site(inbox, ServerSettings(max_in_flight=2, max_in_flight_bytes=600)), story)


def test_bodies_that_come_together_share_the_room(inbox: Inbox) -> None:
    """With a proof in the headers, what comes when it is full is refused in the middle; one alone may have more."""

    async def story(site: Site) -> list[tuple[int, str]]:
        lines = [Line(token(b"x", parts=(b"x" * 100,) * 4), pause=0.01 * (number + 1)) for number in range(2)]
        found = [told_of(told) for told in await asyncio.gather(*(site.take(line) for line in lines))]
        return [*found, told_of(await site.take(Line(token(b"x", parts=(b"x" * 100,) * 4))))]

    found = drive(Site(inbox, ServerSettings(max_in_flight_bytes=300)), story)
    assert [(200, "quarantined"), (503, "unavailable")] == sorted(found[:2])
    assert (200, "duplicate") == found[2]


def test_unproven_body_that_stalls_is_taken_back_for_others(inbox: Inbox, logs: list[Any]) -> None:
    """The oldest ends with 503 as soon as others need its room; what is genuine is accepted."""

    async def story(site: Site) -> None:
        stalled = Sent(parts=(b"x" * 300,), length=999, headers=(WELL_FORMED,))
        lines = [Line(stalled, more=True) for _ in range(3)]
        tasks = [asyncio.create_task(site.take(line)) for line in lines]
        await asyncio.sleep(0.05)
        assert 900 == site.room._bytes
        assert (200, "accepted") == told_of(await site.take(Line(genuine(inbox))))
        told = await asyncio.wait_for(tasks[0], 5)
        assert ((503, "unavailable"), "5") == (told_of(told), told.headers["retry-after"])
        assert not tasks[1].done()
        for line in lines:
            line.gone.set()
        await asyncio.gather(*tasks)

    drive(Site(inbox, ServerSettings(max_in_flight_bytes=1900)), story)
    assert ["event.accepted", "store.unavailable"] == sorted(names(logs)[:2])
    assert ["incomplete_body"] * 2 == refusals(inbox)


@pytest.mark.parametrize("proxies", [0, 1])
def test_room_is_shared_by_the_address_that_believed_proxies_saw(inbox: Inbox, proxies: int) -> None:
    """Whoever has most is taken back first, although another's body is older; without a proxy of ours all are one."""

    async def story(site: Site) -> bool:
        def stalled(size: int, client: bytes) -> Line:
            headers = (WELL_FORMED, (b"X-Forwarded-For", client))
            return Line(Sent(parts=(b"x" * size,), length=999, headers=headers), more=True)

        lines = [stalled(100, b"203.0.113.1"), stalled(300, b"203.0.113.2"), stalled(300, b"203.0.113.2")]
        tasks = [asyncio.create_task(site.take(line)) for line in lines]
        await asyncio.sleep(0.05)
        assert (200, "accepted") == told_of(await site.take(Line(genuine(inbox))))
        await asyncio.sleep(0.05)
        done = tasks[0].done()
        assert done != tasks[1].done()
        for line in lines:
            line.gone.set()
        await asyncio.gather(*tasks)
        return done

    server = ServerSettings(max_in_flight_bytes=1500, trusted_proxies=proxies)
    assert (not proxies) == drive(Site(inbox, server), story)


@pytest.mark.parametrize("headers", [(), ((b"Roomz-Signature", b"!!"),)])
def test_what_its_headers_refuse_is_read_and_not_counted(inbox: Inbox, headers: Any) -> None:
    """Missing or malformed signature: 401, the sender may write to the end, and the room stays empty."""
    weights: set[int] = set()

    async def story(site: Site) -> Told:
        line = Line(Sent(parts=(b"x" * 1000,) * 9, headers=headers), pause=0.01)
        task = asyncio.create_task(site.take(line))
        while not task.done():
            weights.add(site.room._bytes)
            await asyncio.sleep(0.005)
        assert 9000 == line.taken
        return await task

    assert (401, "not_authentic") == told_of(drive(Site(inbox), story))
    assert {0} == weights
    assert [0] == [row["size"] for row in inbox.runtime.archive.refusals(None, 10)]


def test_store_that_is_locked_too_long_is_503_in_time_and_nothing_is_stored_later(inbox: Inbox) -> None:
    """Those that are being written and those that wait for it are told after `store_timeout`, and it was the truth."""
    patience = 0.4
    impatient(inbox, patience)

    async def story(site: Site) -> None:
        async def send(number: int) -> tuple[int, str, float]:
            begun = time.monotonic()
            told = await site.take(Line(genuine(inbox, str(number))))
            return *told_of(told), time.monotonic() - begun

        with Locked(inbox):
            first = asyncio.create_task(send(0))
            await asyncio.sleep(0.1)
            answers = await asyncio.gather(first, *(send(number) for number in range(1, 6)))
        assert {(503, "unavailable")} == {answer[:2] for answer in answers}
        assert max(seconds for *_, seconds in answers) < patience + TICK + 0.5
        await asyncio.sleep(0.1)
        assert [] == inbox.events()
        assert (200, "accepted") == (await send(6))[:2]

    drive(Site(inbox), story)
    assert ["6"] == [event["key"] for event in inbox.events()]


def test_own_error_is_500_and_nothing_is_acknowledged(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch, logs: list[Any]
) -> None:
    """A bug says nothing to strangers, is logged with its traceback, stores nothing and takes no place for ever."""
    for large in (b"", b" " * LARGE):
        logs.clear()
        with monkeypatch.context() as patched:
            patched.setattr(type(inbox.runtime.sources["roomz"]), "redact", lambda self, request: 1 / 0)
            what = sent("roomz", inbox.signed("roomz", json.dumps(good("one")).encode() + large))
            assert (500, "internal_error") == told_of(by_front(Site(inbox), what))
        assert ["request.failed"] == names(logs)
        assert isinstance(logs[0]["exc_info"], ZeroDivisionError)
        assert ([], []) == (inbox.events(), refusals(inbox))


def test_error_of_the_store_that_nobody_knows_is_500(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a constraint: only its own sender gets it, and what comes with it is stored."""

    async def story(site: Site) -> list[tuple[int, str]]:
        with Locked(inbox):
            tasks = [asyncio.create_task(site.take(Line(genuine(inbox, key)))) for key in ("first", "bad", "third")]
            await asyncio.sleep(0.1)
        return [told_of(await task) for task in tasks]

    monkeypatch.setattr("inbox.store.sql.events._row", _failing_row)
    assert [(200, "accepted"), (500, "internal_error"), (200, "accepted")] == drive(Site(inbox), story)
    assert ["third", "first"] == [event["key"] for event in inbox.events()]


def _failing_row(event: Any, seal: Any) -> tuple[object, ...]:
    if event.key == "bad":
        raise sqlite3.IntegrityError("no")
    return _row(event, seal)


@pytest.mark.parametrize("target", [b"/in/roomz", b"/healthz", b"/elsewhere"])
def test_last_answer_of_a_receiver_that_ends_says_so(inbox: Inbox, target: bytes) -> None:
    """`Connection: close`, from the endpoint and from the pages; before that, nothing of the kind."""
    for closing, expected in ((True, "close"), (False, None)):
        told = by_front(Site(inbox, closing=closing), Sent(method="GET", target=target))
        assert expected == told.headers.get("connection")


def test_slow_bodies_for_pages_keep_no_page_from_others(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than threads: pages read no bodies, others are answered meanwhile, and they after a pause."""
    monkeypatch.setattr("inbox.receive.body.FORGETTING", 0.3)

    async def story(site: Site) -> None:
        slow = [Line(Sent(target=b"/elsewhere", parts=(), length=9)) for _ in range(4)]
        tasks = [asyncio.create_task(site.take(line)) for line in slow]
        await asyncio.sleep(0.05)
        assert (200, "ok") == told_of(await site.take(Line(Sent(method="GET", target=b"/healthz"))))
        assert not any(task.done() for task in tasks)
        assert [404] * 4 == [told.status for told in await asyncio.gather(*tasks)]

    drive(Site(inbox, ServerSettings(threads=2)), story)


@pytest.mark.parametrize("target", [b"/in/nobody", b"/elsewhere"])
@pytest.mark.parametrize("more", [0, 1])
def test_body_that_nobody_wants_is_read_up_to_a_limit(inbox: Inbox, target: bytes, more: int) -> None:
    """So that its sender can write to the end, and read the answer; what is announced longer is not begun."""
    parts = (b"x" * 1024 * 1024,) * (FORGOTTEN // 1024 // 1024) + (b"x" * more,)
    line_made: list[Line] = []

    async def story(site: Site) -> Told:
        line_made.append(Line(Sent(target=target, parts=parts)))
        return await site.take(line_made[0])

    assert 404 == drive(Site(inbox), story).status
    assert (0 if more else FORGOTTEN) == line_made[0].taken


def test_many_at_once_are_stored_together(inbox: Inbox) -> None:
    """A hundred requests, each with its own answer, few commits, and the room is empty afterwards."""

    async def story(site: Site) -> list[Told]:
        return await asyncio.gather(*(site.take(Line(genuine(inbox, str(number % 80)))) for number in range(100)))

    found = [json.loads(told.body) for told in drive(Site(inbox), story)]
    assert [80, 20] == [sum(answer["status"] == word for answer in found) for word in ("accepted", "duplicate")]
    keys = {event["id"]: event["key"] for event in inbox.events()}
    assert [str(number % 80) for number in range(100)] == [keys[answer["id"]] for answer in found]
