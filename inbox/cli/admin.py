"""`admin`: who may see the pages under /inbox/, and which programs may use the JSON endpoints."""

import sys

import click

from inbox.cli.context import opened
from inbox.cli.output import as_json, dump, instant, table
from inbox.ui.services import accounts


@click.group()
def admin() -> None:
    """Say who may see the pages under /inbox/, and make tokens for programs."""


@admin.command()
@click.option("--user", default=accounts.USER, show_default=True, help="Who logs in with it.")
def set_password(user: str) -> None:
    """Turn the pages on: set a password, which ends all logins of the user. Without a terminal it comes from stdin."""
    runtime = opened()
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    accounts.set_password(runtime, user, password)
    where = runtime.settings.admin.bind or f"{runtime.settings.server.host}:{runtime.settings.server.port}"
    click.echo(f"{user} can log in at /inbox/ of {where}.")


@admin.command()
@click.argument("user")
def remove_user(user: str) -> None:
    """Remove a user and end their logins; without any user the pages are off."""
    runtime = opened()
    accounts.remove_user(runtime, user)
    click.echo(f"{user} cannot log in any more." + ("" if accounts.is_on(runtime) else " The pages are off."))


@admin.command()
@click.argument("name")
def add_token(name: str) -> None:
    """Make a token for a program that uses the JSON endpoints, and print it: it is not shown again."""
    click.echo(accounts.add_token(opened(), name))


@admin.command()
@click.argument("name")
def remove_token(name: str) -> None:
    """End a token."""
    accounts.remove_token(opened(), name)
    click.echo(f"The token {name} is ended.")


@admin.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List users and tokens, and when they were used last."""
    found = opened().access
    rows = [
        {
            "kind": "user",
            "name": row["user"],
            "since": instant(row["set_at"]),
            "last_used_at": instant(row["last_login_at"]),
        }
        for row in found.users()
    ] + [
        {
            "kind": "token",
            "name": row["name"],
            "since": instant(row["made_at"]),
            "last_used_at": instant(row["last_used_at"]),
        }
        for row in found.tokens()
    ]
    if as_json:
        return dump(rows)
    table(rows, ("kind", "name", "since", "last_used_at"), empty="Nobody can log in: `inbox admin set-password`.")


COMMANDS = (admin,)
