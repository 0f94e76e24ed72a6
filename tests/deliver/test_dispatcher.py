"""Deliveries: outcomes, retries, fan-out, leases, crashes, parking, the sweep."""

import builtins
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from inbox.core.errors import NotFound
from inbox.deliver.handler_call import MAX_VALUE, as_json
from inbox.testing import Inbox


def write(handlers: Path, code: str, name: str = "own") -> None:
    (handlers / f"{name}.py").write_text("from inbox import *\nimport asyncio, sys, time\n" + code)


def deliveries(inbox: Inbox, event_id: int = 1) -> dict[str, Any]:
    return {delivery["handler"]: delivery for delivery in inbox.event(event_id)["deliveries"]}


def results(inbox: Inbox, handler: str = "own.one") -> list[str]:
    return [run["result"] for run in deliveries(inbox)[handler]["runs"]]


def names(logs: list[Any]) -> list[str]:
    return [entry["event"] for entry in logs]


def test_one_delivery_per_matching_handler(inbox: Inbox, handlers: Path) -> None:
    """Patterns on source and type decide; each handler has its own row."""
    write(
        handlers,
        """
@handles("roomz", "workspace.*")
def one(event): return {"n": 1}
@handles("*")
@handles("roomz")
def two(event): pass
@handles("roomz", "other.*")
def three(event): pass
@handles("breakcold")
def four(event): pass
""",
    )
    inbox.receive("roomz")
    inbox.run()
    assert ["own.one", "own.two"] == sorted(deliveries(inbox))
    assert ["succeeded", '{"n": 1}', "null"] == [
        inbox.event(1)["status"], deliveries(inbox)["own.one"]["value"], deliveries(inbox)["own.two"]["value"],
    ]  # fmt: skip


def test_an_event_without_handlers_is_unhandled_and_can_be_replayed_later(inbox: Inbox, handlers: Path) -> None:
    """It stays visible, and a handler that is written later can have it."""
    inbox.receive("roomz")
    inbox.run()
    assert "unhandled" == inbox.event(1)["status"]
    write(handlers, '@handles("roomz")\ndef one(event): return 1')
    assert 1 == inbox.replay(1).created
    inbox.reload()
    inbox.run()
    assert "succeeded" == inbox.event(1)["status"]


def test_a_failing_handler_is_retried_and_its_sibling_is_not_run_again(inbox: Inbox, handlers: Path) -> None:
    """One handler's failure neither skips nor repeats the other; the traceback is kept."""
    write(
        handlers,
        """
runs = {"one": 0, "two": 0}
@handles("roomz", backoff=10)
def one(event):
    runs["one"] += 1
    if event.attempt == 1:
        raise ValueError("not yet")
    return runs["one"]
@handles("roomz")
def two(event):
    runs["two"] += 1
    return runs["two"]
""",
    )
    inbox.receive("roomz")
    inbox.run()
    first = deliveries(inbox)
    assert ("retrying", "succeeded", "processing") == (
        first["own.one"]["status"], first["own.two"]["status"], inbox.event(1)["status"],
    )  # fmt: skip
    assert "ValueError: not yet" in first["own.one"]["error"]
    assert "in one" in first["own.one"]["error"]
    assert "attempt.py" not in first["own.one"]["error"]
    inbox.advance(10)
    inbox.run()
    assert ("2", "1", "succeeded") == (
        deliveries(inbox)["own.one"]["value"], deliveries(inbox)["own.two"]["value"], inbox.event(1)["status"],
    )  # fmt: skip
    assert ["error", "succeeded"] == results(inbox)


def test_backoff_doubles_up_to_its_limit_with_full_jitter(inbox: Inbox, handlers: Path) -> None:
    """The n-th retry waits a random time between 0 and backoff * 2 ** (n - 1), at most max_backoff."""
    write(handlers, '@handles("roomz", backoff=10, max_backoff=60, attempts=6)\ndef one(event): 1 / 0')
    limits: list[tuple[float, float]] = []

    def latest(low: float, high: float) -> float:
        limits.append((low, high))
        return high

    inbox.dispatcher._runner._jitter = latest
    inbox.receive("roomz")
    for _ in range(6):
        inbox.run()
        inbox.advance(61)
    assert [(0.0, 10.0), (0.0, 20.0), (0.0, 40.0), (0.0, 60.0), (0.0, 60.0), (0.0, 60.0)] == limits
    assert ("dead", "dead") == (deliveries(inbox)["own.one"]["status"], inbox.event(1)["status"])
    assert ["error"] * 6 == results(inbox)


