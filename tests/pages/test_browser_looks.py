"""The pages on a phone, in the dark, by keyboard and read aloud, in a real Chromium; axe-core knows the rules."""

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys

from tests.pages.browser import Browser
from tests.pages.looks import narrow, sideways
from tests.pages.scene import post, scene

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
    with scene(tmp_path_factory.mktemp("place"), HANDLER, hasty=False) as made:
        place = made.place
        place.handler("broken", "import nothing_like_this\n")
        place.inbox("reload")
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


AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LOOK = """
const done = arguments[1];
axe.run(document, { runOnly: arguments[0], resultTypes: ["violations", "incomplete"] }).then((found) => done(
  [...found.violations, ...found.incomplete].flatMap((rule) => rule.nodes.map((node) =>
    `${rule.id}: ${node.html.slice(0, 160)} ${node.any.map((each) => each.message).join()}`))));
"""


def look(browser: Browser) -> list[str]:
    """Return what axe-core finds wrong with a page, and what it cannot be sure of."""
    browser.driver.execute_script(AXE)
    return list(browser.driver.execute_async_script(LOOK, RULES))


def scheme(browser: Browser, name: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": name}]}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def test_pages_can_be_read_by_everyone(browser: Browser) -> None:
    """Contrast in light and in dark, labels, names, headings, tables, landmarks: nothing to say, on any page."""
    titles: dict[str, str] = {}
    found = []
    for path in [*pages(browser), "/inbox/events?type=order.*"]:
        spread(browser, path)
        for name in ("light", "dark"):
            scheme(browser, name)
            found += [f"{path} {name} {each}" for each in look(browser)]
        titles[path] = browser.driver.title
    assert [] == found
