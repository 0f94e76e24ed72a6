"""`release`: take in what was held back, once its source can verify it."""

from collections import Counter

import click

from inbox.cli.opened import opened
from inbox.cli.tables import dump
from inbox.release import Released


@click.command()
@click.argument("source")
@click.option("--json", "as_json", is_flag=True, help="Print an array with what became of each request.")
def release(source: str, as_json: bool) -> None:
    """Verify the held requests of SOURCE again, as of the time they came, and take in those that pass.

    For sources with on_unverified = "hold", after the secret was corrected. Those that still do not pass stay held.
    """
    done = list(opened().releaser.release(source))
    if as_json:
        return dump([_row(item) for item in done])
    counts = Counter(item.status or "still held" for item in done)
    click.echo(", ".join(f"{number} {status}" for status, number in sorted(counts.items())) or "nothing is held")
    for diagnosis, number in Counter(item.diagnosis for item in done if item.diagnosis).most_common(5):
        click.echo(f"{number} still held: {diagnosis}")


def _row(item: Released) -> dict[str, object]:
    return {"held": item.held_id, "status": item.status, "id": item.event_id, "diagnosis": item.diagnosis}


COMMANDS = (release,)