def test_too_old_a_delivery_is_not_retried(inbox: Inbox, handlers: Path) -> None:
    """max_age counts from when the delivery was made; a retry beyond it does not come."""
    write(handlers, '@handles("roomz", max_age=100, attempts=1000)\ndef one(event): raise Retry(after=60)')
    inbox.receive("roomz")
    for _ in range(4):
        inbox.run()
        inbox.advance(60)
    assert ("dead", ["retry", "retry"]) == (deliveries(inbox)["own.one"]["status"], results(inbox))


def test_retry_after_is_kept(inbox: Inbox, handlers: Path) -> None:
    """`Retry(after=…)` decides when, counts as an attempt, and its reason is shown."""
    write(
        handlers,
        """
@handles("roomz")
def one(event):
    if event.attempt < 3:
        raise Retry("rate limited", after=120)
""",
    )
    inbox.receive("roomz")
    inbox.run()
    assert ("rate limited", inbox.clock() + 120) == (
        deliveries(inbox)["own.one"]["error"], deliveries(inbox)["own.one"]["due_at"],
    )  # fmt: skip
    inbox.advance(119)
    assert 0 == inbox.run()
    for _ in range(2):
        inbox.advance(120)
        inbox.run()
    assert ["retry", "retry", "succeeded"] == results(inbox)


def test_discard_ends_the_delivery_well(inbox: Inbox, handlers: Path, logs: list[Any]) -> None:
    """`Discard(reason)`: no retry, the reason is kept, the event counts as done."""
    write(handlers, '@handles("roomz")\ndef one(event): raise Discard("test data")')
    inbox.receive("roomz")
    inbox.run()
    assert ("discarded", "test data") == (
        deliveries(inbox)["own.one"]["status"], deliveries(inbox)["own.one"]["error"],
    )  # fmt: skip
    assert "succeeded" == inbox.event(1)["status"]
    assert "delivery.discarded" in names(logs)


@pytest.mark.parametrize(
    "code",
    ["sys.exit(3)", "raise SystemExit", "raise GeneratorExit", "raise asyncio.CancelledError", "raise BaseException()"],
)
def test_exits_are_errors_like_others(inbox: Inbox, handlers: Path, code: str) -> None:
    """A handler that tries to leave ends its own run, not the worker."""
    write(handlers, f'@handles("roomz", attempts=2)\ndef one(event): {code}')
    inbox.receive("roomz")
    for _ in range(3):
        inbox.run()
        inbox.advance(3600)
    assert ("dead", ["error", "error"]) == (deliveries(inbox)["own.one"]["status"], results(inbox))


def test_a_keyboard_interrupt_is_retried_at_once_but_not_for_ever(inbox: Inbox, handlers: Path) -> None:
    """That is how a worker that is stopped at once leaves a handler; a handler that raises it itself ends up dead."""
    write(handlers, '@handles("roomz", attempts=3)\ndef one(event): raise KeyboardInterrupt')
    inbox.receive("roomz")
    inbox.run()
    assert ("dead", ["interrupted"] * 3) == (deliveries(inbox)["own.one"]["status"], results(inbox))


def test_a_handler_that_hangs_is_stopped(inbox: Inbox, handlers: Path, logs: list[Any]) -> None:
    """The timeout is enforced, the delivery is retried, and the worker lives on."""
    write(
        handlers,
        """
@handles("roomz", timeout=0.1)
def one(event):
    if event.attempt == 1:
        try:
            while True: time.sleep(0.01)
        except Exception:
            pass
""",
    )
    inbox.receive("roomz")
    inbox.run()
    assert ("retrying", "stopped after 0.1 s") == (
        deliveries(inbox)["own.one"]["status"], deliveries(inbox)["own.one"]["error"],
    )  # fmt: skip
    inbox.advance(60)
    inbox.run()
    assert ["timeout", "succeeded"] == results(inbox)


