"""The command `inbox`. Each command wires a Runtime, calls one verb of it, and prints.

A command's module is imported when the command is used: `inbox events` loads neither a server nor a torture.
"""

import errno
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from click.exceptions import Exit

from inbox import __version__
from inbox.core import log, streams
from inbox.core.errors import InboxError

_MODULES = {
    "init": "setup",
    "check": "setup",
    "doctor": "doctor",
    "alarms": "alarms",
    "clock": "clock",
    "run": "run",
    "reload": "run",
    "serve": "run",
    "worker": "run",
    "pages": "run",
    "deploy": "deploy",
    "sources": "show",
    "handlers": "show",
    "events": "show",
    "show": "show",
    "refusals": "show",
    "held": "release",
    "release": "release",
    "replay": "replay",
    "replays": "replay",
    "cancel": "cancel",
    "ignore": "cancel",
    "actions": "actions",
    "pause": "actions",
    "resume": "actions",
    "send": "send",
    "backup": "backup",
    "restore": "backup",
    "prune": "retention",
    "compact": "retention",
    "keep": "retention",
    "unkeep": "retention",
    "kept": "retention",
    "reseal": "sealing",
    "erase": "sealing",
    "erasures": "sealing",
    "admin": "admin",
    "torture": "torture",
}
"""The module in this folder that has a command."""


class _Group(click.Group):
    """Finds its commands when they are asked for: https://click.palletsprojects.com/en/stable/complex/."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        commands: tuple[click.Command, ...] = import_module(f"inbox.cli.{_MODULES[cmd_name]}").COMMANDS
        return next(command for command in commands if command.name == cmd_name)

    def main(self, *arguments: Any, **options: Any) -> Any:
        streams.stand_in()
        return super().main(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            done = super().invoke(ctx)
            sys.stdout.flush()
            return done
        except InboxError as error:
            click.echo(f"inbox: {error}", err=True)
            raise Exit(1) from None
        except BrokenPipeError:
            _print_no_more()
            raise Exit(0) from None
        except OSError as error:
            if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO):
                raise
            _print_no_more()
            click.echo(f"inbox: not everything could be written: {error.strerror}", err=True)
            raise Exit(1) from None


def _print_no_more() -> None:
    """Have the end of this process write to nothing what could not be printed."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, package_name="webhook-inbox")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="INBOX_CONFIG",
    help="inbox.toml to use; default: INBOX_CONFIG, else the one in this folder.",
)
@click.option("--log-level", type=click.Choice(log.LEVELS), default="info", envvar=log.LEVEL, show_default=True)
@click.option("--log-format", type=click.Choice(log.FORMATS), default="text", envvar=log.FORMAT, show_default=True)
def main(config: Path | None, log_level: str, log_format: str) -> None:
    """Receive webhooks, keep them, run handlers on them, and run them again."""
    os.umask(0o077)
    os.environ[log.LEVEL], os.environ[log.FORMAT] = log_level, log_format
    if config is not None:
        os.environ["INBOX_CONFIG"] = str(config.absolute())
    log.configure(log_level, log_format)
