"""`init` and `check`: from an empty folder to a configuration that works."""

import os
import re
import secrets
import shutil
import time
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from inbox.cli.output import safe
from inbox.core.config import snapshot
from inbox.core.config.settings import FILE
from inbox.core.run_status import notice, place

_REFERENCE = re.compile(r'^[^#\n]*"env:([A-Z0-9_]+)"', re.MULTILINE)


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=".")
def init(directory: Path) -> None:
    """Write inbox.toml, .env with random secrets, app.py, handlers/ and schemas/. Never overwrites anything."""
    os.umask(0o022)
    directory.mkdir(parents=True, exist_ok=True)
    template = files("inbox.cli").joinpath("template.toml").read_text("utf-8")
    _write(directory / FILE, template, 0o644)
    _write(directory / ".env", _environment(template), 0o600)
    for name in ("app.py", "handlers", "schemas"):
        _lay_down(_shipped(name), directory / name)
    click.echo(f"Now `inbox run`{'' if directory == Path() else f' in {directory}'}, then `inbox send roomz`.")


def _write(path: Path, text: str, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return click.echo(f"kept     {path}")
    click.echo(f"written  {path}")


def _environment(settings: str) -> str:
    """Return `.env` with a random secret for every env: reference that the settings make."""
    lines = [
        "# Secrets of the sources in inbox.toml, read at start; the process environment wins over this file.",
        "# These are random. A sender that issues its own secret (ROOMZ, Roomle, Breakcold) needs that one here.",
    ]
    for name in dict.fromkeys(_REFERENCE.findall(settings)):
        lines.append(f"{name}={secrets.token_hex(16)}")
    return "\n".join(lines) + "\n"


def _shipped(name: str) -> Traversable:
    """Return app.py, handlers/ or schemas/ as shipped: in an installed wheel, else in the checkout."""
    packaged = files("inbox").joinpath("project", name)
    return packaged if packaged.is_file() or packaged.is_dir() else Path(__file__).parents[2] / name


def _lay_down(origin: Traversable, target: Path) -> None:
    if target.exists():
        return click.echo(f"kept     {target}")
    if isinstance(origin, Path) and origin.is_dir():
        shutil.copytree(origin, target, ignore=shutil.ignore_patterns("__pycache__"))
    elif isinstance(origin, Path):
        shutil.copyfile(origin, target)
    click.echo(f"written  {target}")


@click.command()
def check() -> None:
    """Check configuration, secrets, schemas, store and handlers; exit 1 if something would not work."""
    from inbox.cli.context import goes_on, opened
    from inbox.cli.show import handler_rows
    from inbox.deliver.queue_file import pipe_at
    from inbox.process import startup_checks
    from inbox.tools.doctor import settings

    snapshot.inherit(os.environ)
    runtime = opened()
    problems = settings.problems(runtime)
    for name, provider in runtime.__dict__.get("sources", {}).items():
        for warning in provider.warnings():
            click.echo(f"warning: {FILE}: sources.{name}: {warning}", err=True)
    if schemas := runtime.__dict__.get("schemas"):
        for name, warning in schemas.warnings:
            click.echo(f"warning: {runtime.settings.inbox.schemas}/{name}: {warning}", err=True)
    for problem in problems:
        click.echo(f"inbox: {problem}", err=True)
    running = None if snapshot.in_use() else notice(place(runtime.settings.database))
    if problems and running is not None:
        click.echo(f"inbox: {goes_on(running, runtime)}", err=True)
    if problems:
        raise click.exceptions.Exit(1)
    if pipe := pipe_at(runtime.settings.path(runtime.settings.inbox.queue)).problem():
        click.echo(f"warning: {FILE}: inbox.queue: {pipe}: idle workers look every half second instead", err=True)
    for row in runtime.archive.sources():
        if row["held"]:
            hint = f"{row['held']} requests were not authentic and are held: `inbox release {row['source']}`"
            click.echo(f"warning: {FILE}: sources.{row['source']}: {hint} verifies them again", err=True)
    for row in handler_rows(runtime):
        if row["state"] == "gone":
            gone = f"{safe(row['handler'])} is gone, and {row['waiting']} deliveries wait for it"
            hint = "restore it, or `inbox replay` its events for another --handler, and"
            click.echo(f"warning: handlers: {gone}: {hint} `inbox cancel --handler {safe(row['handler'])}`", err=True)
    if running is not None and running.digest != startup_checks.take_snapshot(time.time())[1].digest:
        click.echo("warning: what runs was read before these files changed: `inbox reload` takes them over", err=True)
    handlers = len(runtime.registry.handlers)
    click.echo(f"{len(runtime.sources)} sources, {handlers} handlers: nothing is wrong")


COMMANDS = (init, check)
