"""Hostile text in everything that comes from outside, on every page in a real Chromium."""

import json
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import pytest

from tests.support.browser import Browser
from tests.support.place import Place, eventually
from tests.ui.looks import narrow, sideways
from tests.ui.scene import post, scene

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
        _attack(made.place)
        made.place.until_status(1, "succeeded")
        made.place.until_status(2, "dead")
        _act(made)
        waiting = post(made.place, "/in/shop", {"id": "late", "type": HOSTILE[0]})["id"]
        made.place.until_status(waiting, "processing")
        yield made


def _attack(place: Place) -> None:
    """Send all of it: payload, headers, query, path, text, wrong signatures; then each as type, key and source."""
    whole = {text: {text: [text, {text: text}]} for text in HOSTILE}
    query = "&".join(f"{quote(text)}={quote(text)}" for text in HOSTILE[:8])
    headers = {f"X_Text_{number}": text for number, text in enumerate(LATIN)}
    payload = {"id": "1", "type": "all", **whole}
    assert "accepted" == post(place, f"/in/shop?{query}", payload, **headers)["status"]
    assert "accepted" == post(place, "/in/shop", {**payload, "id": "2", "fail": True})["status"]
    assert "conflict" == post(place, "/in/shop", {**payload, "text": list(HOSTILE)})["status"]
    assert "quarantined" == post(place, "/in/shop", "\n".join(HOSTILE).encode(), Content_Type=LATIN[0])["status"]
    for text in HOSTILE:
        post(place, "/in/shop", {"id": text, "type": text, "text": text})
        post(place, f"/in/{quote(text[:100], safe='')}", payload, **headers)
        post(place, "/in/roomz", payload, Roomz_Signature=text if text in LATIN else "x", **headers)


def _act(browser: Browser) -> None:
    """Leave hostile reasons wherever somebody can give one."""
    for why in HOSTILE[:6]:
        browser.open("/inbox/events/1")
        browser.find("[name=why]").send_keys(why)
        browser.press("Replay")
        eventually(lambda: "/inbox/actions/" in browser.driver.current_url, "it is begun")
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
    events = {row["status"]: row["id"] for row in browser.place.json("events", "--limit", "100")}
    assert events.keys() >= {"succeeded", "dead", "conflict", "quarantined", "processing"}
    yield from (f"/inbox/events/{number}" for number in events.values())
    for said in (quote("".join(HOSTILE[:7]), safe=""), quote(HOSTILE[7], safe=""), HOSTILE[8]):
        yield f"/inbox/events?source=shop&type={said}&text={said}"
        yield f"/inbox/events?status={said}&since={said}"
        yield f"/inbox/actions/new?kind=replay&all=1&type={said}"
        yield f"/inbox/actions/new?kind={said}"
        yield f"/inbox/refusals?source={said}"
        yield f"/inbox/requests/{said}"
        yield f"/inbox/{said.replace('%0D%0A', '')}"


FOUND = """
const ours = 'script[src="/inbox/static/inbox.js"], img[src="/inbox/static/inbox.svg"], link[href^="/inbox/static/"]';
const active = 'script, style, link, img, iframe, frame, object, embed, base, meta[http-equiv], math, template';
const wrong = [...document.querySelectorAll(active)].filter((one) => !one.matches(ours)).map((one) => one.outerHTML);
const leads = (each) => /^(href|src|action|formaction)$/i.test(each.name) && !/^[/#]/.test(each.value);
for (const one of document.querySelectorAll('*'))
  for (const each of one.attributes)
    if (/^(on|style|srcdoc)/i.test(each.name) || leads(each)) wrong.push(`${each.name}=${each.value}`);
if (/[\\u202a-\\u202e\\u2066-\\u2069]/.test(document.documentElement.textContent)) wrong.push('text is turned round');
const main = document.querySelector('main');
return [window.ran ?? null, wrong, main?.checkVisibility(), document.title.endsWith('· webhook-inbox')];
"""
"""The marker that a script of theirs would set; what no page has; whether the page is there and has our title."""

NOISE = ("status of 400", "status of 404")


def test_nothing_hostile_runs_or_breaks_a_page(browser: Browser) -> None:
    """No marker, no element of theirs, no request elsewhere, a silent console, and no page is wider than a phone."""
    driver = browser.driver
    browser.complaints()
    driver.get_log("performance")
    seen = 0
    with narrow(browser):
        for path in pages(browser):
            browser.open(path)
            driver.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
            assert [None, [], True, True] == driver.execute_script(FOUND), path
            assert [] == sideways(browser), path
            seen += 1
    assert seen > 30
    assert [] == [line for line in browser.complaints() if not any(word in line for word in NOISE)]
    asked = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [each["params"]["request"]["url"] for each in asked if each["method"] == "Network.requestWillBeSent"]
    assert {f"127.0.0.1:{browser.place.port}"} == {urlsplit(url).netloc for url in sent}
    assert len(sent) >= seen


def test_hostile_text_is_shown_as_it_is(browser: Browser) -> None:
    """Templates and markup are text; what nobody could see, or turns text round, is written out."""
    browser.open("/inbox/events/1")
    shown = browser.text("#tree")
    missing = [text for text in LATIN if json.dumps(text) not in shown]
    assert [] == missing
    assert '"\\u202egnp.exe\\u2066\\u200f \\u0000\\u0007\\u001b[31m\\u007f\\r\\n\\t\\ufeff\\u2028"' in shown
    assert not set("\u202e\u2066\u0000\u001b") & set(shown)


INJECT = """
const script = document.createElement('script');
script.textContent = 'window.ran = 1';
document.body.append(script);
document.body.insertAdjacentHTML('beforeend', `
  <img src="x" onerror="window.ran = 2"> <img src="http://localhost:9/"> <p style="color: red">x</p>
  <iframe srcdoc="<script>parent.ran = 3</script>"></iframe> <a id="bad" href="javascript:window.ran=4">x</a>
  <form id="away" action="http://localhost:9/"></form>`);
document.getElementById('bad').click();
document.getElementById('away').submit();
fetch('http://localhost:9/').catch(() => { window.refused = true; });
"""
BLOCKED = ("inline script", "inline event handler", "inline style", "image", "Sending form data", "Connecting")


def test_the_policy_stops_what_would_have_got_in(browser: Browser) -> None:
    """Markup put into a page as if escaping had failed does nothing, and the console says that it was blocked."""
    browser.open("/inbox/events/1")
    browser.complaints()
    browser.driver.execute_script(INJECT)
    eventually(lambda: browser.driver.execute_script("return window.refused"), "the request is refused")
    said = " ".join(browser.complaints())
    assert [] == [word for word in BLOCKED if word not in said], said
    assert browser.driver.execute_script("return window.ran ?? null") is None
    assert browser.driver.current_url.endswith("/inbox/events/1")
