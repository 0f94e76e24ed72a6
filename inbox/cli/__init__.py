"""The command `inbox`. Each command wires a Runtime, calls one verb of it, and prints."""

import os
from pathlib import Path
from typing import Any

import click
from click.exceptions import Exit

from inbox import __version__, log
from inbox.cli import (
    alarms,
    backup,
    cancel,
    deploy,
    doctor,
    look,
    processes,
    prune,
    release,
    replay,
    send,
    setup,
    torture,
)
from inbox.errors import InboxError


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InboxError as error:
            click.echo(f"inbox: {error}", err=True)
            raise Exit(1) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise Exit(0) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, package_name="webhook-inbox")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="INBOX_CONFIG",
    help="inbox.toml to use; default: INBOX_CONFIG, else the one in this folder.",
)
@click.option("--log-level", type=click.Choice(log.LEVELS), default="info", envvar="INBOX_LOG_LEVEL", show_default=True)
def main(config: Path | None, log_level: str) -> None:
    """Receive webhooks, keep them, run handlers on them, and run them again."""
    os.umask(0o077)
    os.environ["INBOX_LOG_LEVEL"] = log_level
    if config is not None:
        os.environ["INBOX_CONFIG"] = str(config.absolute())
    log.configure(log_level)


for command in (
    *setup.COMMANDS,
    *doctor.COMMANDS,
    *alarms.COMMANDS,
    *processes.COMMANDS,
    *deploy.COMMANDS,
    *look.COMMANDS,
    *release.COMMANDS,
    *replay.COMMANDS,
    *cancel.COMMANDS,
    *send.COMMANDS,
    *backup.COMMANDS,
    *prune.COMMANDS,
    *torture.COMMANDS,
):
    main.add_command(command)
