"""Hostile text in everything that comes from outside, on every page in a real Chromium: nothing runs, nothing breaks."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.acceptance.place import eventually
from tests.pages.browser import Browser
from tests.pages.looks import PHONE, narrow, sideways
from tests.pages.scene import post, scene

HOSTILE = (
    "<script>window.ran = 1; alert(1); fetch('http://localhost:9/x')</script>",
    "</script></title></textarea></pre></select><img src=http://localhost:9/x onerror='window.ran = 2'>",
    "\"'><svg onload=window.ran=3><style>*{display:none}</style><base href=http://localhost:9/>",
    "<iframe srcdoc='<script>parent.ran=4</script>'></iframe><meta http-equiv=refresh content='0;url=http://localhost:9/'>",
    "javascript:window.ran=5//",
    "<a href='javascript:window.ran=6' autofocus onfocus=window.ran=7>x</a>",
    "{{7*7}}${7*7}<%= 7*7 %>{% raise %}{#x#}#{7*7}",
    "\u202egnp.exe\u2066\u200f \x00\x07\x1b[31m\x7f\r\n\t\ufeff\u2028",
    "W" * 3000,
)
LATIN = [text for text in HOSTILE if text.isprintable() and text.isascii() and len(text) < 1000]

HANDLER = """
from inbox import handles

@handles("shop", attempts=1)
def book(event):
    told = "\\n".join(str(value) for value in event.payload.values())
    if event.payload.get("fail"):
        raise ValueError(told)
    return {"told": told, told: [told]}
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The pages of an inbox to which somebody has sent all of it."""
    with scene(tmp_path_factory.mktemp("place"), HANDLER, hasty=False) as made:
        for number, text in enumerate(HOSTILE):
            _attack(made, number, text)
        made.place.until_status(1, "succeeded")
        made.place.until_status(2, "dead")
        _act(made)
        yield made


def _attack(browser: Browser, number: int, text: str) -> None:
    place, header = browser.place, text if text in LATIN else "x"
    payload: dict[str, Any] = {"id": text, "type": text, text: {text: [text, {text: text}]}, "text": text}
    told = post(place, f"/in/shop?{quote(text)}={quote(text)}", payload, X_Text=header, User_Agent=header)
    assert "accepted" == told["status"], told
    post(place, "/in/shop", {**payload, "id": f"{number}{text}", "fail": True}, X_Text=header)
    post(place, "/in/shop", {**payload, "text": "another " + text, "<b>": text})  # in conflict
    post(place, "/in/shop", text.encode(), Content_Type=f"text/html; x={header}")
    post(place, f"/in/{quote(text[:200], safe='')}", payload, X_Text=header)
    post(place, "/in/roomz", payload, Roomz_Signature=header)


def _act(browser: Browser) -> None:
    """Leave hostile reasons wherever somebody can give one."""
    for why in HOSTILE[:6]:
        browser.open("/inbox/events/1")
        browser.find("[name=why]").send_keys(why)
        browser.press("Replay")
    browser.open("/inbox/handlers")
    for summary in browser.all("details.do summary"):
        summary.click()
    for name in ("book", "shop"):
        button = browser.find(f"[aria-label$='{name}']")
        browser.driver.execute_script(
            "const form = arguments[0].form; form.elements.why.value = arguments[1]; arguments[0].click()",
            button,
            HOSTILE[1] + HOSTILE[7][:20],
        )
        eventually(lambda name=name: browser.all(f"[aria-label^='Resume'][aria-label$='{name}']"), "it is paused")
        for summary in browser.all("details.do summary"):
            summary.click()


def pages(browser: Browser) -> Iterator[str]:
    """Name every page, and those that say again what they were asked."""
    yield from ("/inbox/", "/inbox/events", "/inbox/refusals", "/inbox/handlers", "/inbox/actions", "/inbox/actions/1")
    yield from (f"/inbox/events/{row['id']}" for row in browser.place.json("events", "--limit", "1000"))
    for text in HOSTILE[:8]:
        said = quote(text, safe="")
        yield f"/inbox/events?type={said}&text={said}"
        yield f"/inbox/events?status={said}"
        yield f"/inbox/actions/new?kind=replay&all=1&type={said}"
        yield f"/inbox/actions/new?kind={said}"
        yield f"/inbox/refusals?source={said}"
        yield f"/inbox/requests/{said}"
        yield f"/inbox/{said}"


FOUND = """
const wrong = [...document.querySelectorAll('*')].flatMap((one) => [
  ...(one.matches('script:not([src="/inbox/static/inbox.js"]), style, iframe, base, object, embed, meta[http-equiv], img:not([src^="/inbox/static/"])') ? [one.outerHTML] : []),
  ...[...one.attributes].filter((each) => /^on|^style$/i.test(each.name) || /^\\s*javascript:/i.test(each.value) && /^(href|src|action|formaction)$/i.test(each.name)).map((each) => each.name),
]);
return [window.ran ?? null, wrong, document.title.endsWith('· webhook-inbox'), getComputedStyle(document.querySelector('main')).display];
"""


def test_nothing_hostile_runs_or_breaks_a_page(browser: Browser) -> None:
    """No marker is set, no element of theirs is there, nothing else is asked, the console is silent, no page too wide."""
    driver = browser.driver
    browser.complaints()
    driver.get_log("performance")
    seen = 0
    with narrow(browser):
        for path in pages(browser):
            browser.open(path)
            for fold in browser.all("details:not([open])"):
                driver.execute_script("arguments[0].open = true", fold)
            assert [None, [], True, "block"] == driver.execute_script(FOUND), path
            assert [] == sideways(browser), path
            seen += 1
    assert seen > 60
    noise = ("status of 400", "status of 404")
    assert [] == [line for line in browser.complaints() if not any(word in line for word in noise)]
    asked = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [each["params"]["request"]["url"] for each in asked if each["method"] == "Network.requestWillBeSent"]
    assert {f"127.0.0.1:{browser.place.port}"} == {urlsplit(url).netloc for url in sent}
    assert len(sent) >= seen
