"""Waiting for so long and no longer, on an event loop, with one timer for all."""

import asyncio
import time

import pytest

from inbox.core.config.settings import ServerSettings
from inbox.core.errors import TooSlow
from inbox.receive.admission import AdmissionControl, Reservation
from inbox.receive.body import Body
from inbox.receive.deadlines import TICK, SharedDeadline

LATE = 2 * TICK + 0.5
"""Seconds; more than any end may be late here, also on a machine with much to do."""


async def _never() -> dict[str, object]:
    await asyncio.Event().wait()
    raise AssertionError


async def _whole() -> dict[str, object]:
    return {"type": "http.request", "body": b"all"}


def _stay() -> Reservation:
    return Reservation(AdmissionControl(ServerSettings()), "")


def _read(receive: object, patience: SharedDeadline) -> "asyncio.Task[bytes]":
    body = Body(receive, patience)  # type: ignore[arg-type]
    return asyncio.create_task(body.read(10, _stay()))


def test_each_waits_for_its_own_time() -> None:
    """Those that come later end later, though one timer looks for all."""

    async def run() -> list[float]:
        patience, begun = SharedDeadline(0.2), time.monotonic()

        async def one() -> float:
            with pytest.raises(TooSlow, match=r"0 bytes came in 0\.2 s; body_timeout is that long"):
                await _read(_never, patience)
            return time.monotonic() - begun

        first = asyncio.create_task(one())
        await asyncio.sleep(0.3)
        second = asyncio.create_task(one())
        ended = [await first, await second]
        assert (0, 0) == (len(patience._ends), len(patience._over))
        return ended

    first, second = asyncio.run(run())
    assert 0.2 <= first < 0.2 + LATE
    assert 0.5 <= second < 0.5 + LATE


def test_who_is_in_time_is_left_alone() -> None:
    """Also later, when the time would have been up; and nobody looks any more when nobody waits."""

    async def run() -> None:
        patience = SharedDeadline(0.05)
        task = _read(_whole, patience)
        assert b"all" == await task
        await asyncio.sleep(0.05 + 3 * TICK)
        assert (None, 0, 0) == (patience._loop, task.cancelling(), len(patience._ends))
        with pytest.raises(TooSlow):
            await _read(_never, patience)

    asyncio.run(run())


def test_another_event_loop_has_a_timer_of_its_own() -> None:
    """One that was left with its timer keeps nobody waiting for ever."""
    patience = SharedDeadline(0.05)

    async def left() -> None:
        patience.end(patience.begin())

    asyncio.run(left())
    with pytest.raises(TooSlow):
        asyncio.run(Body(_never, patience).read(10, _stay()))


def test_a_task_goes_on_after_its_time_was_up() -> None:
    """The request is answered, by the same task, which may wait for other things and be cancelled by others."""

    async def run() -> str:
        patience = SharedDeadline(0.01)

        async def request() -> str:
            with pytest.raises(TooSlow):
                await Body(_never, patience).read(10, _stay())
            await asyncio.sleep(0.01)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(60)
            return "answered"

        return await asyncio.create_task(request())

    assert "answered" == asyncio.run(run())


@pytest.mark.parametrize("seconds", [0.01, 60.0])
def test_cancellation_by_others_stays_one(seconds: float) -> None:
    """It is not taken for the end of the time, not even if both come together."""

    async def run() -> bool:
        patience = SharedDeadline(seconds)
        task = _read(_never, patience)
        await asyncio.sleep(0)
        time.sleep(0.02)
        patience._look(asyncio.get_running_loop())
        assert (seconds < 1) == (task.cancelling() == 1)
        task.cancel()
        await asyncio.wait([task])
        assert (0, 0) == (len(patience._ends), len(patience._over))
        return task.cancelled()

    assert asyncio.run(run())


def test_what_ends_otherwise_is_not_remembered() -> None:
    """A server that answers the end of the wait with an error of its own leaves nothing behind."""

    async def broken() -> dict[str, object]:
        try:
            return await _never()
        except asyncio.CancelledError:
            raise ConnectionError from None

    async def run() -> None:
        patience = SharedDeadline(0.01)
        with pytest.raises(ConnectionError):
            await _read(broken, patience)
        assert (0, 0) == (len(patience._ends), len(patience._over))

    asyncio.run(run())
