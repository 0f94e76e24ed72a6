"""`held` and `release`: what was held back, and taking it in once its source can verify it, or forgetting it."""

from collections import Counter

import click

from inbox.cli.context import opened
from inbox.cli.output import as_json, dump, instant, table
from inbox.core.errors import NotFound
from inbox.replay.release import Released
from inbox.runtime import Runtime


@click.command()
@click.argument("source", required=False)
@as_json
def held(source: str | None, as_json: bool) -> None:
    """List the requests that are held because they were not authentic, of SOURCE or of all, oldest first.

    `inbox refusals` says why each was refused.
    """
    runtime = opened()
    if source is not None:
        _check(runtime, source)
    rows = [
        {**row, "at": instant(row["at"]), "expires_at": instant(row["expires_at"])}
        for row in runtime.archive.list_held(source)
    ]
    if as_json:
        return dump(rows)
    table(rows, ("id", "source", "at", "expires_at", "method", "size", "remote"), empty="nothing is held")


@click.command()
@click.argument("source")
@click.option("--discard", is_flag=True, help="Forget the held requests instead; they cannot be brought back.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before they are discarded.")
@click.option("--json", "as_json", is_flag=True, help="Print an array with what became of each request.")
def release(source: str, discard: bool, yes: bool, as_json: bool) -> None:
    """Verify the held requests of SOURCE again, as of the time they came, and take in those that pass.

    For sources with on_unverified = "hold", after the secret was corrected. Those that still do not pass stay held.
    """
    runtime = opened()
    done = _discard(runtime, source, yes=yes) if discard else list(runtime.releaser.release(source))
    if as_json:
        return dump([_row(item) for item in done])
    counts = Counter(item.status or "still held" for item in done)
    click.echo(", ".join(f"{number} {status}" for status, number in sorted(counts.items())) or "nothing is held")
    for diagnosis, number in Counter(item.diagnosis for item in done if item.diagnosis).most_common(5):
        click.echo(f"{number} still held: {diagnosis}")


def _discard(runtime: Runtime, source: str, *, yes: bool) -> list[Released]:
    """Forget what is held now, after a question; what comes meanwhile stays. Also of a source that was removed."""
    _check(runtime, source)
    ids = [int(row["id"]) for row in runtime.archive.list_held(source)]
    if ids and not yes:
        click.confirm(f"Discard {len(ids)} held requests of {source} for good?", abort=True, err=True)
    return list(runtime.releaser.discard(ids))


def _check(runtime: Runtime, source: str) -> None:
    """Raise NotFound if a source is neither configured nor holds anything."""
    if source not in runtime.sources and not runtime.archive.list_held(source):
        raise NotFound(f"no source is called {source}; configured: {', '.join(runtime.sources) or 'none'}")


def _row(item: Released) -> dict[str, object]:
    return {"held": item.held_id, "status": item.status, "id": item.event_id, "diagnosis": item.diagnosis}


COMMANDS = (held, release)
