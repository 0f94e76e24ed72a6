"""Documentation that a test fails on: every command, setting, provider and status is there, and what is shown works."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from textwrap import dedent

import click
import pytest

from inbox.cli import main
from inbox.core.config.alarm_settings import AlarmSettings
from inbox.core.config.retention_settings import RetentionSettings
from inbox.core.config.settings import (
    AdminSettings,
    InboxSettings,
    SearchSettings,
    ServerSettings,
    WorkerSettings,
)
from inbox.receive.statuses import STATUSES
from inbox.store.protocols import EVENT_STATUSES
from inbox.ui.api.document import document
from inbox.verify.providers import PROVIDERS
from inbox.verify.providers.base import Provider
from tests.conftest import PROJECT
from tests.support.needs import program
from tests.support.place import Place, eventually

README = (PROJECT / "README.md").read_text()
READMES = sorted([PROJECT / "README.md", *PROJECT.glob("*/README.md"), *PROJECT.glob("inbox/*/README.md")])
MANUAL = "\n".join(readme.read_text() for readme in READMES)
COMMANDS = PROJECT / "inbox" / "cli" / "README.md"
TEMPLATE = (PROJECT / "inbox" / "cli" / "template.toml").read_text()


def reference() -> str:
    """Return the reference of all commands, made from the commands themselves."""
    parts = []
    for name, command in sorted(_flat(main)):
        context = click.Context(command, info_name=f"inbox {name}")
        usage = command.get_usage(context).removeprefix("Usage: ")
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        listed = " ".join(f"`{'/'.join(option.opts)}`" for option in options)
        first = (command.help or "").strip().splitlines()[0]
        parts.append(f"- `{usage.replace(' [OPTIONS]', '')}`: {first}" + (f" {listed}" if listed else ""))
    return "\n".join(parts)


def _flat(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """Yield the commands, and those of a group as `GROUP COMMAND`; the group too, if it does something alone."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield name, command
            yield from ((f"{name} {inner}", found) for inner, found in _flat(command))
        else:
            yield name, command


def test_the_command_reference_is_what_the_commands_say() -> None:
    """The generated list is up to date; INBOX_WRITE_DOCS=1 writes it."""
    pattern = re.compile(r"(<!-- generated: commands -->\n).*?(<!-- end -->)", re.DOTALL)
    wanted = pattern.sub(lambda found: f"{found[1]}\n{reference()}\n\n{found[2]}", COMMANDS.read_text())
    if os.environ.get("INBOX_WRITE_DOCS"):
        COMMANDS.write_text(wanted)
    assert wanted == COMMANDS.read_text()


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_is_in_the_manual_and_documents_itself(name: str) -> None:
    """A README lists it; its own docstring is complete."""
    assert f"| `{name}` |" in MANUAL


def test_every_status_is_in_the_manual() -> None:
    """HTTP statuses with their codes, and what an event can be."""
    codes = {f"| {status} | `{error.code}`" for error, status in STATUSES.items() if hasattr(error, "code")}
    assert [] == [row for row in codes if row not in MANUAL]
    assert [] == [status for status in EVENT_STATUSES if f"| `{status}` |" not in MANUAL]


@pytest.mark.parametrize(
    "cls",
    [
        InboxSettings,
        ServerSettings,
        WorkerSettings,
        RetentionSettings,
        AlarmSettings,
        SearchSettings,
        AdminSettings,
        Provider,
    ],
)
def test_every_setting_is_in_the_manual(cls: type) -> None:
    """inbox.toml as `inbox init` writes it names every setting, and shows the default that applies."""
    for item in fields(cls):
        shown = re.search(rf"^#?\s*{item.name}\s*=\s*(.+?)(?:\s+#.*)?$", TEMPLATE, re.MULTILINE)
        assert shown is not None, item.name
        if cls is not Provider and item.default not in ("", (), None):
            default = json.dumps(item.default) if isinstance(item.default, tuple | bool) else str(item.default)
            assert default == shown[1].strip('"'), item.name


def test_links_lead_somewhere() -> None:
    """Every relative link in a README names a file that is there."""
    for readme in READMES:
        for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)", readme.read_text()):
            found = readme.parent / target if target else readme
            assert found.exists(), f"{readme}: {target}"
            assert not anchor or anchor in _anchors(found), f"{readme}: {target}#{anchor}"


def _anchors(readme: Path) -> set[str]:
    """Return the names of the headings of a README, as links use them."""
    headings = re.findall(r"^#+ (.*)$", readme.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_the_readme_is_a_door() -> None:
    """What it is, how to start, a tour, and links: two hundred lines at most."""
    assert len(README.splitlines()) <= 200


def block(name: str) -> str:
    """Return the code of a marked block of a README."""
    found = re.search(rf"<!-- tour:{name} -->\n *```\w+\n(.*?) *```", MANUAL, re.DOTALL)
    assert found is not None, name
    return dedent(found[1])


def shell(place: Place, script: str) -> str:
    """Run the lines of a block as a reader would, with this environment's `inbox`."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=place.folder,
        env={**place.environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert 0 == done.returncode, f"{shlex.quote(script)}: {done.stdout}{done.stderr}{place.log_text()}"
    return done.stdout


def test_the_tour_works(place: Place) -> None:
    """Every step of the README's tour does what the text around it says."""
    place.configure()
    place.start()
    assert "accepted" in shell(place, block("send"))
    place.until_status(1, "succeeded")
    assert (place.folder / "data" / "roomz.db").exists()
    assert "mismatch" in shell(place, block("refused"))
    restart(place, block("handler"))
    assert "somebody broke this" in paused(place, "broken", "dead")
    restart(place, block("handler").replace('raise RuntimeError("somebody broke this")', 'return "hello"'))
    assert "the handler is repaired" in paused(place, "replay", "succeeded")
    asked = shell(place, f"export PATH={Path(program('curl', 'curl')).parent}:$PATH\n{at_port(place, block('json'))}")
    events, action = map(json.loads, asked.splitlines())
    assert [2, 1] == [row["id"] for row in events["events"]]
    assert ("token laptop", "once more", 2) == (action["who"], action["why"], action["total"])
    eventually(lambda: place.json("actions")[0]["state"] == "done", "the action is done")


def at_port(place: Place, script: str) -> str:
    """Return a block as it would be where the port is not the default."""
    assert ":8000/" in script
    return script.replace(":8000/", f":{place.port}/")


def test_every_endpoint_is_in_the_manual() -> None:
    """With its method, as the document of the JSON endpoints has it."""
    table = MANUAL.partition("## JSON for programs")[2].partition("\n## ")[0]
    found = set(re.findall(r"`([A-Z]+) (/[^`]*)`", table))
    expected = {(method.upper(), path) for path, methods in document()["paths"].items() for method in methods}
    assert expected == found


def restart(place: Place, code: str) -> None:
    """Stop `inbox run`, write the tour's handler, and start it again."""
    place.stop()
    place.handler("tour", code)
    place.start()


def paused(place: Place, name: str, status: str) -> str:
    """Run a block, but wait for what its `sleep` is for: the second event's status, which has to come within it."""
    before, pause, after = re.split(r"^sleep (\d+)\n", block(name), flags=re.MULTILINE)
    shell(place, before)
    eventually(lambda: place.event(2)["status"] == status, f"event 2 is {status}", float(pause))
    return shell(place, after)
