"""`backup` and `restore`: the database into a file that was read to its end, and back."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from inbox.cli.opened import opened
from inbox.cli.tables import console
from inbox.models import iso
from inbox.store import sqlite
from inbox.store.base import Filter
from inbox.store.sqlite.backup import Contents, Tell


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def backup(file: Path, force: bool) -> None:
    """Copy the database to FILE, also while the inbox runs; FILE appears when all of the copy was read and is whole.

    It has every event that was acknowledged before the command was called, and the same secrets as the database.
    """
    settings = opened().settings
    with _bar() as tell:
        found = sqlite.back_up(settings.database, file, force=force, reserved=settings.inbox.reserved_bytes, tell=tell)
    click.echo(f"{file}: {_said(found)}; all of it was read, and is whole")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def restore(file: Path) -> None:
    """Put the copy FILE in the place of the database, which must not be there, while nothing runs.

    FILE is read to its end first and stays as it is. What waited or ran when it was made runs when the inbox starts.
    """
    runtime = opened()
    database = runtime.settings.database
    with _bar() as tell:
        found = sqlite.restore(file, database, at=runtime.clock(), tell=tell)
    runtime.queue.sweep()
    unrouted, waiting = runtime.archive.count(Filter(status="received")), sum(runtime.archive.backlog().values())
    click.echo(f"{database}: {_said(found)}")
    click.echo(f"{unrouted} events and {waiting} deliveries wait; they run when the inbox starts")


def _said(found: Contents) -> str:
    newest = f", the newest {found.newest[0]} of {iso(found.newest[1])}" if found.newest is not None else ""
    return f"{found.rows['events']} events{newest}, {found.size / 2**20:.1f} MiB"


@contextmanager
def _bar() -> Iterator[Tell]:
    """Show what is done where a person is watching; SIGTERM ends it as Ctrl-C does, so that no part of a copy stays."""
    before = signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total or None)
    finally:
        signal.signal(signal.SIGTERM, before)


COMMANDS = (backup, restore)
