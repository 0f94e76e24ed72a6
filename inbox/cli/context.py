"""The inbox that a command works on."""

import click

from inbox.core.config.snapshot import when
from inbox.core.errors import ConfigError, StoreError
from inbox.core.run_status import RunStatus
from inbox.process import startup_checks
from inbox.runtime import Runtime


def opened() -> Runtime:
    """Return the inbox that the environment names; it is closed when the command ends. Raises ConfigError."""
    runtime = Runtime.from_environment()
    click.get_current_context().call_on_close(runtime.close)
    return runtime


def goes_on(told: RunStatus, runtime: Runtime) -> str:
    """Return what a running inbox does while it does not take over the files on disk, which `runtime` is made of."""
    text = f"what runs goes on with what it read at {when(told.at)}"
    try:
        startup_checks.check_settings(runtime, starting=True)
    except (ConfigError, StoreError):
        return f"{text}, but `inbox run` would not start any more"
    return text
