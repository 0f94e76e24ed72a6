"""Real processes over real HTTP: what the product promises."""

import json
import signal
from pathlib import Path

import pytest

from inbox.torture.journal import Effect
from tests.acceptance.place import Place, descendants, eventually

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


def runs(place: Place) -> list[Effect]:
    return place.witness.effects("begin")


def test_every_seed_sender_is_accepted_handled_listed_shown_and_replayed(place: Place) -> None:
    """A request that each sender would send goes all the way, and again."""
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


def test_a_wrong_signature_is_401_and_stores_nothing(place: Place, tmp_path: Path) -> None:
    """What does not prove its sender is refused, and the owner is told why."""
    place.configure()
    place.start("serve")
    place.environment["ROOMZ_WEBHOOK_SECRET"] = "another secret"
    answer = place.send("roomz", fate="refused")[0]
    del place.environment["ROOMZ_WEBHOOK_SECRET"]
    assert (401, {"error": "not_authentic"}) == (answer["http_status"], answer["answer"])
    assert [] == place.json("events")
    assert "mismatch" == place.json("refusals", "roomz")[0]["reason"]


def test_a_second_copy_runs_nothing(place: Place) -> None:
    """The same event again is a duplicate: answered 200, counted, not run; also where everything is sealed."""
    place.only_handler("count", COUNTING)
    place.configure()
    place.seal()
    place.start()
    body = json.dumps({"id": "one", "type": "t", "timestamp": "2026-01-01T00:00:00Z", "data": {}}).encode()
    answers = place.send("roomz", 3, body=body)
    assert ["accepted", "duplicate", "duplicate"] == [a["answer"]["status"] for a in answers]
    event = place.until_status(answers[0]["answer"]["id"], "succeeded")
    assert (2, 1) == (event["duplicates"], len(runs(place)))
    place.prove()


def test_killing_the_worker_in_the_middle_of_a_handler_loses_nothing(place: Place) -> None:
    """kill -9 of every worker process while a handler runs: the delivery runs again, counted as a crash."""
    place.only_handler("count", COUNTING)
    place.configure(worker="lease = 1.0")
    (place.folder / "hang").touch()
    place.start()
    number = place.send("roomz")[0]["answer"]["id"]
    eventually(lambda: runs(place), "the handler runs")
    worker = place.children("worker")[-1]
    place.kill(worker, *descendants(worker))
    event = place.until_status(number, "succeeded")
    assert ["crashed", "succeeded"] == [run["result"] for run in event["deliveries"][0]["runs"]]
    assert ([1, 2], 1) == ([run.attempt for run in runs(place)], event["deliveries"][0]["crashes"])
    place.prove()


def test_killing_one_worker_process_is_repaired_by_the_worker(place: Place) -> None:
    """The process that ran the handler is killed; the others go on and the delivery is rescued when its lease ends."""
    place.only_handler("count", COUNTING)
    place.configure(worker="lease = 1.0")
    (place.folder / "hang").touch()
    place.start()
    number = place.send("roomz")[0]["answer"]["id"]
    place.kill(eventually(lambda: runs(place), "the handler runs")[0].pid)
    place.until_status(number, "succeeded")
    place.prove()


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


def test_deleting_the_queue_while_everything_runs_loses_nothing(place: Place) -> None:
    """Receiver and worker notice that the file is gone and meet again in a new one."""
    place.only_handler("count", COUNTING)
    place.configure()
    place.start()
    first = place.send("roomz")[0]["answer"]["id"]
    place.until_status(first, "succeeded")
    for path in place.folder.glob("queue.db*"):
        path.unlink()
    second = place.send("roomz")[0]["answer"]["id"]
    place.until_status(second, "succeeded")
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
    eventually(lambda: runs(place), "the handler runs")
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


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie that nobody waits for does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_receiver_that_dies_is_restarted(place: Place) -> None:
    """The supervisor starts a new receiver, and it answers."""
    place.only_handler("count", COUNTING)
    place.configure()
    place.start()
    place.send("roomz")
    receiver = place.children("receiver")[-1]
    place.kill(*descendants(receiver), receiver)
    eventually(lambda: len(place.children("receiver")) == 2 and place.answers(), "a new receiver answers")
    assert 200 == place.send("roomz")[0]["http_status"]
    assert "event=child.died child=receiver" in place.log_text()
    place.prove()
