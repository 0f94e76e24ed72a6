"""`actions`, `pause` and `resume`: what was done to many events, and what is to wait."""

from typing import Any

import click

from inbox.cli.context import opened
from inbox.cli.output import as_json, dump, instant, table
from inbox.cli.replay import shown, user
from inbox.store.protocols_actions import PAUSE_KINDS, PauseKind
from inbox.ui.services import actions as desk

COLUMNS = ("id", "kind", "state", "progress", "at", "who", "why", "selection", "handler", "results", "error")


@click.command()
@click.option("--stop", "stopped", metavar="ID", type=int, help="Stop this one where it is: what it did stays done.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@as_json
def actions(stopped: int | None, limit: int, as_json: bool) -> None:
    """List who replayed, cancelled or ignored what and why, and how far that is; newest first."""
    runtime = opened()
    if stopped is not None:
        if not desk.stop(runtime, stopped, user()):
            raise click.ClickException(f"action {stopped} has ended: it is {desk.action(runtime, stopped)['state']}")
        row = desk.action(runtime, stopped)
        return click.echo(f"action {stopped} stopped after {row['events']} of {row['total']} events")
    rows = [shown(row) for row in desk.actions(runtime, limit)]
    if as_json:
        return dump(rows)
    table([_line(row) for row in rows], COLUMNS, empty="Nothing was replayed, cancelled or ignored yet.")


def _line(row: dict[str, Any]) -> dict[str, Any]:
    results = ", ".join(f"{number} {name}" for name, number in row["results"].items())
    return {**row, "progress": f"{row['events']}/{row['total']}", "results": results}


@click.command()
@click.argument("kind", required=False, type=click.Choice(PAUSE_KINDS))
@click.argument("name", required=False)
@click.option("--why", default="", help="A note that is kept with the pause.")
@as_json
def pause(kind: PauseKind | None, name: str | None, why: str, as_json: bool) -> None:
    """Let the deliveries to a handler, or of a source's events, wait; without a name, list what is paused.

    Events are still accepted and stored, and what runs goes on; what waits runs after `inbox resume`.
    """
    runtime = opened()
    if kind is None:
        rows = [
            {**row, **{at: instant(row[at]) for at in ("at", "ended_at", "oldest")}} for row in desk.pauses(runtime)
        ]
        shown = ("kind", "name", "at", "who", "why", "waiting", "oldest", "ended_at")
        return dump(rows) if as_json else table(rows, shown, empty="Nothing is paused.")
    if name is None:
        raise click.UsageError(f"which {kind}? inbox pause {kind} NAME")
    done = desk.pause(runtime, kind, name, who=user(), why=why)
    click.echo(f"the {kind} {name} is paused" if done else f"the {kind} {name} was paused already")


@click.command()
@click.argument("kind", type=click.Choice(PAUSE_KINDS))
@click.argument("name")
def resume(kind: PauseKind, name: str) -> None:
    """End a pause: the deliveries that waited are run, what is due first comes first."""
    runtime = opened()
    desk.resume(runtime, kind, name, who=user())
    click.echo(f"the {kind} {name} is resumed")
    if gone := desk.no_worker(runtime):
        click.echo(f"inbox: {gone}: what waited runs when `inbox run` or `inbox worker` does", err=True)


COMMANDS = (actions, pause, resume)
