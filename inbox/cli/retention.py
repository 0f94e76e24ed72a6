"""`prune`, `compact`, `keep`, `unkeep` and `kept`: what is deleted, what is not, and the room that it gives."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import click

from inbox.cli.context import opened
from inbox.cli.event_filters import filters, of_handler
from inbox.cli.output import as_json, dump, instant, table
from inbox.cli.replay import user
from inbox.core.errors import NotFound
from inbox.operate.retention import Pruned
from inbox.runtime import Runtime
from inbox.store import sqlite
from inbox.store.protocols import Filter
from inbox.ui.services.event_search import require_complete

MIB = 2**20
PAGE = 500


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would go now, and delete nothing.")
@as_json
def prune(dry_run: bool, as_json: bool) -> None:
    """Delete what the settings in [retention] and of the sources let go; the worker does this every minute.

    In small steps, so that it can run beside everything else. Ctrl-C ends it; what went is gone.
    """
    pruner = opened().pruner
    done = list(pruner.plan() if dry_run else pruner.run())
    given = 0 if dry_run else pruner.give_back()
    if as_json:
        return dump([asdict(item) for item in done])
    if not pruner.wanted and not done:
        return click.echo("Nothing is ever pruned: no setting in [retention] or of a source says so.")
    _print(done, dry_run)
    if given:
        click.echo(f"{given / MIB:.1f} MiB were given back to the file system")
    space = opened().keeping.space()
    if not space.in_steps and space.free > MIB:
        click.echo(f"{space.free / MIB:.1f} MiB of the file are free: used again, or given back by `inbox compact`")


def _print(done: list[Pruned], dry_run: bool) -> None:
    rows = [{**asdict(item), "source": item.source or "(unknown address)"} for item in done if item.rows or item.kept]
    table(rows, ("source", "kind", "by", "rows", "bytes", "kept"), empty="Nothing is old enough, or too much.")
    total, size, kept = (sum(getattr(item, name) for item in done) for name in ("rows", "bytes", "kept"))
    word = "would go" if dry_run else "went"
    click.echo(
        f"{total} rows with about {size / MIB:.1f} MiB {word}" + (f"; {kept} are kept: `inbox kept`" if kept else "")
    )


@click.command()
def compact() -> None:
    """Write the database anew, as small as it can be, while nothing runs.

    Needed once for a database from before there was retention; from then on pruning gives its room back.
    """
    path = opened().settings.database
    before = path.stat().st_size if path.exists() else 0
    click.echo(f"{path}: {before / MIB:.1f} MiB before, {sqlite.compact(path) / MIB:.1f} MiB now")


@click.command()
@click.argument("ids", metavar="[ID]...", type=int, nargs=-1)
@filters
@of_handler
@click.option("--why", default="", help="A note that is kept with each event.")
@click.option("--later", is_flag=True, help="Also what comes later: a hold, by source, type and times of receipt.")
def keep(ids: tuple[int, ...], wanted: Filter, why: str, later: bool) -> None:
    """Keep events from being pruned and erased: by id, or all that match the filters now, and with --later for ever.

    `inbox unkeep --hold NUMBER` ends a hold that was made with --later.
    """
    runtime, who = opened(), user()
    _checked(runtime, ids, wanted)
    if later:
        if ids or wanted != Filter(wanted.source, wanted.type, since=wanted.since, until=wanted.until):
            raise click.UsageError("a hold is by --source, --type, --since and --until; the rest can change later")
        hold = runtime.keeping.hold(wanted, at=runtime.clock(), who=who, why=why)
        covered = runtime.archive.count(wanted)
        return click.echo(f"hold {hold}: {covered} events, and those that come, are kept from now on")
    keep, at = runtime.keeping.keep, runtime.clock()
    number = _all(runtime, wanted, ids, lambda which, these: keep(which, these, at=at, who=who, why=why))
    click.echo(f"{number} events are kept from now on")


@click.command()
@click.argument("ids", metavar="[ID]...", type=int, nargs=-1)
@filters
@of_handler
@click.option("--hold", type=int, metavar="NUMBER", help="End this hold instead; `inbox kept --holds` lists them.")
def unkeep(ids: tuple[int, ...], wanted: Filter, hold: int | None) -> None:
    """Let events be pruned again that were kept: by id, or all that match the filters, or all of a hold.

    What a hold covers stays kept until it ends.
    """
    runtime = opened()
    if hold is not None:
        if ids or wanted != Filter():
            raise click.UsageError("name events or a hold, not both")
        if not runtime.keeping.end_hold(hold, at=runtime.clock(), who=user()):
            raise NotFound(f"there is no hold {hold} that has not ended")
        return click.echo(f"hold {hold} has ended")
    _checked(runtime, ids, wanted)
    click.echo(f"{_all(runtime, wanted, ids, runtime.keeping.unkeep)} events are no longer kept")


def _checked(runtime: Runtime, ids: tuple[int, ...], wanted: Filter) -> None:
    """Raise UsageError unless events are named in one way, and NotFound for an id that is none."""
    if bool(ids) == (wanted != Filter()):
        raise click.UsageError("name events by ID, or by at least one filter, not both")
    for named in ids:
        runtime.archive.event(named)
    for sentence in require_complete(runtime, wanted):
        click.echo(f"not searched: {sentence}", err=True)


def _all(runtime: Runtime, wanted: Filter, ids: tuple[int, ...], step: Callable[[Filter, Sequence[int]], int]) -> int:
    """Return the sum of the steps; events with some text are found first, page by page."""
    number = 0
    if wanted.text is None:
        while done := step(wanted, ids):
            number += done
        return number
    after = 0
    while page := runtime.archive.events(replace(wanted, after=after), PAGE):
        after = page[-1]["id"]
        number += step(Filter(), [row["id"] for row in page])
    return number


@click.command()
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@click.option("--holds", is_flag=True, help="List the holds instead, also those that have ended.")
@as_json
def kept(limit: int, holds: bool, as_json: bool) -> None:
    """List the events that are kept from being pruned one by one, since when, by whom and why; or the holds."""
    if holds:
        return _list_holds(as_json)
    rows = [{**row, "kept_at": instant(row["kept_at"])} for row in opened().keeping.kept(limit)]
    if as_json:
        return dump(rows)
    table(rows, ("id", "source", "type", "key", "status", "kept_at", "who", "why"), empty="Nothing is kept.")


def _list_holds(as_json: bool) -> None:
    times = ("at", "since", "until", "ended_at")
    rows = [{**row, **{name: instant(row[name]) for name in times}} for row in opened().keeping.holds()]
    if as_json:
        return dump(rows)
    columns = ("id", "source", "type", "since", "until", "at", "who", "why", "ended_at", "ended_by")
    table(rows, columns, empty="Nothing is held.")


COMMANDS = (prune, compact, keep, unkeep, kept)
