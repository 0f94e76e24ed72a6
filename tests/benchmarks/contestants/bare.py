"""The ceiling of the framework: a Flask endpoint that reads the body and answers, on the server that the inbox uses."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.contestants.base import APPS, Contestant, granian


class Bare(Contestant):
    """Nothing but Flask."""

    key = "bare"
    name = "bare Flask endpoint"
    what = "reads the body"

    def prepare(self, folder: Path, port: int, secret: str) -> None:
        """See Contestant."""
        shutil.copy(APPS / "bare.py", folder / "bare.py")

    def commands(self, folder: Path, port: int) -> Sequence[Sequence[str]]:
        """See Contestant."""
        return [granian(sys.executable, "bare:app", port)]
