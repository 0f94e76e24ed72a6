"""This project as shipped: `inbox init`, a port, one handler that does nothing, `inbox run`."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.contestants.base import Contestant

NOTHING = '''"""Does nothing."""

from inbox import Event, handles


@handles("roomz", "*")
def nothing(event: Event) -> None:
    """Do nothing."""
'''


class Inbox(Contestant):
    """The inbox; `parts` are the commands to start, of `run`, `serve` and `worker`."""

    key = "inbox"
    name = "webhook-inbox"
    what = "verifies, checks the schema, finds copies, stores with fsync, queues; worker running"

    def __init__(self, *parts: str, handler: str = NOTHING, before: Sequence[str] = ()) -> None:
        self.parts = parts or ("run",)
        self.handler = handler
        self.before = before
        """What stands in front of the first command."""

    def prepare(self, folder: Path, port: int, secret: str) -> None:
        """See Contestant."""
        command = [sys.executable, "-m", "inbox", "init", str(folder)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        shutil.rmtree(folder / "handlers")
        (folder / "handlers").mkdir()
        (folder / "handlers" / "benchmark.py").write_text(self.handler)
        self.move(folder, port)

    def move(self, folder: Path, port: int) -> None:
        """See Contestant."""
        settings = folder / "inbox.toml"
        text = re.sub(r"^port = \d+.*\n", "", settings.read_text(), flags=re.MULTILINE)
        settings.write_text(text.replace("[server]\n", f"[server]\nport = {port}\n", 1))

    def commands(self, folder: Path, port: int) -> Sequence[Sequence[str]]:
        """See Contestant."""
        lines = [[sys.executable, "-m", "inbox", part] for part in self.parts]
        return [[*self.before, *lines[0]], *lines[1:]]
