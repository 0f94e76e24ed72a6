"""`sources`, `handlers`, `events`, `show` and `refusals`: what is there."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from inbox.cli.context import opened
from inbox.cli.event_filters import filters, of_handler
from inbox.cli.output import as_json, dump, instant, safe, table
from inbox.cli.params import Identity
from inbox.core.errors import NotFound, SearchUnavailable, Unreadable
from inbox.core.models import HandlerSpec
from inbox.runtime import Runtime
from inbox.store.protocols import Filter
from inbox.ui.services import event_search as desk
from inbox.ui.services.sources import sources as known_sources

if TYPE_CHECKING:
    from inbox.verify.providers.base import Provider

COUNTS = ("duplicates", "conflicts", "quarantined", "dead", "refusals", "held")


@click.command()
@click.option("--providers", is_flag=True, help="List what `provider` can be instead.")
@as_json
def sources(providers: bool, as_json: bool) -> None:
    """List the sources and what came from them."""
    from inbox.verify.providers import PROVIDERS

    if providers:
        known = [{"provider": name, **_described(cls)} for name, cls in PROVIDERS.items()]
        return dump(known) if as_json else table(known, ("provider", "what", "documented"), empty="")
    rows = source_rows(opened())
    if as_json:
        return dump(rows)
    shown = ("source", "provider", "address", "events", "last_event_at", *COUNTS, "secret_matched")
    for row in rows:
        matched = (f"{found['secret']}: {found['last_matched_at'] or 'never'}" for found in row["secrets"])
        row["secret_matched"] = ", ".join(matched)
    table(rows, shown, empty="No source is configured: add a [sources.NAME] table to inbox.toml.")


def _described(provider: "type[Provider]") -> dict[str, str]:
    return {"what": (provider.__doc__ or "").strip().splitlines()[0], "documented": provider.published}


def source_rows(runtime: Runtime) -> list[dict[str, Any]]:
    """Return one row per source that is configured or that has events or refusals."""
    return [_source(row) for row in known_sources(runtime)]


def _source(row: dict[str, Any]) -> dict[str, Any]:
    matched = [{**each, "last_matched_at": instant(each["last_matched_at"])} for each in row["secrets"]]
    return {
        "source": row["source"] or "(unknown address)",
        "provider": row["provider"] or "(not configured)",
        "address": row["address"],
        "events": row["events"],
        "last_event_at": instant(row["last_event_at"]),
        **{key: row[key] for key in COUNTS},
        "last_refusal_at": instant(row["last_refusal_at"]),
        "secrets": matched,
    }


@click.command()
@as_json
def handlers(as_json: bool) -> None:
    """List the handlers: loaded now, failing to import, or gone but with work left."""
    runtime = opened()
    rows = handler_rows(runtime)
    if as_json:
        return dump(rows)
    table(
        rows,
        ("handler", "state", "paused", "waiting", "handles", "attempts", "timeout", "failure"),
        empty=f"No handler is there: add a file to {runtime.handlers_folder}.",
    )


def handler_rows(runtime: Runtime) -> list[dict[str, Any]]:
    """Return one row per handler, per module that does not import, and per handler that is gone but has work left."""
    registry = runtime.registry
    waiting = runtime.archive.backlog()
    rows: dict[str, dict[str, Any]] = {name: _loaded(handler.spec) for name, handler in registry.handlers.items()}
    for module, failure in registry.failures.items():
        rows[module] = {"state": "failed", "module": module, "failure": failure.strip().splitlines()[-1]}
    remembered = {spec.name: spec for spec in runtime.archive.handlers()}
    for name in waiting.keys() - rows.keys():
        spec = remembered.get(name)
        failing = spec is not None and spec.module in registry.failures
        rows[name] = {"state": "parked" if failing else "gone", "module": spec and spec.module}
    paused = {row["name"] for row in runtime.acting.pauses() if row["kind"] == "handler" and row["ended_at"] is None}
    return [
        {"handler": name, **_NOTHING, **row, "waiting": waiting.get(name, 0), "paused": name in paused}
        for name, row in sorted(rows.items())
    ]


_NOTHING = dict.fromkeys(("state", "module", "handles", "attempts", "timeout", "failure"))


def _loaded(spec: HandlerSpec) -> dict[str, Any]:
    return {
        "state": "loaded",
        "module": spec.module,
        "handles": ", ".join(f"{mark.source} {mark.type}" for mark in spec.marks),
        "attempts": spec.marks[0].attempts,
        "timeout": spec.marks[0].timeout,
    }


@click.command()
@filters
@of_handler
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@click.option("--before", type=int, help="Only events with a smaller id, for the next page.")
@as_json
def events(wanted: Filter, limit: int, before: int | None, as_json: bool) -> None:
    """List events, newest first."""
    found = desk.events(opened(), replace(wanted, before=before), limit, seconds=None)
    if found["unseen"] and found["unseen"]["problem"]:
        raise SearchUnavailable(found["unseen"]["problem"])
    for sentence in found["unseen"]["said"] if found["unseen"] else []:
        click.echo(f"not searched: {sentence}", err=True)
    rows = [event_row(row) for row in found["events"]]
    if as_json:
        return dump(rows)
    table(
        rows,
        ("id", "source", "type", "key", "status", "received_at", "size", "duplicates"),
        empty="No event matches. `inbox send SOURCE` sends one, `inbox refusals` shows what was not accepted.",
    )


def event_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the archive with its times as ISO 8601."""
    return {
        **row,
        **{name: instant(row[name]) for name in ("received_at", "last_duplicate_at", "body_pruned_at", "erased_at")},
    }


