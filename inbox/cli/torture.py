"""`torture`: the promise of this inbox, put to the test on this machine's own disk."""

import contextlib
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from inbox.cli.output import console, dump, safe
from inbox.core.errors import InboxError
from inbox.tools.torture.report import Report
from inbox.tools.torture.run import Plan, torture
from inbox.tools.torture.run import Progress as Step


@click.command("torture")
@click.option("--minutes", type=click.FloatRange(0.05, 1440.0), default=1.0, show_default=True, help="How long.")
@click.option("--seed", type=int, help="Repeat the torture that had this seed; default: a new one.")
@click.option(
    "--rate", type=click.FloatRange(1.0, 10_000.0), default=50.0, show_default=True, help="Requests per second."
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Empty folder on the disk that is to be tried, removed afterwards; default: a new one in this folder.",
)
@click.option("--sealed", is_flag=True, help="Seal what is stored, with a key of its own.")
@click.option("--keep", is_flag=True, help="Keep the folder; it is kept anyway if something is wrong.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    minutes: float, seed: int | None, rate: float, folder: Path | None, sealed: bool, keep: bool, as_json: bool
) -> None:
    """Run an inbox in a scratch folder, send, kill -9 at random, and check that nothing is lost; exit 1 if anything is.

    Your own inbox is not touched. Receiver and worker are killed and stopped at random moments, the queue and the log
    of the database are deleted, while signed events, copies and conflicts come in. In the end every acknowledged event
    must be stored and handled, and none handled twice unless a process was disturbed in the middle of it.
    """
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    plan = Plan(_empty(folder), minutes * 60, seed, rate, sealed)
    kept = True
    try:
        with _shown(plan, quiet=as_json) as watch:
            report = torture(plan, clock=time.time, watch=watch)
        kept = keep or bool(report.breaches)
        if as_json:
            dump({**report.as_dict(), "folder": str(plan.folder) if kept else None})
        else:
            _print(report)
    finally:
        if kept:
            click.echo(f"The folder is kept: {plan.folder}", err=True)
        else:
            shutil.rmtree(plan.folder)
    if report.breaches:
        raise click.exceptions.Exit(1)


def _empty(folder: Path | None) -> Path:
    """Return an empty folder. Raises InboxError if the one that is named is not."""
    if folder is None:
        return Path(tempfile.mkdtemp(prefix="torture-", dir=Path.cwd()))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise InboxError(f"{folder} is not empty: name a new folder")
    return folder.absolute()


@contextlib.contextmanager
def _shown(plan: Plan, *, quiet: bool) -> Iterator[Callable[[Step], None]]:
    """Show how far it is, where a person is watching."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[told]}"))
    bar = Progress(*columns, console=console(stderr=True))
    with contextlib.nullcontext() if quiet else bar:
        task = bar.add_task("torture", total=plan.seconds, told="")

        def watch(step: Step) -> None:
            told = f"{step.acknowledged} of {step.requests} requests acknowledged, {step.kills} kills"
            bar.update(task, description=step.phase, completed=step.seconds, told=told)

        yield watch


def _print(report: Report) -> None:
    rows = (
        ("sent", f"{report.requests} requests in {report.seconds:g} s, seed {report.seed}, Python {report.python}"),
        ("events", f"{report.acknowledged} acknowledged, {report.stored} stored"),
        ("", f"{report.copies} copies recognised, {report.conflicts} conflicts, {report.forged} forgeries refused"),
        ("no answer", f"{_listed(report.unanswered)}; {report.unavailable} times 503"),
        ("longest gap", f"{report.longest_gap:g} s without an acknowledgement"),
        ("killed", f"{sum(report.kills.values())}: {_listed(report.kills)}"),
        ("stopped", f"{report.stops} for longer than a lease; the whole machine {report.stalls} times by itself"),
        (
            "deleted",
            f"the queue {report.queues_deleted} times, the database's log {report.logs_deleted} times; "
            f"{report.queues_blocked} times the queue could not be used",
        ),
        ("damaged", f"worker processes, {sum(report.damages.values())}: {_listed(report.damages)}"),
        ("started", _listed(report.starts)),
        ("handled", f"{report.handled} deliveries; attempts: {_listed(report.attempts)}"),
        ("rescued", f"{report.rescued} attempts, {report.lost_leases} of them came back too late"),
        ("done again", f"{report.handled_again} deliveries, each disturbed in the middle"),
    )
    for name, text in rows:
        click.echo(f"{name:>12}  {text}")
    for breach in report.breaches:
        click.echo(f"{'BROKEN':>12}  {safe(breach)}")
    click.echo(f"{'verdict':>12}  {f'{len(report.breaches)} breaches' if report.breaches else 'nothing was lost'}")


def _listed(counts: dict[str, int]) -> str:
    found = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{number} {name}" for name, number in found) or "0"


COMMANDS = (command,)
