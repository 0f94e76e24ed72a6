"""`python -m tests.ui.screenshots FOLDER`: the pictures of the README, of an inbox with a day behind it."""

import random
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from inbox.core.errors import Refused
from inbox.testing import Inbox
from tests.support.browser import Browser, chromium
from tests.support.place import Place
from tests.ui.conftest import PASSWORD

DAY = 86_400.0
SECRET = "a secret for the pictures of the README"
SOURCES: dict[str, dict[str, Any]] = {
    "roomz": {"provider": "roomz", "secrets": [SECRET]},
    "shop": {
        "provider": "hmac", "secrets": [SECRET], "header": "X-Shop-Signature", "event_id": ["json:/id"],
        "event_type": ["json:/type"],
    },
    "lemlist": {"provider": "lemlist", "secrets": [SECRET]},
}  # fmt: skip
SETTINGS = """
[sources.roomz]
provider = "roomz"
secrets = ["env:PICTURES"]

[sources.shop]
provider = "hmac"
secrets = ["env:PICTURES"]
header = "X-Shop-Signature"
event_id = ["json:/id"]
event_type = ["json:/type"]

[sources.lemlist]
provider = "lemlist"
secrets = ["env:PICTURES"]
"""
HANDLERS = """
from inbox import Retry, handles


@handles("roomz")
def track_presence(event):
    return {"workspace": event.payload["data"]["workspaceId"]}


@handles("shop", "order.*", attempts=2)
def book_order(event):
    account = ACCOUNTS[event.payload["currency"]]
    return {"account": account, "amount": event.payload["amount"]}


@handles("lemlist")
def mirror_activity(event):
    if int(event.received_at.timestamp()) % 9 == 0 and event.attempt < 2:
        raise Retry("the CRM is down for maintenance", after=900)


ACCOUNTS = {"EUR": 1000, "USD": 1010}
"""
BROKEN = "import stripe_helpers\n"


def order(number: int, currency: str) -> dict[str, Any]:
    """Return the payload of an order."""
    return {
        "id": f"ord-2026-{number:05}",
        "type": random.choice(("order.created", "order.paid", "order.shipped")),
        "amount": random.randint(900, 25_000) / 100,
        "currency": currency,
        "customer": {"name": "Anna Schmidt", "email": "anna@example.com"},
        "lines": [{"sku": "TEA-1", "quantity": 2}, {"sku": "CUP-7", "quantity": 1}],
    }


def live(folder: Path, handlers: Path) -> None:
    """Let a day pass: busy by day, quiet by night, an hour of wrong signatures, one order in a new currency."""
    until = time.time() - 400
    with Inbox(folder, handlers=handlers, sources=SOURCES, now=until - DAY) as inbox:
        number = 0
        while inbox.clock.now < until:
            left = until - inbox.clock.now
            hour = (inbox.clock.now % DAY) / 3600
            inbox.clock.now += random.expovariate(1 / (40 if left < 3600 else 60 if 7 < hour < 19 else 400))
            number += 1
            source = random.choices(("roomz", "shop", "lemlist"), (5, 4, 2))[0]
            if source != "shop":
                inbox.receive(source)
                inbox.advance(0.02)
                inbox.run()
                continue
            body = order(number, "CHF" if number % 97 == 0 else random.choice(("EUR", "USD")))
            inbox.receive("shop", body)
            if random.random() < 0.08:
                inbox.receive("shop", body)
            if number % 211 == 0:
                inbox.receive("shop", {**body, "amount": 1.0})
            if 2000 < left < 2900:
                refused(inbox, body)
            inbox.advance(0.03)
            inbox.run()
        inbox.receive("roomz", b'{"id": "e-1", "type": "workspace.presence.changed", "timestamp": 5, "data": {}}')
        inbox.run()
        inbox.index()


def refused(inbox: Inbox, body: dict[str, Any]) -> None:
    """Let somebody send with another secret."""
    try:
        inbox.receive("shop", body, headers={"X-Shop-Signature": "0" * 64})
    except Refused:
        return


def taken(browser: Browser, folder: Path, name: str, path: str, height: int = 900) -> None:
    """Take a picture of a page."""
    browser.open(path)
    time.sleep(0.5)
    browser.driver.set_window_size(1280, height)
    browser.driver.save_screenshot(str(folder / f"{name}.png"))


def main(folder: Path) -> None:
    """Take them all."""
    random.seed(7)
    with TemporaryDirectory(prefix="pictures-") as scratch:
        Path(scratch, "inbox").mkdir()
        place = Place(Path(scratch, "inbox"))
        place.configure(sources=SETTINGS)
        (place.folder / ".env").write_text(f"PICTURES={SECRET}\n")
        for path in (place.folder / "handlers").glob("*.py"):
            path.unlink()
        place.handler("shop", HANDLERS)
        live(place.folder, place.folder / "handlers")
        place.handler("refunds", BROKEN)
        place.inbox("admin", "set-password", input=PASSWORD)
        place.start()
        events = place.json("events", "--status", "dead", "--limit", "1")
        try:
            with chromium(place, Path(scratch) / "profile") as browser:
                browser.log_in()
                time.sleep(3)
                taken(browser, folder, "overview", "/inbox/", 1000)
                taken(browser, folder, "events", "/inbox/events?source=shop")
                taken(browser, folder, "event", f"/inbox/events/{events[0]['id']}", 1250)
                taken(browser, folder, "refusals", "/inbox/refusals")
                taken(browser, folder, "handlers", "/inbox/handlers")
                dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
                browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
                size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
                browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                browser.open("/inbox/")
                time.sleep(0.5)
                browser.driver.save_screenshot(str(folder / "phone.png"))
        finally:
            place.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