def test_async_handlers_are_awaited(inbox: Inbox, handlers: Path) -> None:
    """`async def` works, and what it returns is kept."""
    write(handlers, '@handles("roomz")\nasync def one(event):\n    await asyncio.sleep(0)\n    return event.type')
    inbox.receive("roomz")
    inbox.run()
    assert '"workspace.presence.changed"' == deliveries(inbox)["own.one"]["value"]


@pytest.mark.parametrize("code", ["object()", "float('nan')", "'x' * 5000", "{1, 2}", "b'bytes'", "[[]]"])
def test_what_a_handler_returns_never_fails_it(inbox: Inbox, handlers: Path, code: str) -> None:
    """A result that is no JSON, or too large, is named instead of kept."""
    write(handlers, f'@handles("roomz")\ndef one(event): return {code}')
    inbox.receive("roomz")
    inbox.run()
    value = deliveries(inbox)["own.one"]["value"]
    assert "succeeded" == deliveries(inbox)["own.one"]["status"]
    assert len(value) <= MAX_VALUE
    assert code == "[[]]" or "not_kept" in json.loads(value)


def test_results_that_refer_to_themselves_are_not_kept() -> None:
    """A cycle is no JSON."""
    value: list[Any] = []
    value.append(value)
    assert "not_kept" in json.loads(as_json(value))


def test_what_a_handler_gets(inbox: Inbox, handlers: Path) -> None:
    """Payload, request, key and flags; the idempotency key is the same for every attempt and replay."""
    write(
        handlers,
        """
@handles("roomz", backoff=0)
def one(event):
    if event.attempt == 1 and not event.is_replay:
        raise ValueError(event.idempotency_key)
    return [event.id, event.source, event.type, event.payload["data"], event.is_replay, event.attempt,
            event.idempotency_key, event.still_mine(), event.received_at.isoformat(),
            event.request.header("Content-Type"), event.body.decode()[:6]]
""",
    )
    inbox.receive("roomz")
    inbox.run()
    inbox.replay(1)
    inbox.run()
    first, again = inbox.event(1)["deliveries"]
    values = json.loads(first["value"])
    data = {"workspaceId": "e6ae112e-2af3-4d72-894b-03435d7afde4", "presenceStatus": "Busy"}
    assert [1, "roomz", "workspace.presence.changed", data, False, 2] == values[:6]
    assert [True, "2026-01-01T00:00:00+00:00", "application/json", '{"id":'] == values[7:]
    assert values[6] in first["runs"][0]["error"]
    assert [True, 1, values[6]] == json.loads(again["value"])[4:7]


def test_crashes_are_counted_apart_and_three_make_it_dead(inbox: Inbox, handlers: Path, logs: list[Any]) -> None:
    """A lease that runs out is a crash of its worker; the third makes the delivery dead, visibly."""
    write(handlers, '@handles("roomz", attempts=1)\ndef one(event): return 1')
    inbox.receive("roomz")
    inbox.dispatcher.route()
    delivery = inbox.event(1)["deliveries"][0]["id"]
    work = inbox.dispatcher._work
    for crash in range(3):
        token = f"gone {crash}"
        assert work.claim(delivery, token=token, worker="w", at=inbox.clock(), lease=30.0) is not None
        assert None is work.claim(delivery, token="early", worker="w", at=inbox.clock() + 29, lease=30.0)
        inbox.advance(31)
    inbox.sweep()
    inbox.run()
    assert ("dead", 3, ["crashed", "crashed", "crashed", "poison"]) == (
        deliveries(inbox)["own.one"]["status"], deliveries(inbox)["own.one"]["crashes"], results(inbox),
    )  # fmt: skip
    assert "died 3 times" in deliveries(inbox)["own.one"]["error"]
    assert "delivery.dead" in names(logs)


