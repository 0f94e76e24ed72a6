"""/readyz says which check fails; /metrics is there for who may see it, and counts what strangers send as "other"."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from inbox.core.config.settings import ServerSettings
from inbox.core.errors import StoreUnavailable
from inbox.deliver.queue import Queue
from inbox.operate.health import HealthReporter, Limits
from inbox.receive.wsgi import create_app
from inbox.runtime import Runtime
from inbox.testing import Inbox
from tests.operate.test_metrics import parsed, value


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    with Inbox(tmp_path, sources={"roomz": {"provider": "roomz"}}) as made:
        yield made
        made.runtime.watching.watch.close()


def lookout(inbox: Inbox, **limits: Any) -> HealthReporter:
    """Return a lookout that starts no threads."""
    runtime: Runtime = inbox.runtime
    return HealthReporter(
        {"roomz": 30.0},
        runtime.receiver.probe,
        lambda: runtime.watching.watch,
        Limits(**limits),
        timings=runtime.watching.timings,
        clock=inbox.clock,
        steady=inbox.clock.steady,
        queue=inbox.runtime.queue.problem,
    )


def client_of(inbox: Inbox, metrics: Any = "everyone", **limits: Any) -> FlaskClient:
    return create_app(
        inbox.runtime.receiver, ServerSettings(metrics=metrics, trusted_proxies=1), lookout(inbox, **limits)
    ).test_client()


def test_ready_when_every_check_is_ok(inbox: Inbox) -> None:
    """200, and what was looked at."""
    inbox.runtime.watching.watch.beat("worker", inbox.clock(), inbox.clock.steady())
    answer = client_of(inbox).get("/readyz")
    checks = dict.fromkeys(("store", "queue", "disk", "backlog", "worker", "handlers"), "ok")
    assert (200, {"status": "ready", "checks": checks}) == (answer.status_code, answer.json)


@pytest.mark.parametrize(
    ("check", "limits", "said"),
    [
        ("worker", {}, "no worker has given a sign of life for 61 s"),
        ("backlog", {"backlog_age": 60.0, "process_gone": 100.0}, "work has been waiting for 61 s; backlog_age = 60"),
        ("disk", {"min_free_bytes": 2**60, "process_gone": 100.0}, "min_free_bytes = 1152921504606846976"),
        ("disk", {"max_store_bytes": 1, "process_gone": 100.0}, "max_store_bytes = 1"),
    ],
)
def test_failing_check_is_named(inbox: Inbox, logs: list[Any], check: str, limits: dict[str, Any], said: str) -> None:
    """503 with Retry-After; the other checks are ok, and the log says the same."""
    inbox.runtime.watching.watch.beat("worker", inbox.clock(), inbox.clock.steady())
    inbox.receive("roomz")
    inbox.advance(61)
    answer = client_of(inbox, **limits).get("/readyz")
    assert (503, "5", [check]) == (answer.status_code, answer.headers["Retry-After"], answer.json["failing"])  # type: ignore[index]
    assert said in answer.json["checks"][check]  # type: ignore[index]
    assert ("receiver.not_ready", answer.json["checks"][check]) == (logs[-1]["event"], logs[-1][check])  # type: ignore[index]


def test_worker_that_never_ran_is_named(inbox: Inbox) -> None:
    """A receiver without any worker is not ready: what it takes would wait."""
    assert "no worker has ever run here" == client_of(inbox).get("/readyz").json["checks"]["worker"]  # type: ignore[index]


def test_modules_that_did_not_import_are_named(inbox: Inbox) -> None:
    """Their events wait, or find no handler at all; a worker that loads them makes it ready."""
    inbox.runtime.watching.watch.beat("worker", inbox.clock(), inbox.clock.steady())
    for name in ("own", "bad"):
        (inbox.runtime.handlers_folder / f"{name}.py").write_text("1 / 0")
    inbox.reload()
    answer = client_of(inbox).get("/readyz")
    said = "modules that did not import: bad, own; `inbox handlers` tells why"
    assert (503, ["handlers"], said) == (
        answer.status_code, answer.json["failing"], answer.json["checks"]["handlers"],  # type: ignore[index]
    )  # fmt: skip
    for name in ("own", "bad"):
        (inbox.runtime.handlers_folder / f"{name}.py").unlink()
    inbox.reload()
    assert 200 == client_of(inbox).get("/readyz").status_code


def test_queue_that_cannot_be_used_is_named(inbox: Inbox, tmp_path: Path) -> None:
    """The real queue is tried: a folder in its place is told, and that it is gone as well."""
    inbox.runtime.watching.watch.beat("worker", inbox.clock(), inbox.clock.steady())
    queue = inbox.runtime.queue = Queue(tmp_path / "queue.db", lambda: inbox.dispatcher)  # type: ignore[assignment]
    client = client_of(inbox)
    (tmp_path / "queue.db" / "mine").mkdir(parents=True)
    answer = client.get("/readyz")
    expected = (503, ["queue"], f"{tmp_path / 'queue.db'} is a folder")
    assert expected == (answer.status_code, answer.json["failing"], answer.json["checks"]["queue"])  # type: ignore[index]
    (tmp_path / "queue.db").rename(tmp_path / "elsewhere")
    queue.huey.storage._again = 0.0
    assert 200 == client.get("/readyz").status_code
    queue.close()


def test_store_that_cannot_be_written_is_named(inbox: Inbox) -> None:
    """A real durable write is tried."""

    def broken() -> None:
        raise StoreUnavailable("locked")

    inbox.runtime.watching.watch.beat("worker", inbox.clock(), inbox.clock.steady())
    inbox.runtime.inlet.probe = broken  # type: ignore[method-assign]
    answer = client_of(inbox).get("/readyz")
    assert (503, ["store"], "locked") == (
        answer.status_code,
        answer.json["failing"],  # type: ignore[index]
        answer.json["checks"]["store"],  # type: ignore[index]
    )


@pytest.mark.parametrize(
    ("setting", "address", "headers", "status"),
    [
        ("off", "127.0.0.1", {}, 404),
        ("loopback", "127.0.0.1", {}, 200),
        ("loopback", "::1", {}, 200),
        ("loopback", "192.0.2.1", {}, 404),
        ("loopback", "127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 404),
        ("loopback", "127.0.0.1", {"Forwarded": "for=127.0.0.1"}, 404),
        ("loopback", "127.0.0.1", {"Via": "1.1 proxy"}, 404),
        ("loopback", "", {}, 404),
        ("everyone", "192.0.2.1", {"X-Forwarded-For": "203.0.113.9"}, 200),
    ],
)
def test_metrics_are_for_who_may_see_them(
    inbox: Inbox, setting: str, address: str, headers: dict[str, str], status: int
) -> None:
    """Strangers get the 404 of a page that is not there, also through a proxy on this machine."""
    answer = client_of(inbox, setting).get("/metrics", headers=headers, environ_overrides={"REMOTE_ADDR": address})
    assert status == answer.status_code
    expected = "text/plain; version=0.0.4; charset=utf-8" if status == 200 else "application/json"
    assert expected == answer.headers["Content-Type"]


def test_flood_of_strangers_makes_no_labels(inbox: Inbox) -> None:
    """40 unknown sources, types and methods: one more number of "other", and not a sample more."""
    client = client_of(inbox)
    client.post("/in/unknown", data=b"{}")
    first = parsed(client.get("/metrics").data)
    for number in range(40):
        client.post(f"/in/unknown-{number}/more?type={number}", data=b"{}", headers={"X-Event": f"type-{number}"})
        client.open(f"/in/roomz/{number}", method="DELETE")
    for number in range(20):
        inbox.receive("roomz", {"id": str(number), "type": f"made-up-{number}"}, type=f"made-up-{number}")
    inbox.runtime.watching.watch.add(inbox.runtime.watching.timings.take(), inbox.clock())
    last = parsed(client.get("/metrics").data)
    new = {key for key in last.keys() - first.keys() if ("reason", "method_not_allowed") not in key[1]}
    assert set() == new
    labels = {"source": "other", "code": "unknown_source", "reason": "unknown_source"}
    assert 41 == value(last, "inbox_refusals_total", **labels)
    assert 41 == value(last, "inbox_answer_duration_seconds_count", source="other")
    assert 40 == value(last, "inbox_answer_duration_seconds_count", source="roomz")
