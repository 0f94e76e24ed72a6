"""A command loads what it needs: most processes that a person starts live for a moment."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

from inbox.cli import main
from tests.conftest import PROJECT

CLI = PROJECT / "inbox" / "cli"
STORE = {"sqlite_utils"}
SENDERS = {"cryptography", "inbox.verify.providers"}
CHECKED = {*STORE, *SENDERS, "inbox.verify.schemas", "inbox.deliver.handler_loader", "inbox.tools.doctor"}
HEAVY = {
    *CHECKED,
    "a2wsgi",
    "flask",
    "granian",
    "huey",
    "inbox.deliver.dispatcher",
    "inbox.process.receiver",
    "inbox.tools.torture",
    "inbox.receive.endpoint",
    "inbox.receive.wsgi",
    "jinja2",
    "rich.traceback",
}


def test_every_command_is_found() -> None:
    """The group knows the module of each command, and no module has one that the group does not know."""
    context = click.Context(main)
    modules = [import_module(f"inbox.cli.{path.stem}") for path in CLI.glob("[a-z]*.py")]
    defined = [command for module in modules for command in getattr(module, "COMMANDS", ())]
    assert {command.name: command for command in defined} == {
        name: main.get_command(context, name) for name in main.list_commands(context)
    }
    assert main.get_command(context, "nonsense") is None


@pytest.mark.parametrize(
    ("command", "expected"),
    [("init", set()), ("send --help", {*STORE, *SENDERS}), ("events", STORE), ("check", CHECKED)],
)
def test_command_imports_nothing_that_it_does_not_use(tmp_path: Path, command: str, expected: set[str]) -> None:
    """No server, no queue and no torture for those that only look, check or send."""
    code = "import atexit, sys; from inbox.cli import main; atexit.register(lambda: print(*sys.modules)); main()"
    (tmp_path / "inbox.toml").touch()
    (tmp_path / "handlers").mkdir()
    (tmp_path / "schemas").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split()], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert expected == HEAVY & set(done.stdout.splitlines()[-1].split())
