"""Loading handlers puts the settings of `.env` into the environment; here it is afterwards as it was."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox.cli.setup import init
from tests.acceptance.place import Place


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """Restore the environment, and let new files be the owner's only, as those are that the command makes."""
    before, umask = dict(os.environ), os.umask(0o077)
    yield
    os.environ.clear()
    os.environ.update(before)
    os.umask(umask)


class Made(Place):
    """A place whose `inbox init` runs in this process, which is quicker."""

    def inbox(self, *arguments: str, ok: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of ours."""
        if arguments != ("init",):
            return super().inbox(*arguments, ok=ok, **options)
        init.main([str(self.folder)], standalone_mode=False)
        os.umask(0o077)
        return subprocess.CompletedProcess(arguments, 0)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Make a folder as `inbox init` does."""
    made = Made(tmp_path)
    yield made
    made.close()
