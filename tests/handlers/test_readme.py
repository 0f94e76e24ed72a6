"""The guide for handler authors: its code runs, and it leaves nothing out."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from inbox.core.config.settings import WorkerSettings
from inbox.core.handles import Handles
from inbox.core.models import Event
from inbox.deliver.handler_loader import ENTRY_POINTS, load
from inbox.store.protocols import DELIVERY_STATUSES

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "handlers" / "README.md").read_text("utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with each Python block of the guide under the name in its first line."""
    blocks = re.findall(r"^```python\n# (\S+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert ["handlers/desks.py", "test_desks.py"] == [name for name, _ in blocks]
    for name, code in blocks:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
    return tmp_path


def test_first_handler_has_ten_lines(project: Path) -> None:
    """The handler in ten lines imports, has ten lines and the name that the guide gives it."""
    code = (project / "handlers" / "desks.py").read_text()
    registry = load(project / "handlers")
    assert (["desks.show_desk"], {}) == (list(registry.handlers), registry.failures)
    assert len(code.splitlines()) <= 10


def test_every_python_block_is_tried() -> None:
    """No Python block is without a file name, which would keep it out of these tests."""
    assert README.count("```python\n") == README.count("```python\n# ")


def test_test_of_the_guide_passes(project: Path) -> None:
    """The complete test in the guide passes as it stands, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr), done.stdout
    assert "4 passed" in done.stdout


@pytest.mark.parametrize("name", [*(field.name for field in fields(Event)), "body", "idempotency_key"])
def test_every_field_is_explained(name: str) -> None:
    """Every field of an event is in the table."""
    assert re.search(rf"^\|[^|]*`{name}(\(\))?`[^|]*\|", README, re.MULTILINE)


@pytest.mark.parametrize("field", fields(Handles), ids=lambda field: field.name)
def test_every_setting_has_its_default(field: object) -> None:
    """Every setting of `@handles` is there, with the default that the code has."""
    name, default = field.name, field.default  # type: ignore[attr-defined]
    if isinstance(default, (int, float)):
        assert re.search(rf"^\| `{name}` \| {default:g} \|", README, re.MULTILINE)
    else:
        assert f"`{name}`" in README or f'{name}="*"' in README


def test_every_status_is_named() -> None:
    """The statuses that a run can end in are in the guide."""
    missing = [name for name in DELIVERY_STATUSES if f"`{name}`" not in README]
    assert ["pending", "running", "cancelled"] == missing


def test_every_file_is_listed() -> None:
    """What is shipped is in the last table, and nothing else."""
    listed = set(re.findall(r"`(\w+\.py)`", README.partition("## What is here")[2]))
    assert {path.name for path in (PROJECT / "handlers").glob("*.py")} == listed


def test_facts_agree_with_the_code() -> None:
    """Numbers and names in prose are those of the code."""
    worker = WorkerSettings()
    assert f"within `kill_after` ({worker.kill_after:g} s" in README
    assert 3 == worker.max_crashes
    assert "after three of one delivery" in README
    assert f'[project.entry-points."{ENTRY_POINTS}"]' in README