@click.command()
@click.argument("identity", metavar="ID", type=Identity())
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object in an array.")
@click.option("--raw", is_flag=True, help="Print the body's bytes and nothing else.")
def show(identity: int | str, as_json: bool, raw: bool) -> None:
    """Show one event: what came, what verified it, and what its handlers did. ID may be an Inbox-Request-Id."""
    runtime = opened()
    event_id = runtime.archive.find(identity) if isinstance(identity, str) else identity
    if event_id is None:
        return _show_refusal(runtime, str(identity), as_json)
    event = runtime.archive.event(event_id)
    if raw:
        return click.echo(runtime.archive.request(event_id).body, nl=False)
    body = _body(runtime, event_id)
    if as_json:
        return dump([{**_times(event_row(event)), "body": body}])
    _print_event(event_row(event), body)
    if kept := event["kept"]:
        click.echo(safe(f"\nkept by {kept['who']} since {instant(kept['at'])}: {kept['why'] or 'no reason given'}"))


def _show_refusal(runtime: Runtime, identity: str, as_json: bool) -> None:
    """Print what is remembered of a request that was refused. Raises NotFound."""
    rows = _refusals(runtime, None, 1, identity)
    if not rows:
        hint = "the log has the id of an event's copies, and of refusals that are forgotten"
        raise NotFound(f"no event and no refusal has the request id {identity}; {hint}")
    if as_json:
        return dump(rows)
    click.echo("refused")
    for key in ("at", "source", "code", "reason", "diagnosis", "method", "remote", "size", "request_id"):
        click.echo(f"{key.replace('_', ' '):<13} {safe(rows[0][key])}")


def _body(runtime: Runtime, event_id: int) -> str | None:
    try:
        return runtime.archive.request(event_id).body.decode("utf-8", "backslashreplace")
    except (NotFound, Unreadable):
        return None


def _times(event: dict[str, Any]) -> dict[str, Any]:
    stamps = ("lease_until", "due_at", "created_at", "finished_at", "started_at")

    def convert(row: dict[str, Any]) -> dict[str, Any]:
        return {key: instant(value) if key in stamps else value for key, value in row.items()}

    deliveries = [{**convert(row), "runs": [convert(run) for run in row["runs"]]} for row in event["deliveries"]]
    return {**event, "deliveries": deliveries}


def _print_event(event: dict[str, Any], body: str | None) -> None:
    shown = _times(event)
    for key in (
        "id",
        "source",
        "type",
        "key",
        "status",
        "received_at",
        "verified_by",
        "size",
        "body_digest",
        "duplicates",
        "conflict_of",
        "request_id",
    ):
        if shown[key] not in (None, ""):
            click.echo(f"{key.replace('_', ' '):<13} {safe(shown[key])}")
    for violation in shown["violations"]:
        click.echo(f"violation     {safe(violation['pointer'] or '/')}: {safe(violation['message'])}")
    for name, value in shown.get("request", {}).get("headers", []):
        click.echo(f"header        {safe(name)}: {safe(value)}")
    pruned = f"(body pruned at {shown['body_pruned_at']}: the event cannot be run again)"
    erased = f"(erased at {shown['erased_at']}: the event cannot be run again)"
    gone = erased if shown["erased_at"] else pruned if shown["body_pruned_at"] else shown.get("unreadable")
    click.echo(f"\n{safe(gone or _pretty(body))}\n")
    for delivery in shown["deliveries"]:
        origin = f" (replay {delivery['replay_id']})" if delivery["replay_id"] else ""
        click.echo(
            f"{delivery['handler']}{origin}: {delivery['status']}"
            + (", paused" if delivery["paused_by"] else "")
            + (f", due {delivery['due_at']}" if delivery["status"] == "retrying" else "")
        )
        for run in delivery["runs"]:
            click.echo(f"  {run['number']}. {run['started_at']} {run['result']}")
        if delivery["error"]:
            click.echo("  " + safe(delivery["error"]).rstrip().replace("\n", "\n  "))


def _pretty(body: str | None) -> str:
    if body is None:
        return "(the body was removed)"
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return body


@click.command()
@click.argument("source", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@as_json
def refusals(source: str | None, limit: int, as_json: bool) -> None:
    """List what was not accepted, newest first, with what is probably wrong."""
    rows = _refusals(opened(), source, limit)
    if as_json:
        return dump(rows)
    shown = ("id", "at", "source", "code", "reason", "diagnosis", "remote", "request_id")
    table(rows, shown, empty="Nothing was refused.")


def _refusals(runtime: Runtime, source: str | None, limit: int, request_id: str | None = None) -> list[dict[str, Any]]:
    found = runtime.archive.refusals(source, limit, request_id=request_id)
    return [{**row, "at": instant(row["at"])} for row in found]


COMMANDS = (sources, handlers, events, show, refusals)
