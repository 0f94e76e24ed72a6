"""`cancel`: end work that waits and that nobody wants any more, such as that of a handler that was renamed."""

import click

from inbox.cli.opened import opened
from inbox.cli.replay import user
from inbox.store.base import Waiting


@click.command()
@click.argument("ids", metavar="[ID]...", type=int, nargs=-1)
@click.option("--handler", help="Only what waits for this handler, also one that is gone.")
@click.option("--why", default="", help="A note that is kept with each delivery.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def cancel(ids: tuple[int, ...], handler: str | None, why: str, yes: bool) -> None:
    """Cancel the deliveries that wait for a handler, or for all handlers of events named by ID.

    What runs goes on, what has ended stays, and `inbox replay` can still run a cancelled one again.
    """
    if not ids and not handler:
        raise click.UsageError("name events by ID, or a --handler, or both")
    runtime = opened()
    for named in ids:
        runtime.archive.event(named)
    if not ids and not yes:
        waiting = runtime.archive.backlog().get(handler or "", 0)
        click.confirm(f"Cancel {waiting} deliveries to {handler}?", abort=True, err=True)
    note = f"cancelled by {user()}" + (f": {why}" if why else "")
    number = 0
    selected: tuple[int | None, ...] = ids or (None,)
    for event_id in selected:
        while done := runtime.archive.cancel(Waiting(event_id, handler), note=note, at=runtime.clock()):
            number += done
    click.echo(f"{number} deliveries cancelled")


COMMANDS = (cancel,)
