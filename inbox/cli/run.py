"""`run`, `serve` and `worker`: the processes; `reload`: what they are to read again."""

import os
import signal
import time
from operator import attrgetter

import click
import structlog

from inbox.cli.context import goes_on
from inbox.core import log as logs
from inbox.core.config import snapshot
from inbox.core.config.settings import FILE, Settings, load, locate
from inbox.core.errors import ConfigError
from inbox.core.run_status import notice, place
from inbox.process import sockets, startup_checks, supervisor
from inbox.process.health_probe import HealthProbe, connector
from inbox.process.reload import Reloader, reload
from inbox.process.worker import consume, on_orphaned
from inbox.runtime import Runtime

log = structlog.get_logger("inbox.cli")


@click.command()
def run() -> None:
    """Run receiver and worker, restart one that dies, and stop both on SIGTERM or Ctrl-C."""
    _begin("supervisor")
    inherited, (settings, taken) = _inherited(), startup_checks.take_snapshot(time.time())
    snapshot.use(taken)
    runtime, shared, address = Runtime(settings), snapshot.Shared(taken), settings.server
    startup_checks.check_start(runtime, inherited=inherited is not None)
    if inherited is None:
        sockets.wait_for_port(runtime.settings.server)
    _ = runtime.handlers_folder, runtime.presence
    children = [
        supervisor.Child(
            "receiver",
            supervisor.command("serve"),
            environment=sockets.pass_on(inherited) | shared.environment,
            files=[shared.number] if inherited is None else [shared.number, inherited],
            renewal=signal.SIGHUP,
            watchdog=HealthProbe(connector(address, inherited), address.unresponsive_after)
            if address.unresponsive_after
            else None,
        ),
        supervisor.Child("worker", supervisor.command("worker"), environment=shared.environment, files=[shared.number]),
    ]
    if runtime.settings.admin.bind:
        children.append(
            supervisor.Child(
                "pages",
                supervisor.command("pages"),
                environment=shared.environment,
                files=[shared.number],
                renewal=signal.SIGHUP,
            )
        )
    reloading = Reloader(place(settings.database), supervisor.command("check"), lambda: _take(settings), shared, taken)
    timeout = runtime.settings.worker.shutdown_timeout + 5
    supervisor.supervise(children, shutdown_timeout=timeout, reloading=reloading)
    runtime.empty_logs()


_FIXED = (
    "inbox.database", "inbox.queue", "server.host", "server.port", "server.max_connections", "server.tls_cert",
    "server.tls_key", "server.unresponsive_after", "worker.shutdown_timeout", "admin.bind",
)  # fmt: skip


def _take(before: Settings) -> tuple[snapshot.Snapshot, str]:
    """Return what is on disk, and which settings are not as they were, of those that only a restart can change."""
    now, taken = startup_checks.take_snapshot(time.time())
    changed = [key for key in _FIXED if attrgetter(key)(before) != attrgetter(key)(now)]
    fixed = f"{FILE}: {', '.join(changed)}: changed by a restart of `inbox run`, not by a reload" if changed else ""
    return taken, fixed


@click.command("reload")
def reload_() -> None:
    """Have `inbox run` take over settings, secrets, schemas and handlers; exit 1 if something is wrong with them."""
    settings = load(locate(os.environ))
    path = place(settings.database)
    problem = reload(path)
    if problem:
        click.echo(f"inbox: not reloaded, what was read before stays in use: {problem}", err=True)
        if (told := notice(path)) is not None and told.stale:
            click.echo(f"inbox: {goes_on(told, Runtime(settings))}", err=True)
        raise click.exceptions.Exit(1)
    click.echo("Nothing is wrong: receiver and worker take it over.")


@click.command()
def serve() -> None:
    """Run the receiver alone."""
    from inbox.process import receiver

    _begin("receiver")
    runtime, inherited = Runtime.from_environment(), _inherited()
    if not _end_with_supervisor():
        startup_checks.check_start(runtime, inherited=inherited is not None)
    if inherited is None:
        sockets.wait_for_port(runtime.settings.server)
    _ = runtime.presence
    receiver.serve(runtime, inherited=inherited)


@click.command()
def pages() -> None:
    """Show the pages at their own address, `bind` in [admin]; `inbox run` starts this by itself."""
    from inbox.process import receiver

    _begin("pages")
    runtime = Runtime.from_environment()
    if not runtime.settings.admin.bind:
        raise ConfigError(f"{FILE}: admin.bind", "not set: the receiver has the pages, under /inbox/")
    _end_with_supervisor()
    _ = runtime.presence
    receiver.serve_pages(runtime)


@click.command()
def worker() -> None:
    """Run the worker alone: it loads the handlers and delivers."""
    from inbox.receive import receiver  # noqa: F401 – before it forks, so that its processes share them

    _begin("worker")
    _end_with_supervisor()
    runtime = Runtime.from_environment()
    _ = runtime.sources, runtime.schemas, runtime.handlers_folder, runtime.presence, runtime.watching.watchman
    _ = runtime.unusable  # before it forks: once for all processes
    runtime.archive.close()
    settings = runtime.settings.worker
    log.info("worker.starting", processes=settings.processes)
    number, seconds = settings.processes, settings.shutdown_timeout
    consume(runtime.queue, runtime.load, runtime.settle, processes=number, shutdown_timeout=seconds)


def _begin(name: str) -> None:
    """Name this process in the log, for which it never waits; use what the supervisor read."""
    logs.configure(os.environ.get(logs.LEVEL, "info"), os.environ.get(logs.FORMAT, "text"), collect=True)
    logs.label(name)
    snapshot.inherit(os.environ)


def _inherited() -> int | None:
    """Return the socket that was opened for this process; what it starts does not see a trace of that."""
    number = sockets.inherited(os.environ, os.getpid())
    sockets.forget()
    return number


def _end_with_supervisor() -> bool:
    """See to it that this process ends when its supervisor does; return whether it has one.

    Ends it at once if the supervisor died before this was reached: nobody would restart it, nor stop it. The variable
    is for this process alone, not for what a handler starts.
    """
    named, parent = os.environ.pop(supervisor.PARENT, ""), os.getppid()
    if not named:
        return False
    if named != str(parent):
        log.error("supervisor.gone", supervisor=named, then="this process ends")
        raise click.exceptions.Exit(1)
    on_orphaned(parent, lambda: os.kill(os.getpid(), signal.SIGTERM))
    return True


COMMANDS = (run, reload_, serve, worker, pages)
