"""`alarms`: what is wrong now, what was, who was told, and whether telling works."""

from collections.abc import Iterable, Sequence
from typing import Any

import click

from inbox.cli.context import opened
from inbox.cli.output import as_json, dump, instant, table


@click.group(invoke_without_command=True)
@click.option("--history", is_flag=True, help="List starts and ends instead, newest first, with how they were told.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@as_json
@click.pass_context
def alarms(context: click.Context, history: bool, limit: int, as_json: bool) -> None:
    """List what the alarms watch, those that are on first; `inbox alarms test` sends a test message."""
    if context.invoked_subcommand is not None:
        return
    book = opened().watching.alarm_book
    if history:
        rows = [_changed(row) for row in book.changes(limit)]
        empty = "No alarm has started or ended."
        columns: Sequence[str] = ("at", "alarm", "subject", "what", "text", "told")
    else:
        rows = [
            {
                "alarm": state.alarm,
                "subject": state.subject,
                "state": "on" if state.on else "off",
                "since": instant(state.since),
                "text": state.text,
            }
            for state in book.states()[:limit]
        ]
        empty = "Nothing was looked at yet: start `inbox run`."
        columns = ("alarm", "subject", "state", "since", "text")
    if as_json:
        return dump(rows)
    table([{**row, "told": _in_words(row.get("told", ()))} for row in rows], columns, empty=empty)


@alarms.command()
@as_json
def test(as_json: bool) -> None:
    """Send a test message by every configured way, and tell what came of it; exit 1 if one fails."""
    found = opened().watching.watchman.test()
    rows = [{"way": way, "state": "failed" if error else "sent", "error": error} for way, error in found.items()]
    if as_json:
        dump(rows)
    else:
        table(rows, ("way", "state", "error"), empty="Nobody would be told: set email, webhook or command in [alarms].")
    if not rows or any(row["error"] for row in rows):
        raise click.exceptions.Exit(1)


def _changed(row: dict[str, Any]) -> dict[str, Any]:
    told = [{**told, "at": instant(told["at"])} for told in row["told"]]
    return {**row, "at": instant(row["at"]), "told": told}


def _in_words(told: Iterable[dict[str, Any]]) -> str:
    return ", ".join(
        f"{item['way']} {item['state']}" + (f" ({item['error']})" if item["error"] else "") for item in told
    )


COMMANDS = (alarms,)
