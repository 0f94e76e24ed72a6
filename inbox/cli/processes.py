"""`run`, `serve` and `worker`: the processes."""

import os
import signal

import click
import structlog

from inbox import listener, preflight, supervisor
from inbox.log import FORMAT, LEVEL, configure, label
from inbox.runtime import Runtime
from inbox.worker import consume, on_orphaned

log = structlog.get_logger("inbox.cli")


@click.command()
def run() -> None:
    """Run receiver and worker, restart one that dies, and stop both on SIGTERM or Ctrl-C."""
    label("supervisor")
    runtime, inherited = Runtime.from_environment(), _inherited()
    preflight.check_start(runtime, inherited=inherited is not None)
    if inherited is None:
        listener.wait_for_port(runtime.settings.server)
    _ = runtime.handlers_folder, runtime.presence
    children = [
        supervisor.Child(
            "receiver",
            supervisor.command("serve"),
            environment=listener.pass_on(inherited),
            files=[] if inherited is None else [inherited],
        ),
        supervisor.Child("worker", supervisor.command("worker")),
    ]
    supervisor.supervise(children, shutdown_timeout=runtime.settings.worker.shutdown_timeout + 5)


@click.command()
def serve() -> None:
    """Run the receiver alone."""
    from inbox import server

    label("receiver")
    runtime, inherited = Runtime.from_environment(), _inherited()
    if not _end_with_supervisor():
        preflight.check_start(runtime, inherited=inherited is not None)
    if inherited is None:
        listener.wait_for_port(runtime.settings.server)
    _ = runtime.presence
    server.serve(runtime, inherited=inherited)


@click.command()
def worker() -> None:
    """Run the worker alone: it loads the handlers and delivers."""
    from inbox import delivery, ingest  # noqa: F401 – before it forks, so that its processes share them

    label("worker")
    _end_with_supervisor()
    configure(os.environ.get(LEVEL, "info"), os.environ.get(FORMAT, "text"), collect=True)
    runtime = Runtime.from_environment()
    _ = runtime.sources, runtime.schemas, runtime.handlers_folder, runtime.presence, runtime.watching.watchman
    runtime.archive.close()
    settings = runtime.settings.worker
    log.info("worker.starting", processes=settings.processes)
    consume(runtime.queue, runtime.load, processes=settings.processes, shutdown_timeout=settings.shutdown_timeout)


def _inherited() -> int | None:
    """Return the socket that was opened for this process; what it starts does not see a trace of that."""
    number = listener.inherited(os.environ, os.getpid())
    listener.forget()
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


COMMANDS = (run, serve, worker)
