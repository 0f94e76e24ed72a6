"""The inbox that a command works on."""

import click

from inbox.notice import Notice
from inbox.runtime import Runtime
from inbox.snapshot import when


def opened() -> Runtime:
    """Return the inbox that the environment names; it is closed when the command ends. Raises ConfigError."""
    runtime = Runtime.from_environment()
    click.get_current_context().call_on_close(runtime.close)
    return runtime


def goes_on(told: Notice) -> str:
    """Return what a running inbox does while the files on disk would not start."""
    return f"what runs goes on with what it read at {when(told.at)}, but `inbox run` would not start any more"