def test_a_crash_does_not_use_up_an_attempt(inbox: Inbox, handlers: Path) -> None:
    """attempts=1 and one crash: the handler still gets its one run."""
    write(handlers, '@handles("roomz", attempts=1)\ndef one(event): return event.attempt')
    inbox.receive("roomz")
    inbox.dispatcher.route()
    delivery = inbox.event(1)["deliveries"][0]["id"]
    inbox.dispatcher._work.claim(delivery, token="gone", worker="w", at=inbox.clock(), lease=30.0)
    inbox.advance(31)
    inbox.sweep()
    inbox.run()
    assert ["crashed", "succeeded"] == results(inbox)


def test_a_lost_lease_throws_the_result_away(inbox: Inbox, handlers: Path, logs: list[Any]) -> None:
    """While one worker slept, another took over: the first one's outcome changes nothing and is logged."""
    write(handlers, '@handles("roomz")\ndef one(event):\n    import builtins\n    builtins.steal()\n    return "slow"')
    inbox.receive("roomz")
    work = inbox.dispatcher._work
    mine: list[bool] = []

    def steal() -> None:
        inbox.advance(31)
        number = inbox.event(1)["deliveries"][0]["id"]
        assert work.claim(number, token="thief", worker="other", at=inbox.clock(), lease=30.0) is not None
        mine.append(work.holds(number, "thief", inbox.clock()))

    builtins.steal = steal  # type: ignore[attr-defined]
    inbox.run()
    delivery = deliveries(inbox)["own.one"]
    assert ("running", "other", [True]) == (delivery["status"], delivery["worker"], mine)
    assert ["lost", "running"] == results(inbox)
    assert "delivery.lease_lost" in names(logs)


def test_deliveries_of_a_module_that_fails_to_import_are_parked_and_run_later(inbox: Inbox, handlers: Path) -> None:
    """The handler is remembered from when it loaded; its work waits visibly and runs when it loads again."""
    write(handlers, '@handles("roomz")\ndef one(event): return "good"')
    write(handlers, '@handles("roomz")\ndef two(event): return "other"', name="other")
    inbox.reload()
    write(handlers, "raise RuntimeError('not today')")
    inbox.reload()
    inbox.receive("roomz")
    inbox.run()
    assert ("parked", "succeeded", "processing") == (
        deliveries(inbox)["own.one"]["status"], deliveries(inbox)["other.two"]["status"], inbox.event(1)["status"],
    )  # fmt: skip
    write(handlers, '@handles("roomz")\ndef one(event): return "fixed"')
    inbox.reload()
    inbox.run()
    assert ('"fixed"', "succeeded") == (deliveries(inbox)["own.one"]["value"], inbox.event(1)["status"])


def test_deliveries_of_a_removed_handler_are_parked_with_the_reason(inbox: Inbox, handlers: Path) -> None:
    """Work for a function that is gone is never dropped: it waits, and runs if the handler comes back."""
    write(handlers, '@handles("roomz", backoff=0)\ndef one(event): raise Retry(after=60)')
    inbox.receive("roomz")
    inbox.run()
    write(handlers, "")
    inbox.reload()
    inbox.advance(61)
    inbox.run()
    assert "parked" == deliveries(inbox)["own.one"]["status"]
    assert "removed or not importable" in deliveries(inbox)["own.one"]["error"]
    write(handlers, '@handles("roomz")\ndef one(event): return 1')
    inbox.reload()
    inbox.run()
    assert "succeeded" == deliveries(inbox)["own.one"]["status"]


def test_the_sweep_finds_everything_that_waits(inbox: Inbox, handlers: Path) -> None:
    """Unrouted events, due deliveries and those due soon are found when the queue has forgotten them."""
    write(handlers, '@handles("roomz")\ndef one(event):\n    if event.attempt == 1: raise Retry(after=30)')
    for _ in range(3):
        inbox.receive("roomz")
    inbox.queue.lose()
    assert 3 == inbox.sweep()
    inbox.run()
    inbox.queue.lose()
    assert 3 == inbox.sweep()
    assert 0 == inbox.run()
    inbox.advance(30)
    inbox.run()
    assert ["succeeded"] * 3 == [event["status"] for event in inbox.events()]
    assert 0 == inbox.sweep()


