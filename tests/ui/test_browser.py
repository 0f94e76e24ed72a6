"""An owner at three in the morning, in a real Chromium: what failed, why, run it again; pause; watch it live."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from tests.support.browser import Browser
from tests.support.place import eventually
from tests.ui.conftest import PASSWORD
from tests.ui.scene import order, post, scene

GATED = """
import time
from pathlib import Path

from inbox import handles

@handles("shop", "order.*", attempts=1)
def book(event):
    while not Path({gate!r}).exists():
        time.sleep(0.02)
    if event.payload.get("amount", 0) > 990:
        raise ValueError(f"no account for {{event.payload['amount']}}")
    return {{"booked": event.payload["id"]}}
"""


ASKED = "performance.getEntriesByType('resource').filter((one) => one.initiatorType === 'fetch').length"
LATER = f"const done = arguments[0]; setTimeout(() => done({ASKED}), 20000)"
"""How often the page asked, told after as long as it waits five times."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The pages of an inbox, seen by its owner."""
    with scene(tmp_path_factory.mktemp("place")) as made:
        yield made


def same_page(browser: Browser) -> bool:
    """Mark the page, or tell that it is still the one that was marked: not loaded again."""
    return bool(browser.driver.execute_script("const was = window.marked; window.marked = true; return was"))


def test_an_owner_sees_why_it_failed_and_runs_it_again(browser: Browser, tmp_path: Path) -> None:
    """Found by a word in it, its traceback read, the handler corrected, replayed, and seen to succeed, live."""
    place, gate = browser.place, tmp_path / "gate"
    number = order(place, "o-1", amount=950, customer="Anna Schmidt")
    browser.press("Log out")
    eventually(lambda: browser.all("[name=password]"), "the login")
    browser.open("/inbox/events")
    browser.fill("password", "not the password")
    browser.press("Log in")
    browser.sees("User or password are wrong.")
    assert ["403"] == [line.rpartition(" of ")[2][:3] for line in browser.complaints()]
    browser.fill("password", PASSWORD)
    browser.press("Log in")
    eventually(lambda: browser.driver.current_url.endswith("/inbox/events"), "the page that was asked for")
    browser.fill("text", "schmidt")
    eventually(lambda: browser.press("Find") or "1 event found" in browser.text(), "it is found")
    browser.press(str(number))
    browser.sees("ValueError: no account for 950")
    assert "handlers/shop.py" in browser.text("#timeline pre")
    place.handler("shop", GATED.format(gate=str(gate)))
    place.inbox("reload")
    browser.fill("why", "the account is there now")
    browser.press("Replay")
    browser.sees("Replay 1")
    same_page(browser)
    browser.sees("1 of 1 event replayed")
    eventually(lambda: browser.text("#progress .pill") == "done", "the action is done")
    assert same_page(browser)
    browser.press(str(number))
    same_page(browser)
    eventually(lambda: browser.text("#state .pill") == "processing", "it runs")
    gate.touch()
    eventually(lambda: browser.text("#state .pill") == "succeeded", "it succeeds")
    browser.sees('"booked": "o-1"')
    assert same_page(browser)
    browser.press("Actions")
    row = browser.text("#actions tbody tr")
    assert [] == [words for words in ("Replay 1", "admin", "the account is there now", "1 of 1") if words not in row]
    assert [] == browser.complaints()


@pytest.mark.parametrize(("kind", "name"), [("handler", "shop.book"), ("source", "shop")])
def test_what_is_paused_waits_in_sight_and_goes_on(browser: Browser, kind: str, name: str) -> None:
    """While a handler or a source is paused, its events are accepted and wait, and say why; then they succeed."""
    browser.open("/inbox/handlers")
    button = browser.find(f"[aria-label='Pause {name}']")
    form = button.find_element(By.XPATH, "./ancestor::details")
    form.find_element(By.TAG_NAME, "summary").click()
    form.find_element(By.NAME, "why").send_keys("the bank is closed")
    button.click()
    browser.sees(f"The {kind} {name} is paused: events are accepted and wait.")
    told = post(browser.place, "/in/shop", {"id": f"wait-{kind}", "type": "order.paid"})
    assert "accepted" == told["status"]
    browser.open(f"/inbox/events/{told['id']}")
    browser.sees(f"The {kind} {name} is paused since")
    assert "the bank is closed" in browser.text("#state")
    eventually(lambda: browser.text("#state .pill") == "processing", "it is routed")
    browser.open("/inbox/handlers")

    def counted() -> bool:
        browser.driver.refresh()
        return "1 delivery set aside" in browser.text()

    eventually(counted, "the page says that it waits")
    if kind == "source":
        browser.open()
        assert "paused" in browser.text("#now .card:has([href$='source=shop']) .pill")
        browser.open("/inbox/handlers")
    browser.find(f"[aria-label='Resume {name}']").click()
    browser.sees(f"The {kind} {name} goes on, with what waited first.")
    browser.open(f"/inbox/events/{told['id']}")
    same_page(browser)
    eventually(lambda: browser.text("#state .pill") == "succeeded", "it is handled")
    assert same_page(browser)
    assert [] == browser.complaints()


