"""Real processes over real HTTP: what the product promises."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox.tools.torture.journal import Effect
from tests.support.place import Place, alive, descendants, eventually

SEED_SENDERS = ("roomz", "roomle", "breakcold", "breakcold-v2", "lemlist", "rootfi", "romify")

COUNTING = """
import time
from pathlib import Path
from inbox import Event, handles
from ._noted import noted

@handles("roomz", backoff=0.2)
@noted
def count(event: Event) -> dict:
    if Path("hang").exists() and event.attempt == 1:
        time.sleep(60)
    return {"attempt": event.attempt}
"""


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A sealed inbox that runs while one thing after the other happens to it; `hang` has first attempts hang."""
    place = Place(tmp_path_factory.mktemp("counting"))
    place.only_handler("count", COUNTING)
    place.configure(worker="lease = 1.0")
    place.seal()
    place.start()
    yield place
    place.close()


def runs(place: Place, event: int) -> list[Effect]:
    """Return the handler's runs for an event."""
    key = place.event(event)["key"]
    return [effect for effect in place.witness.effects("begin") if effect.key == key]


def hanging(place: Place) -> int:
    """Send an event whose first attempt hangs, and return its id when it does."""
    (place.folder / "hang").touch()
    number: int = place.send("roomz")[0]["answer"]["id"]
    eventually(lambda: runs(place, number), "the handler runs")
    (place.folder / "hang").unlink()
    return number


def test_every_seed_sender_is_accepted_handled_listed_shown_and_replayed(place: Place) -> None:
    """A request that each sender would send goes all the way, and again; one with a wrong signature is 401, not stored.

    The owner is told why.
    """
    place.configure()
    place.start()
    sent = {source: place.send(source)[0] for source in SEED_SENDERS}
    assert dict.fromkeys(SEED_SENDERS, (200, "accepted")) == {
        source: (answer["http_status"], answer["answer"]["status"]) for source, answer in sent.items()
    }
    numbers = {answer["answer"]["id"]: source for source, answer in sent.items()}
    for number, source in numbers.items():
        event = place.until_status(number, "succeeded")
        assert (source, 1) == (event["source"], len(event["deliveries"]))
    assert numbers == {row["id"]: row["source"] for row in place.json("events")}
    place.inbox("replay", *map(str, numbers), "--yes", "--why", "acceptance")
    for number, source in numbers.items():
        eventually(
            lambda number=number: ["succeeded"] * 2 == [d["status"] for d in place.event(number)["deliveries"]],
            f"{source} is replayed",
        )
    assert ["acceptance"] == [row["why"] for row in place.json("replays")]
    place.environment["ROOMZ_WEBHOOK_SECRET"] = "another secret"
    answer = place.send("roomz", fate="refused")[0]
    assert (401, {"error": "not_authentic"}) == (answer["http_status"], answer["answer"])
    assert len(numbers) == len(place.json("events"))
    assert "mismatch" == place.json("refusals", "roomz")[0]["reason"]


def test_a_second_copy_runs_nothing(counting: Place) -> None:
    """The same event again is a duplicate: answered 200, counted, not run; also where everything is sealed."""
    body = json.dumps({"id": "one", "type": "t", "timestamp": "2026-01-01T00:00:00Z", "data": {}}).encode()
    answers = counting.send("roomz", 3, body=body)
    assert ["accepted", "duplicate", "duplicate"] == [a["answer"]["status"] for a in answers]
    number = answers[0]["answer"]["id"]
    assert (2, 1) == (counting.until_status(number, "succeeded")["duplicates"], len(runs(counting, number)))


def test_killing_the_worker_in_the_middle_of_a_handler_loses_nothing(counting: Place) -> None:
    """kill -9 of every worker process while a handler runs: the delivery runs again, counted as a crash."""
    number = hanging(counting)
    worker = counting.children("worker")[-1]
    counting.kill(worker, *descendants(worker))
    (delivery,) = counting.until_status(number, "succeeded")["deliveries"]
    assert ["crashed", "succeeded"] == [run["result"] for run in delivery["runs"]]
    assert ([1, 2], 1) == ([run.attempt for run in runs(counting, number)], delivery["crashes"])


