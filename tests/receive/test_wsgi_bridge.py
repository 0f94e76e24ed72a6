"""What stands beside the endpoint is made when it is asked for, and once."""

import subprocess
import sys
import threading

from flask import Flask
from werkzeug.test import Client

from inbox.receive.wsgi_bridge import LazyWsgi


def test_pages_are_made_by_who_asks_first() -> None:
    """However many ask at the same moment; who asks for something else makes nothing."""
    health, pages, made = Flask("health"), Flask("pages"), []
    health.add_url_rule("/healthz", "healthz", lambda: "well")
    pages.add_url_rule("/inbox/", "overview", lambda: "overview")

    def make() -> Flask:
        made.append(threading.get_ident())
        return pages

    beside = LazyWsgi(health, make)
    assert ("well", []) == (Client(beside).get("/healthz").text, made)
    barrier, found = threading.Barrier(8), []

    def ask() -> None:
        barrier.wait(10)
        found.append(Client(beside).get("/inbox/").text)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (["overview"] * 8, 1) == (found, len(made))
    assert 404 == Client(beside).get("/inboxes").status_code


def test_receiver_starts_without_the_pages() -> None:
    """Nor with what they and the command line need: it would take time and memory of every receiver."""
    others = {"inbox.ui.pages", "inbox.ui.services", "inbox.cli", "wtforms", "limits", "rich", "pygments"}
    code = f"import sys, inbox.process.receiver; print({others} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "set()\n" == done.stdout
