"""`cancel` and `ignore`: end work that nobody wants any more, and events that nobody needs to see to."""

import click

from inbox.cli.bulk import ASK_FROM, HOLD, carry_out, leave, previewed, wanted_or_ids
from inbox.cli.context import opened
from inbox.cli.event_filters import filters
from inbox.cli.replay import user
from inbox.store.protocols import Filter
from inbox.ui.services import actions

AT_ONCE = 50
"""So many events are seen to in one transaction."""

background = click.option("--background", is_flag=True, help="Leave it to the worker, and end at once.")
unasked = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@click.command()
@click.argument("ids", metavar="[ID]...", type=int, nargs=-1)
@filters
@click.option("--handler", help="Only what waits for this handler, also one that is gone.")
@click.option("--why", default="", help="A note that is kept with each delivery.")
@background
@unasked
def cancel(ids: tuple[int, ...], wanted: Filter, handler: str | None, why: str, background: bool, yes: bool) -> None:
    """Cancel the deliveries that wait: of events named by ID or by filters, for a handler, or both.

    What runs goes on, what has ended stays, and `inbox replay` can still run a cancelled one again.
    """
    chosen = {"ids": ids} if ids and wanted == Filter() else {"wanted": wanted}
    if not handler or (ids and wanted != Filter()):
        chosen = wanted_or_ids(ids, wanted, "cancel")
    runtime = opened()
    total = previewed(runtime, "cancel", handler=handler, **chosen)
    if not ids and not yes:
        waiting = f"{runtime.archive.backlog().get(handler or '', 0)} deliveries to {handler}"
        click.confirm(
            f"Cancel {waiting if wanted == Filter() else f'what waits of {total} events'}?", abort=True, err=True
        )
    hold = 0.0 if background else HOLD
    action_id = actions.begin(runtime, "cancel", who=user(), why=why, handler=handler, hold=hold, **chosen)
    if background:
        return leave(runtime, action_id)
    for _ in carry_out(runtime, action_id, at_once=AT_ONCE, quiet=bool(ids)):
        pass
    click.echo(f"{actions.action(runtime, action_id)['deliveries']} deliveries cancelled")


@click.command()
@click.argument("ids", metavar="[ID]...", type=int, nargs=-1)
@filters
@click.option("--why", default="", help="A note that is kept with the action.")
@background
@unasked
def ignore(ids: tuple[int, ...], wanted: Filter, why: str, background: bool, yes: bool) -> None:
    """Mark quarantined events and conflicts as seen and ignored: by ID, or all that match the filters.

    They are still there, and `inbox replay` can still run them.
    """
    chosen = wanted_or_ids(ids, wanted, "ignore")
    runtime = opened()
    total = previewed(runtime, "ignore", **chosen)
    if total >= ASK_FROM and not yes:
        click.confirm(f"Ignore {total} events?", abort=True, err=True)
    hold = 0.0 if background else HOLD
    action_id = actions.begin(runtime, "ignore", who=user(), why=why, hold=hold, **chosen)
    if background:
        return leave(runtime, action_id)
    for _ in carry_out(runtime, action_id, at_once=AT_ONCE, quiet=bool(ids)):
        pass
    row = actions.action(runtime, action_id)
    ignored = row["results"].get("ignored", 0)
    left = row["events"] - ignored
    click.echo(f"{ignored} events ignored" + (f"; {left} neither quarantined nor in conflict" if left else ""))


COMMANDS = (cancel, ignore)
