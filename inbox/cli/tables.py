"""How lists and times are printed: a table for people, `--json` for programs."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from inbox.identity import printable
from inbox.models import iso

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
    "quarantined": "yellow",
    "conflict": "yellow",
    "unhandled": "yellow",
    "dead": "red",
    "failed": "red",
    "error": "red",
}

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def console(*, stderr: bool = False) -> Console:
    """Return a console that is as wide as the terminal, and wide where there is none."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 200, highlight=False, soft_wrap=False)


def dump(value: Any) -> None:
    """Print JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


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
    return "\n".join(printable(line) for line in str(text).split("\n"))


def _cell(column: str, value: Any) -> Text:
    shown = "" if value is None else safe(value)
    return Text(shown, style=COLOURS.get(shown, "") if column in ("status", "result", "state") else "")
