"""`replay` and `replays`: run old events again."""

import contextlib
import getpass
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from inbox.cli.filters import filters
from inbox.cli.opened import opened
from inbox.cli.tables import as_json, console, dump, instant, safe, table
from inbox.desk.events import require_complete
from inbox.errors import NotFound, StoreError
from inbox.replay import Replayed
from inbox.store.base import Filter

ASK_FROM = 2
"""From so many events on, `replay` asks before it starts."""

AT_ONCE = 32
"""So many events are replayed in one transaction, which is short enough for those who write meanwhile."""

FIELDS = ("created", "expedited", "running", "problem")
TEXTS = {
    "expedited": "made due at once",
    "running": "running already",
    "invalid": "still invalid (`inbox show ID` says where)",
    "no handler": "without a handler that matches",
    "pruned": "without a body: pruned, and lost to handlers",
    "erased": "erased: nothing is left of them to run",
    "failed": "failed",
}


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
    for sentence in require_complete(runtime, wanted):
        click.echo(f"not searched: {sentence}", err=True)
    replayer = runtime.replayer
    total = len(ids) or runtime.archive.count(wanted)
    events = iter([runtime.archive.event(event_id) for event_id in ids]) if ids else replayer.select(wanted)
    if dry_run:
        plans = (_guarded(event, lambda it: replayer.plan(it, handler, force=force)) for event in events)
        return _finish(Tally(as_json, dry=True), plans)
    if total >= ASK_FROM and not yes:
        click.confirm(f"Run {total} events again?", abort=True, err=True)
    selection = {"ids": list(ids)} if ids else {key: value for key, value in asdict(wanted).items() if value}
    replay_id = replayer.start(who=user(), why=why, selection=selection, handler=handler)
    tally = Tally(as_json)
    pages = _paced(events, total, rate, quiet=as_json)
    done = (one for page in pages for one in replayer.replay_all(page, handler, replay_id, force=force))
    try:
        _finish(tally, done)
    finally:
        replayer.end(replay_id, events=tally.events, deliveries=tally.counts["created"])


def _guarded(event: dict[str, Any], action: Callable[[dict[str, Any]], Replayed]) -> Replayed:
    """Return what `action` does with the event, or say why it failed: the events after it have their turn anyway."""
    try:
        return action(event)
    except StoreError:
        raise
    except Exception as error:
        return Replayed(event["id"], problem="failed", error=str(error))


def user() -> str:
    """Return the user's name; in a container the number may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _paced(
    events: Iterator[dict[str, Any]], total: int, rate: float | None, *, quiet: bool
) -> Iterator[list[dict[str, Any]]]:
    """Yield the events a few at a time, no faster than `rate` per second, with a progress bar for people.

    Each few are one transaction; after it as much time again is left to those who write meanwhile.
    """
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console(stderr=True))
    size = AT_ONCE if rate is None else max(1, min(AT_ONCE, int(rate / 10)))
    begun, number = time.monotonic(), 0
    with contextlib.nullcontext() if quiet else bar:
        task = bar.add_task("replay", total=total)
        while page := list(islice(events, size)):
            if rate:
                time.sleep(max(0.0, begun + number / rate - time.monotonic()))
            start = time.monotonic()
            yield page
            number += len(page)
            bar.advance(task, len(page))
            if not rate:
                time.sleep(min(time.monotonic() - start, 0.1))


class Tally:
    """Counts what became of events, and prints each at once where JSON is wanted: there may be very many."""

    def __init__(self, as_json: bool, *, dry: bool = False) -> None:
        self.events = 0
        self.counts: Counter[str] = Counter()
        self._as_json = as_json
        self._would = "would be " if dry else ""

    def add(self, one: Replayed) -> None:
        """Count an event, and name it if it failed."""
        if one.error:
            click.echo(f"inbox: event {one.event_id}: {safe(one.error)}", err=True)
        if self._as_json:
            row = {"id": one.event_id, **{name: getattr(one, name) for name in FIELDS}}
            click.echo(("[\n" if not self.events else ",\n") + f"  {json.dumps(row)}", nl=False)
        self.events += 1
        self.counts[one.problem] += 1
        for name in ("created", "expedited", "running"):
            self.counts[name] += getattr(one, name)

    def __str__(self) -> str:
        if self._as_json:
            return "\n]" if self.events else "[]"
        parts = [f"{self.events} events, {self.counts['created']} deliveries {self._would}made"]
        return "; ".join(parts + [f"{self.counts[key]} {text}" for key, text in TEXTS.items() if self.counts[key]])


def _finish(tally: Tally, done: Iterable[Replayed]) -> None:
    for one in done:
        tally.add(one)
    click.echo(str(tally))
    if tally.counts["failed"]:
        raise click.exceptions.Exit(1)


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
