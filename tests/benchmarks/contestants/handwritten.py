"""What one writes in an afternoon: Flask and gunicorn, HMAC, jsonschema, one SQLite commit per request, huey."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.contestants.base import APPS, Contestant, virtual_environment

SCHEMAS = Path(__file__).parents[3] / "schemas" / "roomz"


class Handwritten(Contestant):
    """The hand-written way, with huey's consumer running as it starts without options."""

    key = "handwritten"
    name = "Flask + gunicorn + SQLite + huey"
    what = "verifies, checks the schema, finds copies, one commit with fsync per request, queues; consumer running"

    def install(self, scratch: Path) -> None:
        """See Contestant."""
        packages = ["flask", "gunicorn", "huey", "jsonschema"]
        self.python = virtual_environment(scratch, self.key, sys.executable, packages)

    def prepare(self, folder: Path, port: int, secret: str) -> None:
        """See Contestant."""
        shutil.copy(APPS / "handwritten.py", folder / "handwritten.py")
        shutil.copytree(SCHEMAS, folder / "schemas")

    def commands(self, folder: Path, port: int) -> Sequence[Sequence[str]]:
        """See Contestant."""
        gunicorn = ["-m", "gunicorn", "--worker-class", "gthread", "--workers", "1", "--threads", "8"]
        return [
            [self.python, *gunicorn, "--bind", f"127.0.0.1:{port}", "handwritten:app"],
            [self.python, "-m", "huey.bin.huey_consumer", "handwritten.huey"],
        ]
