"""Who sees the pages, as a real Chromium keeps to it: cookies, the back button, frames; an address of their own."""

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.browser import Browser, chromium
from tests.support.place import eventually, free_port
from tests.ui.conftest import PASSWORD
from tests.ui.scene import order, scene

HANDLER = """
from inbox import handles

@handles("shop", "order.*", attempts=1)
def book(event):
    if not event.is_replay:
        raise ValueError("the bank is closed")
    return {"booked": "at last"}
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The pages of an inbox at an address of their own, seen by its owner."""
    bind = f'[admin]\nbind = "127.0.0.1:{free_port()}"\n'
    with scene(tmp_path_factory.mktemp("place"), HANDLER, more=bind) as made:
        yield made


def status(port: int, method: str, path: str) -> int:
    """Return what a request is answered with."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, b"{}" if method == "POST" else None)
        return connection.getresponse().status
    finally:
        connection.close()


def test_pages_at_an_address_of_their_own_are_nowhere_else(browser: Browser) -> None:
    """The receiver's port has what senders and health checks need, the other one the pages; neither has both."""
    public, private = browser.place.port, browser.port
    browser.open()
    assert "Overview" == browser.text("h1")
    paths = ("/inbox/", "/inbox/login", "/inbox/static/inbox.js", "/inbox/api/events", "/")
    assert [404] * 5 == [status(public, "GET", path) for path in paths]
    assert [200, 200] == [status(public, "GET", "/healthz"), status(public, "POST", "/in/shop")]
    assert [404, 302] == [status(private, "POST", "/in/shop"), status(private, "GET", "/")]


def test_the_cookie_is_out_of_reach(browser: Browser) -> None:
    """Chromium keeps it from scripts and from other sites, for the pages alone, until it is closed."""
    browser.open()
    cookies = browser.driver.execute_cdp_cmd("Network.getCookies", {})["cookies"]
    names = ("name", "httpOnly", "sameSite", "path", "session", "domain")
    assert [("inbox_session", True, "Lax", "/inbox", True, "127.0.0.1")] == [
        tuple(cookie[name] for name in names) for cookie in cookies
    ]
    assert "" == browser.driver.execute_script("return document.cookie")


def test_nothing_is_seen_after_logging_out(browser: Browser) -> None:
    """The back button leads to the login, not to what was read; so does an address."""
    number = order(browser.place, "secret-order")
    browser.open(f"/inbox/events/{number}")
    assert "secret-order" in browser.text()
    browser.press("Log out")
    browser.sees("Forgotten?")
    browser.driver.back()
    browser.sees("Forgotten?")
    assert "secret-order" not in browser.driver.page_source
    browser.open(f"/inbox/events/{number}")
    browser.sees("Forgotten?")
    browser.fill("password", PASSWORD)
    browser.press("Log in")
    browser.sees("secret-order")


def test_a_new_password_ends_the_logins_of_other_tabs(browser: Browser) -> None:
    """What another tab sends afterwards is refused, and it is asked to log in; nothing is done."""
    number = order(browser.place, "other-tab")
    browser.open(f"/inbox/events/{number}")
    browser.place.inbox("admin", "set-password", input=PASSWORD)
    browser.press("Replay")
    browser.sees("log in")
    assert 1 == len(browser.place.event(number)["deliveries"])
    browser.log_in()


class _Other(BaseHTTPRequestHandler):
    """Another site, which frames the pages."""

    page = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.page)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_no_other_site_frames_a_page(browser: Browser) -> None:
    """A frame of another origin stays empty, and the console names the rule."""
    _Other.page = b"<iframe src='http://127.0.0.1:%d/inbox/login'></iframe>" % browser.port
    with ThreadingHTTPServer(("127.0.0.1", 0), _Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            browser.complaints()
            browser.driver.get(f"http://localhost:{server.server_address[1]}/")
            browser.driver.switch_to.frame(browser.find("iframe"))
            assert not browser.all("[name=password]")
            said = " ".join(browser.complaints())
            assert "frame-ancestors 'none'" in said, said
        finally:
            browser.driver.switch_to.default_content()
            server.shutdown()
            thread.join()


def test_all_of_it_works_without_script(browser: Browser, tmp_path: Path) -> None:
    """Log in, find, read why it failed, replay, and see that it succeeded after loading again."""
    place = browser.place
    number = order(place, "o-9", customer="Grace")
    place.until_status(number, "dead")
    with chromium(place, tmp_path / "profile", script=False) as plain:
        plain.driver.get("data:text/html,<title>no script</title><script>document.title = 'script'</script>")
        assert "no script" == plain.driver.title
        plain.log_in()
        plain.press("Events")
        plain.fill("text", "grace")
        eventually(lambda: plain.press("Find") or "1 event found" in plain.text(), "it is found")
        plain.press(str(number))
        assert "ValueError: the bank is closed" in plain.text("#timeline")
        assert not [button for button in plain.all(".needs-script") if button.is_displayed()]
        plain.fill("why", "without script")
        plain.press("Replay")
        plain.sees("without script")
        place.until_status(number, "succeeded")
        plain.press(str(number))
        assert "succeeded" == plain.text("#state .pill")
        assert "at last" in plain.text("#timeline")
