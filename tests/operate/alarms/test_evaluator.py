"""The watchman: from counts in the store to one message per start and end, over restarts, failures and dead workers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox.core.config.alarm_settings import AlarmSettings
from inbox.core.elapsed import Clocks
from inbox.core.histograms import Recorder
from inbox.core.models import Secret
from inbox.operate.alarms.evaluator import EVERY, LATER, AlarmEvaluator
from inbox.operate.alarms.silence import HOUR, WEEK
from inbox.store.protocols_alarms import Change
from tests.operate.alarms.test_channels import SECRET, Hook, hook  # noqa: F401 – the fixture is used by name
from tests.operate.alarms.test_silence import FRIDAY_EVENING, MONDAY, history, office
from tests.support.stores import SqliteStore


class Scene:
    """A store, its clock, and watchmen as processes have them."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore(folder)
        self.now = MONDAY

    def watchman(self, **settings: Any) -> AlarmEvaluator:
        return AlarmEvaluator(
            AlarmSettings(**settings),
            lambda: (self.store.watch, self.store.alarms),
            {"roomz": 30.0},
            self.store.folder,
            clock=lambda: self.now,
            steady=lambda: self.now,
        )

    def minutes(
        self, watchman: AlarmEvaluator, number: int, *, alive: tuple[Any, ...] = ("worker", "receiver")
    ) -> None:
        """Let minutes pass, in which these processes give signs of life."""
        for _ in range(number):
            self.now += 60
            for role in alive:
                self.store.watch.beat(role, self.now, self.now)
            assert watchman.minutely()

    def told(self) -> list[tuple[str, str, str]]:
        """Return what was started and ended, oldest first."""
        return [(row["alarm"], row["subject"], row["what"]) for row in reversed(self.store.alarms.changes(99))]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.store.close()


def test_quiet_inbox_tells_nothing(scene: Scene) -> None:
    """An hour in which everything is as it should be: watched, and not a word."""
    watchman = scene.watchman()
    scene.store.watch.beat("worker", scene.now, scene.now)
    for _ in range(60):
        scene.store.watch.add({("roomz", "accepted"): 10, ("", "refused:unknown_source:unknown_source"): 99}, scene.now)
        scene.minutes(watchman, 1)
    watched = {(state.alarm, state.subject) for state in scene.store.alarms.states()}
    assert ([], True) == (scene.told(), {("silence", "roomz"), ("process", "worker"), ("disk", "")} <= watched)


def test_refusals_start_and_end_once_over_restarts(scene: Scene, hook: Hook, logs: list[Any]) -> None:  # noqa: F811
    """One message at the start and one at the end, though the program is restarted each minute."""
    options = {"webhook": hook.settings().webhook, "webhook_secret": SECRET}
    for minute in range(60):
        counts = {("roomz", "refused:not_authentic:mismatch"): 5} if minute < 20 else {("roomz", "accepted"): 5}
        scene.store.watch.add(counts, scene.now)
        scene.minutes(scene.watchman(**options), 1)
        scene.store.close()
    assert [("refusals", "roomz", "start"), ("refusals", "roomz", "end")] == scene.told()
    assert ["inbox.alarm.start", "inbox.alarm.end"] == [
        request.body.decode().split('"')[3] for request in hook.requests
    ]
    assert ["alarm.start", "alarm.end"] == [entry["event"] for entry in logs]


def test_office_source_is_missed_on_monday_and_not_at_night(scene: Scene) -> None:
    """From the counts as they are stored and rolled up, after eight weeks of history."""
    for hour, number in history(office, MONDAY + FRIDAY_EVENING).items():
        scene.store.watch.add({("roomz", "accepted"): number}, hour)
    scene.store.watch.roll(scene.now)
    watchman = scene.watchman()
    found = {}
    for hour in (-20, -1, 3, 7, 10):
        scene.now = MONDAY + hour * HOUR
        _listen(scene, since=MONDAY - WEEK)
        for _ in range(2):
            scene.minutes(watchman, 1, alive=("worker",))
        found[hour] = [state.on for state in scene.store.alarms.states() if state.alarm == "silence"]
    assert {-20: [False], -1: [False], 3: [False], 7: [False], 10: [True]} == found
    assert ("silence", "roomz", "start") in scene.told()


