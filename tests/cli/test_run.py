"""`serve` and `worker` as children of `inbox run`: what they do when it is gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inbox.process.supervisor import PARENT
from tests.support.place import Place


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_child_whose_supervisor_died_before_it_was_up_ends(command: str, place: Place) -> None:
    """It would run for ever: nobody restarts it, nobody stops it, and it keeps the port."""
    place.configure()
    done = subprocess.run(
        [sys.executable, "-m", "inbox", command],
        cwd=place.folder,
        env={**place.environment, PARENT: str(os.getppid())},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (1, True) == (done.returncode, "event=supervisor.gone" in done.stderr)


def test_what_a_handler_starts_does_not_know_the_supervisor(place: Place, tmp_path: Path) -> None:
    """The variable is for the worker alone: a command that a handler starts has another parent."""
    code = f"import os; from inbox import handles; SEEN = str('{PARENT}' in os.environ)"
    place.only_handler("own", f"{code}\n@handles('*')\ndef own(event): open('seen', 'w').write(SEEN)\n")
    place.configure()
    place.start()
    place.until_status(place.send("roomz")[0]["answer"]["id"], "succeeded")
    assert "False" == (tmp_path / "seen").read_text()
