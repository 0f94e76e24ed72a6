"""knockerlite: a library that stores receipts in SQLite; behind Flask on the inbox's server, as its README says."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks.contestants.base import APPS, Contestant, granian, python_from, virtual_environment


class Knockerlite(Contestant):
    """As shipped (synchronous=NORMAL: a power cut may take what was answered), or with an fsync per commit."""

    def __init__(self, *, full: bool = False) -> None:
        self.full = full
        self.key = "knockerlite-full" if full else "knockerlite"
        self.name = "knockerlite, synchronous=FULL" if full else "knockerlite"
        kept = "stores with fsync" if full else "stores without fsync"
        self.what = f"verifies, finds copies, {kept}, queues; worker running; no schema"

    def install(self, scratch: Path) -> None:
        """See Contestant."""
        packages = ["knockerlite", "flask", "granian"]
        self.python = virtual_environment(scratch, "knockerlite", python_from((3, 12)), packages)

    def prepare(self, folder: Path, port: int, secret: str) -> None:
        """See Contestant."""
        shutil.copy(APPS / "knocked.py", folder / "knocked.py")

    def environment(self, secret: str) -> Mapping[str, str]:
        """See Contestant."""
        return {**super().environment(secret), "SYNCHRONOUS": "FULL" if self.full else ""}

    def commands(self, folder: Path, port: int) -> Sequence[Sequence[str]]:
        """See Contestant."""
        return [granian(self.python, "knocked:app", port)]
