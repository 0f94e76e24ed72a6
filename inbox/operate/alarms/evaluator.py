"""Once a minute: reads the counts, applies the conditions, keeps what changed, and tells people.

Runs in every process of ours, and one of them gets each turn: the worker first, the receiver when no worker takes it,
so that a dead worker is told, too. What could not be sent is sent later; the store knows what is still to be told.
"""

import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from inbox.core.config.alarm_settings import AlarmSettings
from inbox.operate.alarms.channels import NotSent, Send, ways
from inbox.operate.alarms.conditions import DEAD_WINDOW, OUTCOMES, WINDOW, Numbers, readings
from inbox.operate.alarms.hysteresis import step
from inbox.operate.alarms.message import message
from inbox.operate.alarms.silence import HOUR, WEEK, WEEKS, Heard
from inbox.store.protocols_alarms import AlarmBook, AlarmNotice, Change
from inbox.store.protocols_monitor import Looked, Watch

log = structlog.get_logger("inbox.operate.alarms")

EVERY = 60.0
LATER = 75.0
"""Seconds after the last turn at which a worker, and at which a receiver, takes the next."""

ASK = 10.0
"""Seconds between two questions whose turn it is."""

AT_ONCE = 20
"""Messages per turn."""

LONGEST_PAUSE = 3600.0
GIVE_UP = 78
"""Tries, after which three days have passed: the pauses double from a minute to an hour."""


class AlarmEvaluator:
    """Looks after one inbox. `stores` opens the store when it is first needed, which may be after a fork."""

    def __init__(
        self,
        settings: AlarmSettings,
        stores: Callable[[], tuple[Watch, AlarmBook]],
        deadlines: Mapping[str, float],
        folder: Path,
        *,
        clock: Callable[[], float],
        steady: Callable[[], float],
        min_free_bytes: int = 0,
        max_store_bytes: int = 0,
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._deadlines = deadlines
        self._place = f"{socket.gethostname()}:{folder}"
        self._clock = clock
        self._steady = steady
        self._min_free_bytes = min_free_bytes
        self._max_store_bytes = max_store_bytes
        self._ways: Mapping[str, Send] = ways(settings)
        self._asked = float("-inf")
        self._history: tuple[int, dict[str, dict[int, int]]] = (-1, {})

    def minutely(self, every: float = EVERY) -> bool:
        """Do a turn if it is the caller's: may be called as often as one likes. Returns whether it was."""
        steady = self._steady()
        if abs(steady - self._asked) < ASK:
            return False
        self._asked = steady
        if not self._stores()[0].turn(steady, every):
            return False
        self.evaluate()
        self.tell()
        return True

    def evaluate(self) -> None:
        """Apply the conditions and keep what changed, with the messages that are to be sent."""
        watch, book = self._stores()
        now = self._clock()
        found = step(book.states(), readings(self._numbers(watch, now), self._settings), now)
        book.record(found.states, found.gone, found.changes, tuple(self._ways))
        for change in found.changes:
            log.warning(f"alarm.{change.what}", alarm=change.alarm, subject=change.subject, text=change.text)

    def tell(self) -> None:
        """Send what is due. What fails is tried again, more and more slowly, for three days."""
        _, book = self._stores()
        for notice in book.take_notices(self._clock(), AT_ONCE):
            self._tell(book, notice)

    def test(self) -> dict[str, str]:
        """Send a test message by every configured way at once, and return what went wrong, "" where nothing did."""
        now = self._clock()
        test = message(Change("test", "", "test", "This inbox can tell you when something is wrong.", now), self._place)
        found = {}
        for way, send in self._ways.items():
            try:
                send(test, now)
                found[way] = ""
            except NotSent as error:
                found[way] = str(error)
        return found

    def _tell(self, book: AlarmBook, notice: AlarmNotice) -> None:
        now, change = self._clock(), notice.change
        try:
            if notice.way not in self._ways:
                book.told(notice.id, now, error="this way is not configured any more")
                return
            self._ways[notice.way](message(change, self._place), now)
        except NotSent as error:
            again_at = now + min(60.0 * 2.0 ** min(notice.attempt - 1, 6), LONGEST_PAUSE)
            given_up = notice.attempt >= GIVE_UP
            then = "given up" if given_up else "trying again"
            log.error("alarm.not_sent", alarm=change.alarm, way=notice.way, error=str(error), then=then)
            book.told(notice.id, now, error=str(error), again_at=None if given_up else again_at)
            return
        book.told(notice.id, now)

    def _numbers(self, watch: Watch, now: float) -> Numbers:
        looked = watch.look(now, self._steady())
        return Numbers(
            at=now,
            recent=watch.recent(now - WINDOW),
            hour=watch.recent(now - DEAD_WINDOW),
            looked=looked,
            heard=self._heard(watch, looked, now),
            deadlines=self._deadlines,
            min_free_bytes=self._min_free_bytes,
            max_store_bytes=self._max_store_bytes,
        )

    def _heard(self, watch: Watch, looked: Looked, now: float) -> dict[str, Heard | None]:
        """Return what is known of each source; None while no receiver is alive that could hear it."""
        receiver = looked.processes.get("receiver")
        if receiver is None or looked.gone("receiver", self._settings.process_gone):
            return dict.fromkeys(self._deadlines)
        history, last = self._hours(watch, now), watch.last(OUTCOMES, now - 3 * HOUR)
        return {
            source: Heard(hours, _last(hours, last.get(source)), receiver.since)
            for source in self._deadlines
            for hours in [history.get(source, {})]
        }

    def _hours(self, watch: Watch, now: float) -> dict[str, dict[int, int]]:
        """Return the events by source and hour; read once an hour, as what is older than three does not change."""
        hour = int(now // HOUR)
        if self._history[0] != hour:
            self._history = hour, watch.hours(OUTCOMES, now - (WEEKS + 1) * WEEK)
        return self._history[1]


def _last(hours: Mapping[int, int], minute: float | None) -> float | None:
    """Return until when the last event may have come: the end of its minute, or of its hour if that is long ago."""
    if minute is not None:
        return minute + 60.0
    return float(max(hours)) + HOUR if hours else None
