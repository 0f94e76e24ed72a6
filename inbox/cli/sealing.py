"""`reseal`, `erase` and `erasures`: new master keys, and the end of what events said."""

import json
from collections.abc import Iterator
from datetime import timedelta

import click

from inbox.cli.context import opened
from inbox.cli.output import as_json, console, dump, instant, table
from inbox.cli.replay import user
from inbox.core.errors import ConfigError, InTheWay, NotFound, StoreUnavailable
from inbox.runtime import Runtime
from inbox.store.sealing import rewrap as resealing
from inbox.store.sql.erasure import Erasure

_LINGERS = (
    "what was overwritten is still in the log of the database or of its keys, because somebody reads there, such as a "
    "backup: run `inbox reseal` when he has ended"
)


@click.command()
@click.option("--plain", is_flag=True, help="Also seal what was stored before there was a key.")
@click.option("--sweep", type=click.IntRange(min=1), metavar="DAYS", help="Also forget older keys that no body has.")
def reseal(plain: bool, sweep: int | None) -> None:
    """Wrap the data keys with the first key of seal_key, so that the others can go; bodies are not touched.

    In small steps, beside everything else. Ended early, it goes on the next time. What --sweep forgets opens no older
    copy of the database either.
    """
    runtime = opened()
    sealer, connection = runtime.sealer, runtime.sealed
    click.echo(f"{_counted('keys', resealing.rewrap(sealer))} data keys were wrapped anew")
    if plain:
        done = resealing.seal_plain(connection, sealer, runtime.subject_of, runtime.clock())
        click.echo(f"{_counted('rows', done)} rows were sealed")
    if sweep is not None:
        before = _certain(runtime) - timedelta(days=sweep).total_seconds()
        click.echo(f"{resealing.sweep(connection, sealer, before)} data keys without a body were forgotten")
    click.echo(_needed(runtime))
    if not resealing.tidy(connection, sealer):
        raise StoreUnavailable(_LINGERS)


def _certain(runtime: Runtime) -> float:
    """Return the known time. Raises InTheWay while the clock is in doubt."""
    passed = runtime.watching.timekeeper.certain()
    if passed is None:
        raise InTheWay("the clock is in doubt, so nothing is forgotten for its age: see `inbox clock`")
    return passed


def _counted(what: str, steps: Iterator[int]) -> int:
    """Return the sum of the steps, and show it as it grows where a person is watching."""
    done = 0
    with console(stderr=True).status(what) as status:
        for number in steps:
            done += number
            status.update(f"{what}: {done}")
    return done


def _needed(runtime: Runtime) -> str:
    first, keys = runtime.sealer.masters[0].name, runtime.sealer.keys
    assert keys is not None
    old = {name: number for name, number in keys.masters().items() if name != first}
    if old:
        return "; ".join(f"{number} data keys still need the old key {name}" for name, number in old.items())
    return f"every data key needs only the first key of seal_key, {first}: copies of the file of keys may need others"


@click.command()
@click.option("--event", "ids", metavar="ID", type=int, multiple=True, help="Erase this event; can be repeated.")
@click.option("--subject", metavar="VALUE", help="Erase all events of --source that are about VALUE.")
@click.option(
    "--source", metavar="NAME", help="The source of --subject; its setting `subject` says where VALUE stands."
)
@click.option("--why", default="", help="A note that is kept with the erasure.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def erase(ids: tuple[int, ...], subject: str | None, source: str | None, why: str, yes: bool) -> None:
    """Destroy what events said, here and in sealed copies of the database; what is left is their key and an entry.

    It cannot be undone. Copies of the file of keys open older copies of the database still, until they are deleted.
    """
    if bool(ids) == (subject is not None) or (subject is None) != (source is None):
        raise click.UsageError("name events with --event, or a --subject and its --source")
    runtime = opened()
    erasing = runtime.erasing
    if ids:
        for event_id in ids:
            runtime.archive.event(event_id)
        found, selection = list(ids), json.dumps({"ids": list(ids)})
    else:
        assert subject is not None
        assert source is not None
        found = _about(runtime, source, subject)
        selection = json.dumps({"source": source, "subject": runtime.sealer.subject(source, subject).hex()})
        if unknown := erasing.unknown(source):
            click.echo(f"{unknown} events of {source} were not searched: it is not noted whom they are about", err=True)
    if not found:
        raise NotFound("no event is about that")
    if not yes:
        click.confirm(f"Destroy what {len(found)} events said?", abort=True, err=True)
    entry = erasing.begin(at=runtime.clock(), who=user(), why=why, selection=selection)
    pages = [found[start : start + 100] for start in range(0, len(found), 100)]
    done = sum((erasing.erase(page, entry, runtime.clock()) for page in pages), Erasure())
    if not (tidied := erasing.tidy()):
        click.echo(f"inbox: {_LINGERS}", err=True)
    _report(done)
    if not tidied:
        raise click.exceptions.Exit(1)


def _about(runtime: Runtime, source: str, subject: str) -> list[int]:
    provider = runtime.sources.get(source)
    if provider is not None and not provider.subject:
        raise ConfigError(
            f"inbox.toml: sources.{source}.subject", 'missing; allowed: a rule such as "json:/data/email"'
        )
    found: list[int] = []
    while page := runtime.erasing.about(source, subject, found[-1] if found else 0):
        found += page
    return found


def _report(done: Erasure) -> None:
    click.echo(f"{done.erased} events were erased")
    if done.plain:
        click.echo(f"{done.plain} of them were not sealed: copies of the database have them still", err=True)
    if done.kept:
        click.echo(f"inbox: {done.kept} events are kept (`inbox kept`) and were not erased", err=True)
        raise click.exceptions.Exit(1)


@click.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@as_json
def erasures(limit: int, as_json: bool) -> None:
    """List who erased events, when, why, and how many; subjects are shown as keyed hashes."""
    rows = [{**row, "at": instant(row["at"])} for row in opened().erasing.erasures(limit)]
    if as_json:
        return dump(rows)
    table(rows, ("id", "at", "who", "why", "selection", "events"), empty="Nothing was erased.")


COMMANDS = (reseal, erase, erasures)