def _listen(scene: Scene, *, since: float) -> None:
    """Have a receiver that has been listening since then."""
    connection = scene.store.watch._connection  # type: ignore[attr-defined]
    with connection.write() as raw:
        raw.execute("DELETE FROM processes WHERE role = 'receiver'")
        raw.execute("INSERT INTO processes VALUES ('receiver', ?, ?, ?)", (since, scene.now + 60, scene.now + 60))


def test_dead_worker_is_told_by_the_receiver(scene: Scene) -> None:
    """The worker's turn comes first; when it takes none, the receiver does, and when it is back, it ends."""
    worker, receiver = scene.watchman(), scene.watchman()
    for _ in range(3):
        scene.now += 60
        for role in ("worker", "receiver"):
            scene.store.watch.beat(role, scene.now, scene.now)  # type: ignore[arg-type]
        assert [True, False] == [worker.minutely(EVERY), receiver.minutely(LATER)]
    for _ in range(4):
        scene.now += LATER
        scene.store.watch.beat("receiver", scene.now, scene.now)
        assert receiver.minutely(LATER)
    assert [("process", "worker", "start")] == scene.told()
    scene.minutes(worker, 3)
    assert ("process", "worker", "end") == scene.told()[-1]


def test_message_that_fails_is_sent_later_and_seen(scene: Scene, hook: Hook, logs: list[Any]) -> None:  # noqa: F811
    """Tried again more and more slowly; the error is in the history until it got through, then it is not sent again."""
    hook.status = 500
    watchman = scene.watchman(webhook=hook.settings().webhook, webhook_secret=SECRET)
    scene.store.watch.beat("receiver", scene.now, scene.now)
    scene.minutes(watchman, 2, alive=("receiver",))
    (change,) = scene.store.alarms.changes(9)
    assert ("waiting", 1, "127.0.0.1 answered 500") == tuple(
        change["told"][0][key] for key in ("state", "attempts", "error")
    )
    assert "alarm.not_sent" in [entry["event"] for entry in logs]
    scene.minutes(watchman, 10, alive=("receiver",))
    assert 4 == len(hook.requests)  # after 0, 1, 3 and 7 minutes
    hook.status = 200
    scene.minutes(watchman, 20, alive=("receiver",))
    told = next(row["told"][0] for row in scene.store.alarms.changes(9) if row["id"] == change["id"])
    assert ("sent", 5, "") == (told["state"], told["attempts"], told["error"])
    assert 1 == len({request.header("webhook-id") for request in hook.requests if b"worker" in request.body})


def test_message_is_given_up_after_three_days(scene: Scene, hook: Hook) -> None:  # noqa: F811
    """It stays in the history as failed."""
    hook.status = 500
    watchman = scene.watchman(webhook=hook.settings().webhook, webhook_secret=SECRET)
    scene.minutes(watchman, 2, alive=("receiver",))
    for _ in range(80):
        scene.now += 3600
        watchman.tell()
    (told,) = scene.store.alarms.changes(1)[0]["told"]
    requests = len(hook.requests)
    scene.now += WEEK
    watchman.tell()
    assert ("failed", requests, True) == (told["state"], len(hook.requests), 70 < requests < 85)


def test_way_that_is_not_configured_any_more_is_not_waited_for(scene: Scene) -> None:
    """Its notices are failed, with the reason."""
    scene.minutes(scene.watchman(command=("/no/such/program",)), 2, alive=("receiver",))
    scene.minutes(scene.watchman(), 3, alive=("receiver",))
    (told,) = scene.store.alarms.changes(1)[0]["told"]
    assert ("failed", "this way is not configured any more") == (told["state"], told["error"])


