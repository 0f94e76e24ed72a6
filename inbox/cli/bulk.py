"""What the commands share that act on many events: left to the worker, or done here, with a bar and to the end."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from inbox.cli.output import console
from inbox.replay.action_runner import pace
from inbox.replay.planner import Replayed
from inbox.runtime import Runtime
from inbox.store.protocols import Filter
from inbox.store.protocols_actions import ActionKind
from inbox.ui.services import actions

HOLD = 10.0
"""Seconds for which a command keeps an action from the worker; if it dies, the worker goes on with it after that."""

ASK_FROM = 2
"""From so many events on, a command asks before it starts."""


def wanted_or_ids(ids: tuple[int, ...], wanted: Filter, command: str) -> dict[str, Any]:
    """Return the selection as `wanted` or `ids` of `actions.begin`. Raises UsageError if it is none, or both."""
    if bool(ids) == (wanted != Filter()):
        raise click.UsageError(f"name events by ID, or by at least one filter, not both: see inbox {command} --help")
    return {"ids": ids} if ids else {"wanted": wanted}


def previewed(runtime: Runtime, kind: ActionKind, **selection: Any) -> int:
    """Return how many events an action would be about, and say what a search for text does not see."""
    found = actions.preview(runtime, kind, **selection)
    for sentence in found["said"]:
        click.echo(f"not searched: {sentence}", err=True)
    return int(found["count"])


def leave(runtime: Runtime, action_id: int) -> None:
    """Say that the worker does it, and whether there is one."""
    row = actions.action(runtime, action_id)
    click.echo(f"action {action_id} was begun: {row['total']} events; `inbox actions` tells how far it is")
    if gone := actions.no_worker(runtime):
        click.echo(f"inbox: {gone}: it is done when `inbox run` or `inbox worker` runs", err=True)


def carry_out(
    runtime: Runtime, action_id: int, *, at_once: int, rate: float | None = None, quiet: bool = False
) -> Iterator[Replayed]:
    """Do an action here, and yield what became of each event; Ctrl-C stops it.

    Where this process ends in the middle of it, a worker goes on. After each step as much time as it took is left to
    those who write meanwhile.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console(stderr=True))
    row = runtime.acting.action(action_id)
    with contextlib.nullcontext() if quiet else bar, _stopping(runtime, action_id, row["who"]):
        task = bar.add_task(row["kind"], total=row["total"])
        size, wait = (at_once, 0.0) if rate is None else pace(rate)
        while row["state"] in ("waiting", "running"):
            start = time.monotonic()
            done = runtime.performer.step(row, min(size, at_once), hold=HOLD)
            yield from done or ()
            bar.advance(task, len(done or ()))
            row = runtime.acting.action(action_id)
            if row["state"] == "running":
                _sleep(runtime, action_id, wait or min(time.monotonic() - start, 0.1))
    actions.wake(runtime)


@contextlib.contextmanager
def _stopping(runtime: Runtime, action_id: int, who: str) -> Iterator[None]:
    """Stop the action when this command is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        actions.stop(runtime, action_id, who)
        raise


def _sleep(runtime: Runtime, action_id: int, seconds: float) -> None:
    """Wait, and hold the action meanwhile."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, HOLD / 3))
        if left > HOLD / 3:
            runtime.acting.hold(action_id, runtime.steady() + HOLD)