def test_routing_and_delivering_twice_does_nothing_more(inbox: Inbox, handlers: Path) -> None:
    """Messages may come any number of times, also when there is nothing to do."""
    write(handlers, '@handles("roomz")\ndef one(event): return 1')
    inbox.receive("roomz")
    inbox.run()
    for _ in range(3):
        inbox.dispatcher.work()
    assert ["succeeded"] == results(inbox)
    with pytest.raises(NotFound):
        inbox.event(99)


def test_an_outcome_that_cannot_be_written_is_tried_again(inbox: Inbox, handlers: Path, logs: list[Any]) -> None:
    """The store is locked when the handler is done: it is not run again, the outcome is written when that can be."""
    write(handlers, '@handles("roomz")\ndef one(event): return "done"')
    inbox.receive("roomz")
    done = locked_after_the_run(inbox, pauses=2)
    assert (["succeeded"], 0) == (results(inbox), deliveries(inbox)["own.one"]["crashes"])
    assert (2, 2) == (len(done), names(logs).count("delivery.not_recorded"))


def test_an_outcome_is_held_for_longer_than_a_lease(inbox: Inbox, handlers: Path, logs: list[Any]) -> None:
    """The disk is full for hours: the heartbeat goes on, so nobody runs it again, and it is recorded in the end."""
    write(handlers, '@handles("roomz")\ndef one(event): return "done"')
    inbox.receive("roomz")
    done = locked_after_the_run(inbox, pauses=200)
    assert (["succeeded"], 0) == (results(inbox), deliveries(inbox)["own.one"]["crashes"])
    assert {(1, 1)} == set(done)


def locked_after_the_run(inbox: Inbox, *, pauses: int) -> list[tuple[int, int]]:
    """Work on one event, with a store that is locked when the handler is done, and for so many pauses.

    Returns (deliveries whose lease is kept alive, runs) at each pause.
    """
    dispatcher, seen = inbox.dispatcher, []
    dispatcher._work._connection._patience = 0.001  # type: ignore[attr-defined]
    other = sqlite3.connect(inbox.runtime.settings.database, isolation_level=None)
    original, runs = dispatcher._runner.attempt, []

    def then_locked(claimed: Any) -> Any:
        runs.append(claimed.id)
        outcome = original(claimed)
        other.execute("BEGIN IMMEDIATE")
        return outcome

    def pause(seconds: float) -> None:
        seen.append((len(dispatcher._guard._current), len(runs)))
        if len(seen) == pauses:
            other.execute("ROLLBACK")

    dispatcher._runner.attempt = then_locked  # type: ignore[method-assign]
    dispatcher._pause = pause
    dispatcher.work()
    other.close()
    return seen


