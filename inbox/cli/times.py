"""Points in time as people write them on a command line."""

import re
import time
from datetime import datetime
from typing import Any

import click

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Moment(click.ParamType[float]):
    """Unix seconds from an ISO 8601 date or time (local time unless it says otherwise), or from how long ago."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return Unix seconds; fails with what is allowed."""
        if isinstance(value, float):
            return value
        text = str(value).strip()
        ago = _AGO.fullmatch(text)
        if ago:
            return time.time() - float(ago[1]) * _UNITS[ago[2]]
        try:
            return datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is no time; allowed: 2026-01-31, 2026-01-31T09:00, 30m, 2h, 7d", param, ctx)
