"""How lists and times are printed: a table for people, `--json` for programs."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from inbox.core.models import iso
from inbox.verify.event_key import printable

COLOURS = {
    "succeeded": "green",
    "accepted": "green",
    "ready": "green",
    "loaded": "green",
    "received": "cyan",
    "processing": "cyan",
    "running": "cyan",
    "pending": "cyan",
    "retrying": "yellow",
    "parked": "yellow",
    "waiting": "cyan",
    "stopped": "yellow",
    "quarantined": "yellow",
    "conflict": "yellow",
    "unhandled": "yellow",
    "dead": "red",
    "failed": "red",
    "error": "red",
}

_UNSAFE = re.compile("[\x7f-\x9f\ud800-\udfff\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Controls that JSON does not escape, halves of characters, and marks that reverse what is read."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command to end, as it does when `click.echo` finds the pipe closed."""
        raise BrokenPipeError


def console(*, stderr: bool = False) -> Console:
    """Return a console that is as wide as the terminal, and wide where there is none."""
    stream = sys.stderr if stderr else sys.stdout
    return _Console(stderr=stderr, width=None if stream.isatty() else 200, highlight=False, emoji=False)


def dump(value: Any) -> None:
    """Print JSON; what could move or mislead a terminal is written as an escape, which means the same."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo(_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, empty: str) -> None:
    """Print rows as a table, or what to do when there is none. What strangers sent is shown as plain text."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(
            column.replace("_", " "),
            justify="right" if column in ("id", "events", "size") else "left",
            overflow="fold" if column in ("diagnosis", "failure", "error") else "ellipsis",
        )
    found = False
    for row in rows:
        found = True
        grid.add_row(*(_cell(column, row.get(column)) for column in columns))
    console().print(grid if found else Text(empty))


def instant(seconds: float | None) -> str | None:
    """Return Unix seconds as ISO 8601, None as None."""
    return iso(seconds) if seconds is not None else None


def safe(text: object) -> str:
    """Return text that cannot move the terminal's cursor or colour it, line breaks kept."""
    lines = (printable(line) for line in str(text).split("\n"))
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", "\n".join(lines))


def _cell(column: str, value: Any) -> Text:
    shown = "" if value is None else safe(value)
    return Text(shown, style=COLOURS.get(shown, "") if column in ("status", "result", "state") else "")
