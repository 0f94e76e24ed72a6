"""A place with an owner who has logged in with a real Chromium: what the tests of the pages begin with."""

import http.client
import json
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.browser import Browser, chromium
from tests.support.place import Place
from tests.ui.conftest import PASSWORD

SOURCES = """
[sources.shop]
provider = "unsigned"
event_id = ["json:/id"]
event_type = ["json:/type"]

[sources.roomz]
provider = "roomz"
secrets = ["env:ROOMZ_WEBHOOK_SECRET"]
"""

SHOP = """
from inbox import handles

@handles("shop", "order.*", attempts=1)
def book(event):
    if event.payload.get("amount", 0) > 900:
        raise ValueError(f"no account for {event.payload['amount']}")
    return {"booked": event.payload["id"]}
"""

HASTY = "const later = setTimeout; window.setTimeout = (run, ms, ...rest) => later(run, ms / 20, ...rest);"
"""Pages look for what is new every 200 ms instead of every 4 s."""


@contextmanager
def stage(folder: Path, handler: str = SHOP, more: str = "", broken: str = "") -> Iterator[Place]:
    """Start an inbox whose pages are on, with one handler file; `more` is added to the settings."""
    place = Place(folder)
    place.configure(sources=SOURCES + more, worker="processes = 1")
    (folder / ".env").write_text("ROOMZ_WEBHOOK_SECRET=abc\n")
    for path in (folder / "handlers").glob("*.py"):
        path.unlink()
    place.handler("shop", handler)
    if broken:
        place.handler("broken", broken)
    place.inbox("admin", "set-password", input=PASSWORD)
    place.start()
    try:
        yield place
    finally:
        place.close()


@contextmanager
def scene(folder: Path, handler: str = SHOP, *, hasty: bool = True, **more: str) -> Iterator[Browser]:
    """Do the same, and look at it as the owner; `more` is for `stage`."""
    with stage(folder, handler, **more) as place, chromium(place, folder / "profile") as browser:
        if hasty:
            browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": HASTY})
        browser.log_in()
        yield browser


def post(place: Place, path: str, body: object, **headers: str) -> Any:
    """Send a request to the receiver, bytes as they are and else as JSON, and return the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=30)
    try:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        address = urllib.parse.quote(path, safe="/?=&%")
        connection.request("POST", address, content, {"Content-Type": "application/json", **given})
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def order(place: Place, name: str, **more: object) -> int:
    """Send an order to the shop, and return the number of its event."""
    return int(post(place, "/in/shop", {"id": name, "type": "order.paid", **more})["id"])
