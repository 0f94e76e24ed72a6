"""`replay` and `replays`: run old events again."""

import contextlib
import getpass
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from inbox.cli.look import filters
from inbox.cli.opened import opened
from inbox.cli.tables import as_json, console, dump, instant, safe, table
from inbox.errors import NotFound, StoreError
from inbox.replay import Replayed
from inbox.store.base import Filter

ASK_FROM = 2
"""From so many events on, `replay` asks before it starts."""


@click.command()
@click.argument("ids", metavar="[ID]...", type=int, nargs=-1)
@filters
@click.option("--handler", help="Only this handler, also one that did not exist when the events came.")
@click.option("--rate", type=click.FloatRange(min=0.01), help="At most so many events per second.")
@click.option("--why", default="", help="A note that is kept with the replay.")
@click.option("--force", is_flag=True, help="Also run handlers on quarantined events that still break their schema.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print an array with what became of each event.")
def replay(
    ids: tuple[int, ...],
    wanted: Filter,
    handler: str | None,
    rate: float | None,
    why: str,
    force: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Run events again: by id, or all that match the filters, oldest first.

    Quarantined events are checked against today's schema first. A delivery that waits for its retry is made due at
    once instead of being doubled; one that is running is left alone.
    """
    if bool(ids) == (wanted != Filter()):
        raise click.UsageError("name events by ID, or by at least one filter, not both: see inbox replay --help")
    runtime = opened()
    if handler and handler not in {spec.name for spec in runtime.known_handlers()}:
        raise NotFound(f"there is no handler {handler}; `inbox handlers` lists them")
    replayer = runtime.replayer
    total = len(ids) or runtime.archive.count(wanted)
    events = iter([runtime.archive.event(event_id) for event_id in ids]) if ids else replayer.select(wanted)
    if dry_run:
        plans = [_guarded(event, lambda it: replayer.plan(it, handler, force=force)) for event in events]
        return _finish(plans, as_json, dry=True)
    if total >= ASK_FROM and not yes:
        click.confirm(f"Run {total} events again?", abort=True, err=True)
    selection = {"ids": list(ids)} if ids else {key: value for key, value in asdict(wanted).items() if value}
    replay_id = replayer.start(who=user(), why=why, selection=selection, handler=handler)
    done: list[Replayed] = []
    try:
        for event in _paced(events, total, rate, quiet=as_json):
            done.append(_guarded(event, lambda it: replayer.replay(it, handler, replay_id, force=force)))
    finally:
        replayer.end(replay_id, events=len(done), deliveries=sum(item.created for item in done))
    _finish(done, as_json, dry=False)


def _guarded(event: dict[str, Any], action: Callable[[dict[str, Any]], Replayed]) -> Replayed:
    """Return what `action` does with the event, or say why it failed: the events after it have their turn anyway."""
    try:
        return action(event)
    except StoreError:
        raise
    except Exception as error:
        click.echo(f"inbox: event {event['id']}: {safe(error)}", err=True)
        return Replayed(event["id"], problem="failed")


def user() -> str:
    """Return the user's name; in a container the number may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _paced(
    events: Iterator[dict[str, Any]], total: int, rate: float | None, *, quiet: bool
) -> Iterator[dict[str, Any]]:
    """Yield the events no faster than `rate` per second, under a progress bar where a person is watching."""
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console(stderr=True))
    begun = time.monotonic()
    with contextlib.nullcontext() if quiet else bar:
        task = bar.add_task("replay", total=total)
        for number, event in enumerate(events):
            if rate:
                time.sleep(max(0.0, begun + number / rate - time.monotonic()))
            yield event
            bar.advance(task)


def _finish(done: list[Replayed], as_json: bool, *, dry: bool) -> None:
    if as_json:
        fields = ("created", "expedited", "running", "problem")
        dump([{"id": item.event_id, **{name: getattr(item, name) for name in fields}} for item in done])
    else:
        click.echo(_summary(done, dry=dry))
    if any(item.problem == "failed" for item in done):
        raise click.exceptions.Exit(1)


def _summary(done: list[Replayed], *, dry: bool) -> str:
    made, would = sum(item.created for item in done), "would be " if dry else ""
    parts = [f"{len(done)} events, {made} deliveries {would}made"]
    for text, number in (
        ("made due at once", sum(item.expedited for item in done)),
        ("running already", sum(item.running for item in done)),
        ("still invalid (`inbox show ID` says where)", sum(item.problem == "invalid" for item in done)),
        ("without a handler that matches", sum(item.problem == "no handler" for item in done)),
        ("without a body: pruned, and lost to handlers", sum(item.problem == "pruned" for item in done)),
        ("failed", sum(item.problem == "failed" for item in done)),
    ):
        if number:
            parts.append(f"{number} {text}")
    return "; ".join(parts)


@click.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@as_json
def replays(limit: int, as_json: bool) -> None:
    """List who ran what again, and why."""
    rows = [
        {**row, "at": instant(row["at"]), "ended_at": instant(row["ended_at"])}
        for row in opened().archive.replays(limit)
    ]
    if as_json:
        return dump(rows)
    table(
        rows,
        ("id", "at", "who", "why", "selection", "handler", "events", "deliveries"),
        empty="Nothing was replayed yet.",
    )


COMMANDS = (replay, replays)
