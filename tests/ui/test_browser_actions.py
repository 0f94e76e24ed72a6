"""Acting on many events at once in a real Chromium: a whole filter, some by their boxes; stop, ignore, cancel."""

from collections.abc import Iterator

import pytest

from tests.support.browser import Browser
from tests.support.place import eventually
from tests.ui.scene import order, post, scene

MANY = 60

HANDLER = """
from inbox import Retry, handles

@handles("shop", "order.*")
def book(event):
    return {"booked": event.payload["id"]}

@handles("shop", "refund.*")
def refund(event):
    raise Retry("the bank is closed", after=600)
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The pages of an inbox with more events than a page of the list has."""
    with scene(tmp_path_factory.mktemp("place"), HANDLER) as made:
        for number in range(MANY):
            order(made.place, f"o-{number}")
        made.place.until_status(MANY, "succeeded")
        yield made


def ended(browser: Browser, state: str = "done") -> str:
    """Wait on the page of an action until it has ended, and return what it says."""
    eventually(lambda: "/inbox/actions/" in browser.driver.current_url, "the page of the action")
    eventually(lambda: browser.text("#progress .pill") == state, f"it is {state}")
    return browser.text("#progress")


def test_a_whole_filter_is_replayed_after_a_look_at_its_size(browser: Browser) -> None:
    """All that it finds, not only this page: counted, confirmed, with a reason, and seen to go on until it is done."""
    browser.open("/inbox/events?source=shop&type=order.*")
    assert f"{MANY} events found" in browser.text()
    browser.find("[name=all]").click()
    browser.press("Replay chosen …")
    browser.sees(f"Replay {MANY} events?")
    late = order(browser.place, "came-meanwhile")
    browser.fill("why", "the ledger was restored")
    browser.press(f"Replay {MANY} events")
    said = ended(browser)
    assert f"{MANY} of {MANY} events replayed" in said
    assert "the ledger was restored" in said
    assert "type = order.*" in said
    assert 1 == len(browser.place.event(late)["deliveries"])
    browser.place.until_status(1, "succeeded")


def test_some_are_chosen_by_their_boxes(browser: Browser) -> None:
    """Two boxes are two events; the box of all ticks each of this page, and the number is told."""
    browser.open("/inbox/events?type=order.*")
    boxes = browser.all("[name=id]")
    assert 50 == len(boxes)
    chosen = [box.get_attribute("value") for box in boxes[1:3]]
    for box in boxes[1:3]:
        box.click()
    assert "2 selected" == browser.text("[data-chosen]")
    browser.press("Replay chosen …")
    browser.sees("Replay 2 events?")
    assert f"Events {chosen[0]}, {chosen[1]}" in browser.text()
    browser.press("Back")
    browser.find("[data-all]").click()
    assert "50 selected" == browser.text("[data-chosen]")
    browser.find("[data-all]").click()
    assert ("", 0) == (browser.text("[data-chosen]"), len(browser.all("[name=id]:checked")))
    browser.find("[data-all]").click()
    browser.press("Replay chosen …")
    browser.press("Replay 50 events")
    assert "50 of 50 events replayed" in ended(browser)


def test_none_chosen_is_said(browser: Browser) -> None:
    """Nothing chosen is no error of the inbox: the page says what to choose."""
    browser.open("/inbox/events")
    browser.press("Replay chosen …")
    browser.sees("Choose 1 to 5000 events, or all that a filter finds.")


def test_quarantined_ones_are_ignored(browser: Browser) -> None:
    """They are marked as seen and leave the list of what is quarantined."""
    numbers = [post(browser.place, "/in/shop", f"no json {number}".encode())["id"] for number in range(3)]
    browser.open("/inbox/events?status=quarantined")
    browser.find("[data-all]").click()
    browser.press("Ignore chosen …")
    browser.sees("Ignore 3 events?")
    browser.fill("why", "a test of the sender")
    browser.press("Ignore 3 events")
    assert "3 of 3 events ignored" in ended(browser)
    assert ["ignored"] * 3 == [browser.place.event(number)["status"] for number in numbers]
    browser.open("/inbox/events?status=quarantined")
    assert "No event is like that" in browser.text()


def test_what_waits_is_cancelled(browser: Browser) -> None:
    """A delivery that waits for its next attempt is ended, and the event says by whom and why."""
    told = post(browser.place, "/in/shop", {"id": "r-1", "type": "refund.asked"})
    browser.open(f"/inbox/events/{told['id']}")
    browser.sees("the bank is closed")
    browser.fill("why", "paid by hand")
    browser.press("Cancel what waits")
    assert "1 of 1 event cancelled" in ended(browser)
    browser.press(str(told["id"]))
    browser.sees("cancelled")
    assert "Cancel what waits" not in browser.text()


def test_a_replay_is_stopped_where_it_is(browser: Browser) -> None:
    """What is done stays done, the rest is left alone, and the page says how far it came."""
    begin = (
        "replay",
        "--source",
        "shop",
        "--type",
        "order.*",
        "--rate",
        "5",
        "--why",
        "slowly",
        "--background",
        "--yes",
    )
    browser.place.inbox(*begin)
    browser.open("/inbox/actions")
    assert "slowly" in browser.text("#actions tbody tr")
    browser.click("#actions tbody tr a")
    eventually(lambda: browser.all("#progress .danger"), "it can be stopped")
    eventually(lambda: not browser.text("#progress label").startswith("0 of"), "it goes on, live")
    browser.click("#progress .danger")
    done, of, *_ = ended(browser, "stopped").splitlines()[2].split()[::2]
    assert 0 < int(done) < int(of)
    assert MANY <= int(of)
    assert not browser.all("#progress button")
