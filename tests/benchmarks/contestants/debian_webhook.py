"""Debian's `webhook` (adnanh/webhook): checks an HMAC and starts a program; stores nothing."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.contestants.base import Contestant, Missing


class DebianWebhook(Contestant):
    """`webhook` with one hook that runs /bin/true; it has no package but the system's, so it is not installed here."""

    key = "webhook"
    name = "webhook (Debian)"
    what = "verifies, starts /bin/true; stores nothing"

    def install(self, scratch: Path) -> None:
        """See Contestant."""
        if shutil.which("webhook") is None:
            raise Missing("not installed (Debian, Ubuntu: apt-get install webhook)")

    def prepare(self, folder: Path, port: int, secret: str) -> None:
        """See Contestant."""
        parameter = {"source": "header", "name": "X-Signature"}
        rule = {"match": {"type": "payload-hmac-sha256", "secret": secret, "parameter": parameter}}
        hook = {"id": "roomz", "execute-command": shutil.which("true") or "/bin/true", "trigger-rule": rule}
        hook["trigger-rule-mismatch-http-response-code"] = 401
        (folder / "hooks.json").write_text(json.dumps([hook]))

    def commands(self, folder: Path, port: int) -> Sequence[Sequence[str]]:
        """See Contestant."""
        return [["webhook", "-hooks", "hooks.json", "-urlprefix", "in", "-ip", "127.0.0.1", "-port", str(port)]]
