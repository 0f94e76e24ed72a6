"""What an owner does to events, one or many, and what waits meanwhile: recorded here, done by the worker.

Nothing here loads a handler: which there are is what the store remembers.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from typing import Any

import structlog

from inbox.core.errors import InboxError, NotFound
from inbox.replay.action_runner import parts
from inbox.runtime import Runtime
from inbox.store.protocols import Filter
from inbox.store.protocols_actions import ACTION_KINDS, PAUSE_KINDS, ActionKind, NewAction, PauseKind
from inbox.ui.services.event_search import cleaned, require_complete

log = structlog.get_logger("inbox.ui.services")

SLOWEST, FASTEST = 0.01, 1e6
"""Events per second that an action can be told to keep to."""


def preview(
    runtime: Runtime,
    kind: ActionKind,
    wanted: Filter | None = None,
    ids: Sequence[int] | None = None,
    handler: str | None = None,
    *,
    known: Collection[str] | None = None,
) -> dict[str, Any]:
    """Return what `begin` would be about: `count` of events; of a filter, the ids `cursor` and `upto` they are between.

    `said` are sentences about what a search for text does not see.

    Raises InboxError for a wrong selection, NotFound for an event or handler that is not there. `known` is which
    handlers there are, for a caller that knows it better than the store.
    """
    if kind not in ACTION_KINDS:
        raise InboxError(f"there is no action {kind!r}; allowed: {', '.join(ACTION_KINDS)}")
    if (wanted is None) == (ids is None):
        raise InboxError("an action is about a filter or about ids: name one of them")
    if handler is not None:
        _check_handler(runtime, kind, handler, known)
    if ids is not None:
        for number in ids:
            runtime.archive.event(number)
        return {"count": len({*ids}), "cursor": 0, "upto": 0, "said": []}
    assert wanted is not None
    wanted = cleaned(wanted)
    said = require_complete(runtime, wanted)
    upto = min(runtime.acting.newest(), (wanted.before or 2**62) - 1)
    among = replace(wanted, before=upto + 1)
    count = sum(runtime.archive.count(part) for part in parts(kind, among))
    return {"count": count, "cursor": wanted.after or 0, "upto": upto, "said": said}


def begin(
    runtime: Runtime,
    kind: ActionKind,
    *,
    who: str,
    why: str,
    wanted: Filter | None = None,
    ids: Sequence[int] | None = None,
    handler: str | None = None,
    force: bool = False,
    rate: float | None = None,
    known: Collection[str] | None = None,
    hold: float = 0.0,
) -> int:
    """Record an action, durably, and wake the worker; return the action's id. Raises as `preview` does.

    hold   seconds for which the worker leaves it to the caller, who then holds it again
    """
    if rate is not None and not SLOWEST <= rate <= FASTEST:
        raise InboxError(f"rate {rate:g} is out of range; allowed: {SLOWEST:g} to {FASTEST:g} events per second")
    found = preview(runtime, kind, wanted, ids, handler, known=known)
    new = NewAction(
        kind=kind,
        who=who,
        why=why,
        selection=json.dumps(_selection(wanted, ids)),
        cursor=found["cursor"],
        upto=found["upto"],
        total=found["count"],
        handler=handler,
        force=force,
        rate=rate,
    )
    action_id = runtime.acting.begin(new, at=runtime.clock(), held_until=runtime.steady() + hold if hold else 0.0)
    log.info("action.begun", id=action_id, kind=kind, events=new.total, who=who)
    if not hold:
        wake(runtime)
    return action_id


def _selection(wanted: Filter | None, ids: Sequence[int] | None) -> dict[str, Any]:
    if ids is not None:
        return {"ids": list(dict.fromkeys(ids))}
    assert wanted is not None
    return {name: value for name, value in asdict(cleaned(wanted)).items() if value is not None}


def stop(runtime: Runtime, action_id: int, who: str) -> bool:
    """Stop an action where it is: what it did stays done. False if it had ended. Raises NotFound."""
    stopped = runtime.acting.stop(action_id, at=runtime.clock(), who=who)
    if stopped:
        log.info("action.stopped", id=action_id, who=who)
    return stopped


def action(runtime: Runtime, action_id: int) -> dict[str, Any]:
    """Return an action: who, why, kind, selection, `events` of `total` done, results, state. Raises NotFound."""
    return _shown(runtime.acting.action(action_id))


def actions(
    runtime: Runtime, limit: int, before: int | None = None, *, kind: ActionKind | None = None
) -> list[dict[str, Any]]:
    """Return actions, newest first, below the id `before`."""
    return [_shown(row) for row in runtime.acting.actions(limit, before=before, kind=kind)]


def pause(runtime: Runtime, kind: PauseKind, name: str, *, who: str, why: str) -> bool:
    """Let the deliveries to a handler, or of a source's events, wait; False if they do already.

    Events are still accepted, stored and routed, and what runs goes on. Raises NotFound if there is no such name.
    """
    names = pausable(runtime, kind)
    if name not in names:
        raise NotFound(f"there is no {kind} {name}; there are: {', '.join(names) or 'none'}")
    done = runtime.acting.pause(kind, name, at=runtime.clock(), who=who, why=why)
    if done:
        log.warning("paused", kind=kind, name=name, who=who)
    return done


def resume(runtime: Runtime, kind: PauseKind, name: str, *, who: str) -> None:
    """End a pause: what waits is run, what is due first comes first. Raises NotFound if this is not paused."""
    if not runtime.acting.resume(kind, name, at=runtime.clock(), who=who):
        paused = [f"{row['kind']} {row['name']}" for row in pauses(runtime) if row["ended_at"] is None]
        raise NotFound(f"the {kind} {name} is not paused; paused: {', '.join(paused) or 'nothing'}")
    log.warning("resumed", kind=kind, name=name, who=who)
    wake(runtime)


def pauses(runtime: Runtime) -> list[dict[str, Any]]:
    """Return what is paused: kind, name, since when (`at`), who, why, `waiting` deliveries, when the `oldest` was due.

    `waiting` are those that a worker has met and set aside. One with `ended_at` was resumed: they are being let go.
    """
    return runtime.acting.pauses()


def pausable(runtime: Runtime, kind: PauseKind) -> list[str]:
    """Return the names that can be paused: of handlers that a worker knows or that work waits for, or of sources."""
    if kind not in PAUSE_KINDS:
        raise InboxError(f"there is no kind {kind!r}; allowed: {', '.join(PAUSE_KINDS)}")
    if kind == "handler":
        return sorted(_handlers(runtime))
    return sorted({*runtime.settings.sources, *(row["source"] for row in runtime.archive.sources())} - {""})


def no_worker(runtime: Runtime) -> str:
    """Return why no worker is believed to run, "" if one does."""
    looked = runtime.watching.watch.look(runtime.clock(), runtime.steady())
    return looked.gone("worker", runtime.settings.alarms.process_gone)


def _handlers(runtime: Runtime) -> set[str]:
    return {*(spec.name for spec in runtime.archive.handlers()), *runtime.archive.backlog()}


def _check_handler(runtime: Runtime, kind: ActionKind, handler: str, known: Collection[str] | None) -> None:
    """Raise if the handler is not there, or nothing is done to a handler."""
    if kind == "ignore":
        raise InboxError("an event is ignored as a whole: no handler can be named")
    if handler not in (known if known is not None else _handlers(runtime)):
        raise NotFound(f"there is no handler {handler}; `inbox handlers` lists them")


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    hidden = ("held_until", "cursor")
    return {name: value for name, value in row.items() if name not in hidden} | {
        "selection": json.loads(row["selection"])
    }


def wake(runtime: Runtime) -> None:
    """Have the worker look; what is lost here, its sweep finds."""
    try:
        runtime.queue.wake()
    except Exception as error:
        log.warning("queue.wake_failed", error=repr(error), then="the sweep finds what was begun")
