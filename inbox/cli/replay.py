"""`replay` and `replays`: run old events again."""

import getpass
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import click

from inbox.cli.bulk import ASK_FROM, HOLD, carry_out, leave, previewed, wanted_or_ids
from inbox.cli.context import opened
from inbox.cli.event_filters import filters
from inbox.cli.output import as_json, dump, instant, safe, table
from inbox.replay.planner import Replayed
from inbox.runtime import Runtime
from inbox.store.protocols import Filter
from inbox.ui.services import actions

AT_ONCE = 32
"""So many events are replayed in one transaction, which is short enough for those who write meanwhile."""

PAGE = 500
"""So many events are looked at in one go by a dry run."""

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
@click.option("--background", is_flag=True, help="Leave it to the worker, and end at once.")
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
    background: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Run events again: by id, or all that match the filters, oldest first.

    Quarantined events are checked against today's schema first. A delivery that waits for its retry is made due at
    once instead of being doubled; one that is running is left alone. If this command is killed, the worker goes on.
    """
    selection = wanted_or_ids(ids, wanted, "replay")
    if background and (dry_run or as_json):
        raise click.UsageError("--background tells no more than its number: not with --dry-run or --json")
    runtime = opened()
    known = None if background else {spec.name for spec in runtime.known_handlers()}
    total = previewed(runtime, "replay", handler=handler, known=known, **selection)
    if dry_run:
        return _finish(Tally(as_json, dry=True), _planned(runtime, ids, wanted, handler, force=force))
    if total >= ASK_FROM and not yes:
        click.confirm(f"Run {total} events again?", abort=True, err=True)
    action_id = actions.begin(
        runtime,
        "replay",
        **(selection | {"who": user(), "why": why, "handler": handler, "force": force, "rate": rate}),
        known=known,
        hold=0.0 if background else HOLD,
    )
    if background:
        return leave(runtime, action_id)
    _finish(Tally(as_json), carry_out(runtime, action_id, at_once=AT_ONCE, rate=rate, quiet=as_json))


def _planned(
    runtime: Runtime, ids: tuple[int, ...], wanted: Filter, handler: str | None, *, force: bool
) -> Iterator[Replayed]:
    """Yield what replaying each event would come to."""
    after, before = wanted.after or 0, runtime.acting.newest() + 1
    for number in ids:
        yield runtime.replayer.plan(runtime.archive.event(number), handler, force=force)
    while not ids and (page := runtime.archive.events(replace(wanted, after=after, before=before), PAGE)):
        yield from (runtime.replayer.plan(event, handler, force=force) for event in page)
        after = page[-1]["id"]


def user() -> str:
    """Return the user's name; in a container the number may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


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
    """List who ran what again, and why; `inbox actions` has more."""
    rows = [shown(row) for row in actions.actions(opened(), limit, kind="replay")]
    if as_json:
        return dump(rows)
    table(
        rows,
        ("id", "at", "who", "why", "selection", "handler", "state", "events", "deliveries"),
        empty="Nothing was replayed yet.",
    )


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return an action as it is printed."""
    texts = {"selection": json.dumps(row["selection"])}
    return {**row, **texts, "at": instant(row["at"]), "ended_at": instant(row["ended_at"])}


COMMANDS = (replay, replays)
