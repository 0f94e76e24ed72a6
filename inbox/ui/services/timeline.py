"""What became of an event, in order of time: received, answered, routed, run, finished, replayed, pruned. Pure."""

from collections.abc import Mapping
from typing import Any

_ENDS = ("succeeded", "dead", "discarded", "cancelled")


def timeline(event: Mapping[str, Any], replays: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return entries, the oldest first; each has `at` (Unix seconds), `what`, `text`, and what is known besides.

    received, answered (its time is that of the receipt: the answer follows as soon as the event is on disk)
    duplicate    the last copy that came
    routed       {handlers}
    replayed     {replay_id, who, why, handlers}
    attempt      {delivery_id, handler, number, result, worker, duration, finished_at, error, next_at}: duration in
                 seconds, None while it runs; next_at is when it runs again, None if it does not
    finished     {delivery_id, handler, status, error, value}
    waiting      {delivery_id, handler, status, next_at}: what has not run yet
    kept, pruned, erased
    """
    at = event["received_at"]
    entries = [
        _entry(at, "received", f"{event['size']} bytes; verified by {event['verified_by']}"),
        _entry(at, "answered", _answer(event)),
    ]
    if event["last_duplicate_at"] is not None:
        text = f"answered 2xx; copies until now: {event['duplicates']}"
        entries.append(_entry(event["last_duplicate_at"], "duplicate", text))
    entries += _begun(event["deliveries"], replays)
    for delivery in event["deliveries"]:
        entries += _delivery(delivery)
    if kept := event["kept"]:
        entries.append(_entry(kept["at"], "kept", f"{kept['who']}: {kept['why'] or 'no reason given'}"))
    if event["erased_at"] is not None:
        entries.append(_entry(event["erased_at"], "erased", "its content was destroyed"))
    elif event["body_pruned_at"] is not None:
        entries.append(_entry(event["body_pruned_at"], "pruned", "its body went, as [retention] says"))
    return sorted(entries, key=lambda entry: entry["at"])


def _entry(at: float, what: str, text: str, **more: Any) -> dict[str, Any]:
    return {"at": at, "what": what, "text": text, **more}


def _answer(event: Mapping[str, Any]) -> str:
    if event["conflict_of"] is not None:
        return f"2xx, as a conflict with event {event['conflict_of']}"
    return "2xx, as quarantined" if event["status"] in ("quarantined", "ignored") else "2xx"


def _begun(deliveries: list[dict[str, Any]], replays: Mapping[int, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return an entry for the routing and for each replay: all deliveries of one were made together."""
    entries = []
    for number in dict.fromkeys(delivery["replay_id"] for delivery in deliveries):
        made = [delivery for delivery in deliveries if delivery["replay_id"] == number]
        handlers = [delivery["handler"] for delivery in made]
        at = min(delivery["created_at"] for delivery in made)
        if not number:
            entries.append(_entry(at, "routed", f"to {', '.join(handlers)}", handlers=handlers))
            continue
        replay = replays.get(number, {})
        who, why = replay.get("who", ""), replay.get("why", "")
        text = f"by {who or 'somebody'}" + (f": {why}" if why else "")
        entries.append(_entry(at, "replayed", text, replay_id=number, who=who, why=why, handlers=handlers))
    return entries


def _delivery(delivery: Mapping[str, Any]) -> list[dict[str, Any]]:
    same = {"delivery_id": delivery["id"], "handler": delivery["handler"]}
    runs, status = delivery["runs"], delivery["status"]
    next_at = delivery["due_at"] if status in ("pending", "retrying") else None
    entries = [
        _entry(
            run["started_at"],
            "attempt",
            f"{delivery['handler']}, attempt {run['number']}: {run['result']}",
            **same,
            **{name: run[name] for name in ("number", "result", "worker", "finished_at", "error")},
            duration=_duration(run),
            next_at=next_at if run is runs[-1] else None,
        )
        for run in runs
    ]
    if status in _ENDS and delivery["finished_at"] is not None:
        more = {"status": status, "error": delivery["error"], "value": delivery["value"]}
        entries.append(_entry(delivery["finished_at"], "finished", f"{delivery['handler']}: {status}", **same, **more))
    elif not runs:
        text = f"{delivery['handler']}: {status}"
        entries.append(_entry(delivery["created_at"], "waiting", text, **same, status=status, next_at=next_at))
    return entries


def _duration(run: Mapping[str, Any]) -> float | None:
    return max(0.0, run["finished_at"] - run["started_at"]) if run["finished_at"] is not None else None
