"""`clock`: whether the time of day is believed, and saying that it is right."""

from typing import Any

import click

from inbox.cli.context import opened
from inbox.cli.output import as_json, dump, instant
from inbox.core.elapsed import SETTLE, Passed
from inbox.operate.alarms.silence import ago
from inbox.runtime import Runtime


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def clock(context: click.Context, as_json: bool) -> None:
    """Tell whether the time of day is believed, and old data deleted; `inbox clock confirm` says that it is right."""
    if context.invoked_subcommand is not None:
        return
    runtime = opened()
    passed = runtime.watching.timekeeper.look()
    if as_json:
        return dump([_row(runtime, passed)])
    for sentence in sentences(passed):
        click.echo(sentence)


@clock.command()
@click.option("--count", is_flag=True, help="The time by which it jumped ahead has passed: the machine was off.")
def confirm(count: bool) -> None:
    """Believe the time of day from now on, and delete what is old enough again.

    Without --count the jump makes nothing older: what would have been deleted in a month is deleted in a month.
    """
    runtime = opened()
    keeper = runtime.watching.timekeeper
    gap = keeper.look().gap
    keeper.confirm(count=count)
    counts = "counts" if count and gap > 0 else "makes nothing older"
    click.echo(f"it is {instant(runtime.clock())}" + (f"; the jump by {_span(gap)} {counts}" if gap else ""))


def sentences(passed: Passed) -> list[str]:
    """Return what there is to say about the clock, for people."""
    found = [f"it is {instant(passed.clocks.wall)}"]
    if not passed.doubtful:
        found.append("the clock is believed: it goes in step with the time that passes")
        if passed.jumped_at is not None:
            found.append(f"in the last hour it jumped by {_span(passed.jump)}, and back")
        return found
    left = ago(max(0.0, SETTLE - passed.settled))
    return [
        *found,
        f"the clock is in doubt: it jumped by {_span(passed.gap)}, to where no more time passed than until "
        f"{instant(passed.known)}",
        "nothing is deleted for its age until it is right again",
        f"if it is right now: `inbox clock confirm`; if it stays in step, that happens by itself in {left}",
        "if the machine was off for that long: `inbox clock confirm --count`, and that time makes data older",
    ]


def _row(runtime: Runtime, passed: Passed) -> dict[str, Any]:
    return {
        "at": instant(runtime.clock()),
        "known": instant(passed.known),
        "doubtful": passed.doubtful,
        "gap": passed.gap,
        "settled": passed.settled,
        "jumped_at": instant(passed.jumped_at) if passed.jumped_at is not None else None,
        "jump": passed.jump,
    }


def _span(seconds: float) -> str:
    return f"{'+' if seconds > 0 else '-'}{ago(abs(seconds))}"


COMMANDS = (clock,)