def test_a_store_that_is_locked_puts_work_off(inbox: Inbox, handlers: Path, logs: list[Any]) -> None:
    """The wake-up is not lost: it comes again after a second, without a sweep."""
    write(handlers, '@handles("roomz")\ndef one(event): pass')
    inbox.receive("roomz")
    inbox.dispatcher._work._connection._patience = 0.01  # type: ignore[attr-defined]
    other = sqlite3.connect(inbox.runtime.settings.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert (1, "received") == (inbox.run(), inbox.event(1)["status"])
    other.execute("ROLLBACK")
    other.close()
    assert 0 == inbox.run()
    inbox.advance(1)
    inbox.run()
    assert ("succeeded", 1) == (inbox.event(1)["status"], names(logs).count("work.put_off"))


def test_more_is_taken_at_once_as_long_as_handlers_are_quick(inbox: Inbox, handlers: Path) -> None:
    """1, 2, 4, …, at most 64; every event is handled once, and a message is left as long as there is more."""
    write(handlers, '@handles("roomz")\ndef one(event): pass')
    taken, original = [], inbox.dispatcher._work.take

    def take(worker: Any, limit: int) -> Any:
        found = original(worker, limit)
        taken.append(len(found[0]))
        return found

    inbox.dispatcher._work.take = take  # type: ignore[method-assign]
    for _ in range(130):
        inbox.receive("roomz")
    inbox.queue.lose()
    inbox.sweep()
    inbox.run()
    assert [1, 2, 4, 8, 16, 32, 64, 3] == [number for number in taken if number]
    assert {("succeeded", 1)} == {
        (event["status"], len(inbox.event(event["id"])["deliveries"][0]["runs"])) for event in inbox.events()
    }


def test_a_slow_handler_keeps_nobody_waiting(inbox: Inbox, handlers: Path) -> None:
    """Of several taken together, what is done is recorded and what was not begun is given back while it runs."""
    write(
        handlers,
        """
@handles("roomz")
def one(event):
    import builtins
    if event.id == 3:
        builtins.until_given_back()
""",
    )
    seen: list[list[tuple[str, int]]] = []

    def until_given_back() -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end and not (seen and seen[-1][2] == ("pending", 0)):
            look()
            time.sleep(0.005)
        look()  # once more: it may have been given back between two rows

    def look() -> None:
        rows = [inbox.event(number)["deliveries"][0] for number in range(2, 6)]
        seen.append([(row["status"], row["attempts"]) for row in rows])

    builtins.until_given_back = until_given_back  # type: ignore[attr-defined]
    for _ in range(5):
        inbox.receive("roomz")
    inbox.dispatcher._at_once = 4
    inbox.dispatcher.work()
    assert [("succeeded", 1), ("running", 1), ("pending", 0), ("pending", 0)] == seen[-1]
    assert 2 == inbox.dispatcher._at_once
    inbox.run()
    assert {"succeeded"} == {event["status"] for event in inbox.events()}
    assert [["succeeded"]] * 5 == [
        [run["result"] for run in inbox.event(n)["deliveries"][0]["runs"]] for n in range(1, 6)
    ]


def test_a_worker_that_is_stopped_at_once_gives_back_what_it_did_not_begin(inbox: Inbox, handlers: Path) -> None:
    """The one that was interrupted is retried; the others count no attempt."""
    write(
        handlers,
        '@handles("roomz")\ndef one(event):\n    if event.attempt == 1 and event.id == 1: raise KeyboardInterrupt',
    )
    for _ in range(3):
        inbox.receive("roomz")
    inbox.dispatcher._at_once = 3
    inbox.dispatcher.work()
    rows = [inbox.event(number)["deliveries"][0] for number in (1, 2, 3)]
    assert [("retrying", 1), ("pending", 0), ("pending", 0)] == [(row["status"], row["attempts"]) for row in rows]
    inbox.run()
    assert {"succeeded"} == {event["status"] for event in inbox.events()}


def test_an_event_of_a_removed_source_is_still_delivered(inbox: Inbox, handlers: Path) -> None:
    """What was accepted is worked on, also when its source is no longer in the configuration."""
    write(handlers, '@handles("*")\ndef one(event): return event.payload["type"]')
    inbox.receive("roomz")
    inbox.runtime.__dict__["sources"] = {}
    inbox.run()
    assert "succeeded" == inbox.event(1)["status"]


def test_a_row_that_another_version_wrote_stops_nothing(inbox: Inbox, handlers: Path) -> None:
    """A remembered handler whose marks cannot be matched is left out of the routing; every other one runs."""
    write(handlers, '@handles("roomz")\ndef one(event): return 1')
    write(handlers, '@handles("roomz")\ndef two(event): return 2', "other")
    inbox.reload()
    marks = ['{"source": ["roomz"]}', '{"source": null, "type": 1}', '{"source": "roomz", "priority": 1}']
    with sqlite3.connect(inbox.runtime.settings.database) as connection:
        connection.execute("UPDATE handlers SET marks = ? WHERE name = 'own.one'", (f"[{', '.join(marks)}]",))
    connection.close()
    write(handlers, "1 / 0")
    inbox.reload()
    inbox.receive("roomz")
    inbox.run()
    assert ["other.two"] == list(deliveries(inbox))
    assert "succeeded" == inbox.event(1)["status"]
