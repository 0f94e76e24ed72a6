"""`doctor`: whether everything around the inbox is as it has to be."""

import os
import time
from dataclasses import asdict

import click

from inbox.cli.output import as_json, dump, safe
from inbox.core.config.settings import locate
from inbox.tools.doctor import diagnose

COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command()
@as_json
def doctor(as_json: bool) -> None:
    """Examine disk, clock, permissions, settings and store; exit 1 on a problem."""
    findings = diagnose(locate(os.environ), time.time, time.monotonic)
    if as_json:
        dump([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            level = click.style(f"{finding.level:<8}", fg=COLOURS[finding.level])
            click.echo(f"{level} {finding.subject}: {safe(finding.found)}")
            if finding.advice:
                click.echo(f"         → {safe(finding.advice)}")
    if any(finding.level == "problem" for finding in findings):
        raise click.exceptions.Exit(1)


COMMANDS = (doctor,)
