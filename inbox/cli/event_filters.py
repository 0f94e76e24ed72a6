"""The options by which commands are told which events are meant."""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import click

from inbox.cli.params_times import Moment
from inbox.store.protocols import EVENT_STATUSES, Filter

Command = Callable[..., Any]


def filters(command: Command) -> Command:
    """Add the options that say which events are meant; the command gets them as `wanted`, a Filter."""

    @wraps(command)
    def with_filter(
        source: str | None,
        event_type: str | None,
        status: str | None,
        since: float | None,
        until: float | None,
        text: str | None,
        **others: Any,
    ) -> Any:
        return command(wanted=Filter(source, event_type, status, since, until, text=text), **others)

    found: Command = with_filter
    for option in (
        click.option("--text", help='Words that all are in the key, type or body; "a phrase" in quotes, beginning*.'),
        click.option("--until", type=Moment(), help="Received before this: 2026-01-31, 2026-01-31T09:00, 30m, 2h, 7d."),
        click.option("--since", type=Moment(), help="Received at or after this."),
        click.option("--status", type=click.Choice(EVENT_STATUSES)),
        click.option("--type", "event_type", help="Event type; may be a shell glob."),
        click.option("--source"),
    ):
        found = option(found)
    return found


def of_handler(command: Command) -> Command:
    """Add the option that says for which handler events have a delivery, to those of `filters`."""

    @wraps(command)
    def with_handler(wanted: Filter, handler: str | None, **others: Any) -> Any:
        return command(wanted=replace(wanted, handler=handler), **others)

    found: Command = click.option("--handler", help="Events that have a delivery for this handler.")(with_handler)
    return found