def test_slow_answers_and_dead_deliveries_are_told(scene: Scene) -> None:
    """From the histograms and counts that receivers and workers wrote."""
    timings = Recorder()
    for _ in range(20):
        timings.observe("answer", "roomz", 20.0)
    scene.store.watch.beat("worker", scene.now, scene.now)
    scene.store.watch.add({**timings.take(), ("m.f", "ended:dead"): 3}, scene.now)
    watchman = scene.watchman()
    scene.minutes(watchman, 2)
    assert {("answers", "roomz", "start"), ("dead", "m.f", "start")} == set(scene.told())
    texts = {row["alarm"]: row["text"] for row in scene.store.alarms.changes(9)}
    assert "20 of 20 answers in 15 minutes took more than 15 s; the sender waits 30 s" == texts["answers"]
    assert texts["dead"].startswith("3 deliveries gave up in the last hour")
    scene.minutes(watchman, 65)
    assert 4 == len(scene.told())


def test_test_message_goes_every_way(scene: Scene, hook: Hook) -> None:  # noqa: F811
    """What works and what does not is said for each; nothing is recorded."""
    found = scene.watchman(webhook=hook.settings().webhook, webhook_secret=SECRET, command=("/no/such/program",)).test()
    assert {"webhook": "", "command": "/no/such/program cannot be run: No such file or directory"} == found
    assert ([], True) == (scene.told(), b"inbox.alarm.test" in hook.requests[0].body)


def test_settings_hide_their_secrets() -> None:
    """In a repr, and so in every log and traceback."""
    settings = AlarmSettings(smtp_password=Secret(b"hunter2"), webhook_secret=Secret(b"whsec_hunter2"))
    assert "hunter2" not in repr(settings)


def test_a_clock_that_jumps_for_a_minute_is_told_once(scene: Scene) -> None:
    """With what it means and what to do; the end an hour later, and it does not matter how the alarms see the time."""
    watchman = scene.watchman()
    for minute in range(80):
        wrong = 40 * 86_400.0 if minute == 5 else 0.0
        clocks = Clocks(scene.now + wrong, scene.now, "boot")
        scene.store.timekeeping.look(lambda clocks=clocks: clocks)  # type: ignore[misc]
        scene.minutes(watchman, 1)
    assert [("clock", "", "start"), ("clock", "", "end")] == scene.told()
    texts = [row["text"] for row in reversed(scene.store.alarms.changes(9))]
    assert "the clock jumped ahead by 40 d 0 h and is right again; nothing was deleted for it" == texts[0]


def test_a_clock_in_doubt_says_what_to_do(scene: Scene) -> None:
    """As long as it is, and until an hour of steps with the steady clock is over."""
    watchman = scene.watchman()
    for minute in range(80):
        clocks = Clocks(scene.now - (40 * 86_400.0 if minute >= 5 else 0.0), scene.now, "boot")
        scene.store.timekeeping.look(lambda clocks=clocks: clocks)  # type: ignore[misc]
        scene.minutes(watchman, 1)
    assert [("clock", "", "start"), ("clock", "", "end")] == scene.told()
    (start,) = [row["text"] for row in scene.store.alarms.changes(9) if row["what"] == "start"]
    assert start.startswith(
        "the clock jumped back by 40 d 0 h; nothing is deleted for its age now; set the clock right"
    )
    assert "`inbox clock`" in start


@pytest.mark.parametrize("jump", [40 * 86_400.0, -40 * 86_400.0])
def test_a_message_is_neither_given_up_nor_put_off_because_the_clock_was_set(
    scene: Scene,
    hook: Hook,  # noqa: F811
    jump: float,
) -> None:
    """It is sent when the way works again, whatever the clock says then."""
    hook.status = 500
    watchman = scene.watchman(webhook=hook.settings().webhook, webhook_secret=SECRET)
    change = Change("backlog", "", "start", "work waits", scene.now)
    scene.store.alarms.record([], [], [change], ["webhook"])
    watchman.tell()
    scene.now += jump
    watchman.tell()
    scene.now += 130
    watchman.tell()
    scene.now -= jump
    hook.status = 204
    for _ in range(10):
        scene.now += 300
        watchman.tell()
    assert ["sent"] == [told["state"] for row in scene.store.alarms.changes(9) for told in row["told"]]
