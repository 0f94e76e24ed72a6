"""The pages on a phone, in the dark, by keyboard and read aloud, in a real Chromium; axe-core knows the rules."""

from collections.abc import Iterator
from importlib.resources import files

import pytest
from selenium.webdriver.common.keys import Keys

from tests.support.browser import Browser
from tests.ui.looks import narrow, sideways
from tests.ui.scene import post, scene

HANDLER = """
from inbox import Retry, handles

@handles("shop", "order.*", attempts=1)
def book(event):
    if event.payload["amount"] > 900:
        raise ValueError("no account")
    return {"booked": event.payload["id"]}

@handles("shop", "refund.*")
def refund(event):
    raise Retry("the bank is closed", after=600)
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The pages of an inbox in which there is something of everything."""
    with scene(tmp_path_factory.mktemp("place"), HANDLER, hasty=False, broken="import nothing_like_this\n") as made:
        place = made.place
        for number, amount in enumerate((1, 950)):
            post(place, "/in/shop", {"id": str(number), "type": "order.paid", "amount": amount})
        post(place, "/in/shop", {"id": "0", "type": "order.paid", "amount": 2, "lines": [{"sku": "A"}]})
        post(place, "/in/shop", {"id": "0", "type": "order.paid", "amount": 1})
        post(place, "/in/shop", {"id": "r", "type": "refund.asked"})
        post(place, "/in/shop", b"no json")
        post(place, "/in/nowhere", {})
        place.send("roomz", body=b'{"type": "space.presence", "timestamp": 5}')
        place.until_status(2, "dead")
        made.open("/inbox/events/1")
        made.fill("why", "to see it")
        made.press("Replay")
        made.sees("done")
        made.open("/inbox/handlers")
        made.driver.execute_script("document.querySelector('[aria-label=\"Pause roomz\"]').click()")
        made.sees("is paused")
        yield made


def pages(browser: Browser) -> list[str]:
    """Name each page, an event of each status, and what is said when there is nothing, or something is wrong."""
    events = {row["status"]: row["id"] for row in browser.place.json("events")}
    assert {"succeeded", "dead", "conflict", "quarantined", "processing"} <= events.keys()
    return [
        *("/inbox/", "/inbox/events", "/inbox/refusals", "/inbox/handlers", "/inbox/actions", "/inbox/actions/1"),
        *(f"/inbox/events/{number}" for number in events.values()),
        *("/inbox/events?type=none", "/inbox/actions/new?kind=replay&all=1&source=shop", "/inbox/nowhere"),
    ]


def spread(browser: Browser, path: str) -> None:
    """Open a page, and all that folds in it."""
    browser.open(path)
    browser.driver.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")


AXE = (files("selenium_axe_python") / "axe-core" / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LOOK = """
const done = arguments[1];
axe.run(document, { runOnly: arguments[0], resultTypes: ["violations", "incomplete"] }).then((found) => done(
  [...found.violations, ...found.incomplete].flatMap((rule) => rule.nodes.map((node) =>
    `${rule.id}: ${node.html.slice(0, 160)} ${node.any.map((each) => each.message).join()}`))));
"""


def look(browser: Browser, rules: list[str]) -> list[str]:
    """Return what axe-core finds wrong with a page, and what it cannot be sure of."""
    browser.driver.execute_script(f"if (!window.axe) {{ {AXE} }}")
    return list(browser.driver.execute_async_script(LOOK, rules))


def scheme(browser: Browser, name: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": name}]}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def test_pages_can_be_read_by_everyone(browser: Browser) -> None:
    """Contrast in light and in dark, labels, names, headings, tables, landmarks: nothing to say, on any page."""
    found, titles, languages = [], [], set()
    for path in pages(browser):
        spread(browser, path)
        for name, rules in (("light", RULES), ("dark", ["color-contrast", "link-in-text-block"])):
            scheme(browser, name)
            found += [f"{path} {name} {each}" for each in look(browser, rules)]
        titles.append(browser.driver.title)
        languages.add(browser.find("html").get_attribute("lang"))
    scheme(browser, "")
    assert [] == found, "\n".join(found)
    assert {"en"} == languages
    assert [] == sorted({title for title in titles if titles.count(title) > 1})


def test_a_phone_shows_all_of_it(browser: Browser) -> None:
    """At 390 pixels no page scrolls sideways, and each control is within reach."""
    with narrow(browser):
        for path in pages(browser):
            spread(browser, path)
            assert [] == sideways(browser), path


CONTROLS = """
const all = 'a[href], button, input:not([type=hidden]), select, textarea, summary';
return [...document.querySelectorAll(all)].filter((one) => one.checkVisibility() && !one.disabled).length;
"""
FOCUSED = """
const one = document.activeElement;
if (one === document.body || one.dataset.seen) return null;
one.dataset.seen = '1';
const style = getComputedStyle(one), box = one.getBoundingClientRect();
const seen = parseFloat(style.outlineWidth) >= 2 && style.outlineStyle !== 'none' && box.left >= 0;
return [seen, one.matches('pre, div, section') ? '' : one.outerHTML.slice(0, 120)];
"""


def test_every_control_is_reached_by_keyboard_and_seen(browser: Browser) -> None:
    """Tab goes through all of them, and around each there is an outline."""
    for path in ("/inbox/events", "/inbox/events/1", "/inbox/handlers"):
        browser.open(path)
        reached = []
        browser.find("body").send_keys(Keys.TAB)
        while (found := browser.driver.execute_script(FOCUSED)) is not None:
            reached.append(found)
            browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        assert [] == [what for seen, what in reached if not seen], path
        assert browser.driver.execute_script(CONTROLS) == len([what for _, what in reached if what]), path


def test_keys_lead_to_the_content_and_to_the_search(browser: Browser) -> None:
    """The first Tab offers to skip what every page begins with; "/" goes to the search, unless one is typing."""
    browser.open("/inbox/events")
    browser.find("body").send_keys(Keys.TAB)
    first = browser.driver.switch_to.active_element
    assert "Skip to the content" == first.text
    first.send_keys(Keys.ENTER)
    assert "main" == browser.driver.switch_to.active_element.get_attribute("id")
    browser.driver.switch_to.active_element.send_keys("/")
    assert browser.find("[name=text]") == browser.driver.switch_to.active_element
    browser.driver.switch_to.active_element.send_keys("a/b")
    assert "a/b" == browser.find("[name=text]").get_property("value")
