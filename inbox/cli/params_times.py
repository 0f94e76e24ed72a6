"""Points in time on a command line."""

import time
from typing import Any

import click

from inbox.core.times import moment


class Moment(click.ParamType[float]):
    """Unix seconds from an ISO 8601 date or time (local time unless it says otherwise), or from how long ago."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return Unix seconds; fails with what is allowed."""
        if isinstance(value, float):
            return value
        try:
            return moment(str(value), time.time())
        except ValueError as error:
            self.fail(str(error), param, ctx)