def test_what_is_new_does_not_disturb_who_reads(browser: Browser) -> None:
    """A button tells of newer events; the list stays where it is, and so do what is typed, the focus, a selection."""
    for number in range(8):
        order(browser.place, f"list-{number}")
    browser.open("/inbox/events")
    field = browser.find("[name=type]")
    field.send_keys("order")
    browser.driver.execute_script("document.querySelector('[name=type]').setSelectionRange(1, 3)")
    where = "return [scrollY, document.querySelector('tbody').getBoundingClientRect().top, tbody.innerText]"
    browser.driver.execute_script("document.querySelector('tbody').id = 'tbody'")
    before = browser.driver.execute_script(where)
    order(browser.place, "brand-new")
    browser.sees("Show 1 newer event")
    assert before == browser.driver.execute_script(where)
    assert field == browser.driver.switch_to.active_element
    field.send_keys("X")
    assert "oXer" == field.get_property("value")
    browser.driver.execute_script("getSelection().selectAllChildren(document.querySelector('tbody tr .mono'))")
    order(browser.place, "newer-still")
    browser.sees("Show 2 newer events")
    assert "list-7" == browser.driver.execute_script("return getSelection().toString().trim()")
    assert before == browser.driver.execute_script(where)
    browser.press("Show 2 newer events")
    eventually(lambda: "newer-still" in browser.text("tbody tr"), "the newest is on top")


def test_what_is_read_is_not_replaced(browser: Browser) -> None:
    """A part in which something is selected stays as it is while others follow, and follows again afterwards."""
    number = order(browser.place, "read", amount=999)
    browser.place.until_status(number, "dead")
    browser.open(f"/inbox/events/{number}")
    browser.driver.execute_script("getSelection().selectAllChildren(document.querySelector('#timeline pre'))")
    chosen = browser.driver.execute_script("return getSelection().toString()")
    assert "no account for 999" in chosen
    assert "duplicate" == post(browser.place, "/in/shop", {"id": "read", "type": "order.paid", "amount": 999})["status"]
    eventually(lambda: "Copies\n1, the last" in browser.text("#state"), "the facts follow")
    assert (chosen, False) == (
        browser.driver.execute_script("return getSelection().toString()"),
        "duplicate" in browser.text("#timeline").lower(),
    )
    browser.driver.execute_script("getSelection().removeAllRanges()")
    eventually(lambda: "duplicate" in browser.text("#timeline").lower(), "the time line follows")


def test_the_overview_follows(browser: Browser) -> None:
    """What comes is counted in an overview that is open, without loading it again."""
    browser.open()
    same_page(browser)
    count = int(browser.text(".tile dd").split()[0])
    order(browser.place, "counted")
    eventually(lambda: int(browser.text(".tile dd").split()[0]) == count + 1, "it is counted")
    assert same_page(browser)
    assert "Live" in browser.text("footer")


def test_what_did_not_change_is_left_alone(browser: Browser) -> None:
    """Only what says something else is replaced: how long ago something was is no news, nor a form's token."""
    number = order(browser.place, "left-alone")
    browser.place.until_status(number, "succeeded")
    browser.open(f"/inbox/events/{number}")
    browser.press("Replay")
    eventually(lambda: browser.all("#progress") and browser.text("#progress .pill") == "done", "it is replayed")
    browser.place.until_status(number, "succeeded")
    done = browser.driver.current_url.partition("/inbox/")[2]
    for path, part in ((f"/inbox/{done}", "#progress dl"), ("/inbox/actions", "#actions tr")):
        browser.open(path)
        browser.driver.execute_script(f"document.querySelector('{part}').marked = true")
        asked = browser.driver.execute_script(f"return {ASKED}")
        eventually(lambda asked=asked: browser.driver.execute_script(f"return {ASKED}") >= asked + 4, "it looks")
        assert browser.driver.execute_script(f"return document.querySelector('{part}').marked"), path


def test_a_page_that_nobody_sees_asks_for_nothing(browser: Browser) -> None:
    """A hidden tab stops asking, and goes on as soon as it is seen again."""
    driver = browser.driver
    browser.open()
    eventually(lambda: driver.execute_script(f"return {ASKED}") >= 2, "it asks")
    driver.minimize_window()
    assert driver.execute_script("return document.hidden")
    before = driver.execute_async_script(LATER)
    assert before == driver.execute_async_script(LATER)
    driver.set_window_rect(0, 0, 1280, 1000)
    eventually(lambda: driver.execute_script(f"return {ASKED}") >= before + 2, "it asks again")


def test_a_page_waits_longer_while_nobody_answers(browser: Browser) -> None:
    """While no answer comes a page asks less and less, and it follows again as soon as one does."""
    browser.open()
    same_page(browser)
    eventually(lambda: "Live" in browser.text("footer"), "it follows")
    browser.driver.set_network_conditions(offline=True, latency=0, throughput=-1)
    eventually(lambda: "Live" not in browser.text("footer"), "it says no more that it follows")
    assert 3 >= -browser.driver.execute_script(f"return {ASKED}") + browser.driver.execute_async_script(LATER)
    browser.driver.delete_network_conditions()
    eventually(lambda: "Live" in browser.text("footer"), "it follows again")
    browser.complaints()
    assert same_page(browser)


def test_a_page_stops_when_the_login_is_over(browser: Browser) -> None:
    """It says so, asks no more, and leads back to where one was."""
    browser.open("/inbox/refusals")
    browser.place.inbox("admin", "set-password", input=PASSWORD)
    browser.sees("Your login is over: this page follows no more.")
    before = browser.driver.execute_script(f"return {ASKED}")
    assert before == browser.driver.execute_async_script(LATER)
    browser.find("#over a").click()
    browser.fill("password", PASSWORD)
    browser.press("Log in")
    eventually(lambda: browser.driver.current_url.endswith("/inbox/refusals"), "the same page")
