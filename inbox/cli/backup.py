"""`backup` and `restore`: the database into a file that was read to its end, and back."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from inbox.cli.context import opened
from inbox.cli.output import console
from inbox.cli.own_files import refuse_own
from inbox.cli.replay import user
from inbox.core.models import iso
from inbox.store import sqlite
from inbox.store.protocols import Filter
from inbox.store.sqlite.backup import Contents, Tell


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.option("--keys", is_flag=True, help="Copy the file of data keys instead: not for long, and to another place.")
def backup(file: Path, force: bool, keys: bool) -> None:
    """Copy the database to FILE, also while the inbox runs; FILE appears when all of the copy was read and is whole.

    It has every event that was acknowledged before the command was called, and the same secrets as the database.
    """
    runtime = opened()
    settings, sealer = runtime.settings, runtime.sealer
    reserved = settings.inbox.min_free_bytes
    refuse_own(settings, file)
    if keys:
        click.echo(f"{file}: {sealer.copy_keys(file, force=force)} data keys")
        return
    with _bar() as tell:
        found = sqlite.back_up(settings.database, file, force=force, reserved=reserved, tell=tell, sealer=sealer)
    click.echo(f"{file}: {_said(found)}; all of it was read, and is whole")
    _warn(found)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def restore(file: Path) -> None:
    """Put the copy FILE in the place of the database, which must not be there, while nothing runs.

    FILE is read to its end first and stays as it is. What waited or ran when it was made runs when the inbox starts.
    """
    runtime = opened()
    database = runtime.settings.database
    with _bar() as tell:
        found = sqlite.restore(file, database, at=runtime.clock(), tell=tell, sealer=runtime.sealer)
    if found.plain and runtime.sealer.on:
        click.echo(f"{found.plain} bodies in it are not sealed: `inbox reseal --plain` seals them", err=True)
    erased = runtime.erasing.reapply(runtime.clock(), user()) if runtime.sealer.on else 0
    runtime.queue.sweep()
    unrouted, waiting = runtime.archive.count(Filter(status="received")), sum(runtime.archive.backlog().values())
    click.echo(f"{database}: {_said(found)}")
    _warn(found)
    if erased:
        click.echo(f"{erased} events in it were erased after the copy was made, and are erased here too")
    click.echo(f"{unrouted} events and {waiting} deliveries wait; they run when the inbox starts")


def _warn(found: Contents) -> None:
    """Say what could be checked for being there only."""
    if found.unopened:
        click.echo(f"{found.unopened} bodies in it were not opened: there is no key for them here", err=True)


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
