"""The inbox that a command works on."""

import click

from inbox.runtime import Runtime


def opened() -> Runtime:
    """Return the inbox that the environment names; it is closed when the command ends. Raises ConfigError."""
    runtime = Runtime.from_environment()
    click.get_current_context().call_on_close(runtime.close)
    return runtime