def test_killing_one_worker_process_is_repaired_by_the_worker(counting: Place) -> None:
    """The process that ran the handler is killed; the others go on and the delivery is rescued when its lease ends."""
    number, before = hanging(counting), counting.children("worker")
    counting.kill(runs(counting, number)[0].pid)
    counting.until_status(number, "succeeded")
    assert before == counting.children("worker")


def test_deleting_the_queue_while_everything_runs_loses_nothing(counting: Place) -> None:
    """Receiver and worker notice that the file is gone and meet again in a new one."""
    for path in counting.folder.glob("queue.db*"):
        path.unlink()
    counting.until_status(counting.send("roomz")[0]["answer"]["id"], "succeeded")


def test_a_receiver_that_dies_is_restarted(counting: Place) -> None:
    """The supervisor starts a new receiver, and it answers."""
    before = counting.children("receiver")
    counting.kill(*descendants(before[-1]), before[-1])
    eventually(lambda: len(counting.children("receiver")) > len(before) and counting.answers(), "a new one answers")
    assert 200 == counting.send("roomz")[0]["http_status"]
    assert "event=child.died child=receiver" in counting.log_text()


def test_checker_finds_nothing_in_what_went_through_all_of_this(counting: Place) -> None:
    """Each event that was acknowledged was run, none for no reason, and nothing is left."""
    counting.prove()


def test_deleting_the_queue_loses_nothing(place: Place) -> None:
    """Events whose wake-up is gone with the queue's file are found by the sweep at start."""
    place.only_handler("count", COUNTING)
    place.configure()
    place.start("serve")
    sent = [answer["answer"]["id"] for answer in place.send("roomz", 5)]
    place.stop()
    for path in place.folder.glob("queue.db*"):
        path.unlink()
    place.start()
    for number in sent:
        place.until_status(number, "succeeded")
    place.prove()


def test_a_broken_handler_file_does_not_stop_receiving_or_its_siblings(place: Place) -> None:
    """One file that does not import: events are accepted, the other handlers run, and the owner is told."""
    place.only_handler("count", COUNTING)
    place.handler("broken", "raise RuntimeError('not today')")
    place.configure()
    place.start()
    place.until_status(place.send("roomz")[0]["answer"]["id"], "succeeded")
    checked = place.inbox("check", ok=False)
    assert (1, True) == (checked.returncode, "not today" in checked.stderr)
    assert "failed" in [row["state"] for row in place.json("handlers")]
    assert "handlers.failed module=broken" in place.log_text()
    place.prove()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_stopping_is_clean(place: Place, signum: int) -> None:
    """SIGTERM and Ctrl-C end every process with exit code 0, and a handler that runs may finish."""
    place.only_handler("count", COUNTING.replace("time.sleep(60)", "time.sleep(1)"))
    (place.folder / "hang").touch()
    place.configure()
    place.start()
    number = place.send("roomz")[0]["answer"]["id"]
    eventually(lambda: runs(place, number), "the handler runs")
    everything = descendants(place.pid)
    assert 0 == place.stop(signum)
    assert [] == [pid for pid in everything if Path(f"/proc/{pid}").exists()]
    assert "succeeded" == place.event(number)["status"]
    place.prove()


def test_nothing_keeps_running_when_the_supervisor_is_killed(place: Place) -> None:
    """kill -9 of `inbox run`: receiver and worker notice and end by themselves."""
    place.only_handler("count", COUNTING)
    place.configure()
    place.start()
    place.send("roomz")
    eventually(lambda: len(descendants(place.pid)) >= 5, "receiver and worker have their processes")
    everything = descendants(place.pid)
    place.stop(signal.SIGKILL)
    eventually(lambda: not [pid for pid in everything if alive(pid)], "every process ends")
    place.prove()
