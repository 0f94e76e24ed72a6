"""How an event is named on the command line."""

from typing import Any

import click

from inbox.verify.event_key import REQUEST_ID


class Identity(click.ParamType[int | str]):
    """An event's number, or the id of the request that it came with."""

    name = "ID"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return a number or a request id."""
        if REQUEST_ID.fullmatch(value):
            return str(value)
        return int(click.INT.convert(value, param, ctx))
