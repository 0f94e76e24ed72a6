"""Real processes: ready, scraped, killed, and the numbers are still what is stored; the alarms are looked at."""

import http.client
import os
import signal
import subprocess

from tests.operate.test_metrics import Samples, parsed, value
from tests.support.needs import program
from tests.support.place import Place, eventually

HANDLER = """
import time
from inbox import handles

@handles("roomz")
def slow(event):
    time.sleep(0.2)
"""


def get(place: Place, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def scraped(place: Place) -> Samples:
    status, text = eventually(lambda: (found := get(place, "/metrics"))[0] and found, "an answer")
    assert 200 == status
    return parsed(text)


def ready(place: Place) -> bool:
    return get(place, "/readyz")[0] == 200


def test_numbers_are_right_after_everything_was_killed(place: Place) -> None:
    """Accepted, refused, handled: what /metrics says after kill -9 of receiver and worker is what the store holds."""
    place.configure('metrics = "loopback"', "processes = 2\nlease = 2.0")
    place.only_handler("own", HANDLER)
    place.start()
    eventually(lambda: ready(place), "ready")
    place.send("roomz", 6)
    for name in ("receiver", "worker"):
        os.kill(place.children(f"child={name}")[-1], signal.SIGKILL)
    eventually(lambda: place.log_text().count("child.started") >= 4 and ready(place), "ready again")
    place.send("roomz", 4)
    place.environment["ROOMZ_WEBHOOK_SECRET"] = "wrong"
    place.inbox("send", "roomz", ok=False)
    del place.environment["ROOMZ_WEBHOOK_SECRET"]
    events = [place.until_status(number, "succeeded") for number in range(1, 11)]
    samples = scraped(place)
    runs = [run for event in events for delivery in event["deliveries"] for run in delivery["runs"]]
    crashed = sum(run["result"] in ("crashed", "lost") for run in runs)
    assert (10, 1, 10, crashed) == (
        value(samples, "inbox_events_total", source="roomz", outcome="accepted"),
        value(samples, "inbox_refusals_total", source="roomz", code="not_authentic", reason="mismatch"),
        value(samples, "inbox_deliveries_ended_total", handler="own.slow", status="succeeded"),
        value(samples, "inbox_rescues_total", handler="own.slow"),
    )
    done = subprocess.run(
        [program("promtool", "prometheus"), "check", "metrics"], input=get(place, "/metrics")[1], capture_output=True
    )
    assert (0, b"") == (done.returncode, done.stdout)
    watched = {(row["alarm"], row["subject"]): row["state"] for row in place.json("alarms")}
    assert ("off", "off") == (watched["silence", "roomz"], watched["process", "receiver"])
    answered = value(samples, "inbox_answer_duration_seconds_count", source="roomz")
    place.stop()
    place.start()
    eventually(lambda: ready(place), "ready once more")
    last = scraped(place)
    assert 10 == value(last, "inbox_events_total", source="roomz", outcome="accepted")
    assert answered <= value(last, "inbox_answer_duration_seconds_count", source="roomz") <= 11
