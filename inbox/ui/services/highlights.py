"""What of a source a person should look at, in sentences that say what to do; [] if nothing is. Pure.

Whether a source is silent, slow, or refuses too much, the alarms decide, with what they have learned; what is here
besides speaks up where too little happens for an alarm, as while a source is being set up.
"""

from collections.abc import Mapping
from typing import Any

from inbox.operate.alarms.silence import ago
from inbox.ui.services.refusal_advice import advice

MOST = 0.5
"""The share of refused requests from which on a source stands out."""

OLD = 300.0
"""Seconds for which a source's work may wait."""

OF_SOURCES = {
    "silence": "Ask the sender whether the webhook is still switched on and has the right address.",
    "refusals": "See `inbox refusals` for what is wrong with them.",
    "quarantine": "Compare the violations with the schema: correct the schema and replay, or ask the sender.",
    "answers": "Senders give up on slow answers: look at the disk and the load of this machine.",
}
"""The alarms whose subject is a source, and what to do about them."""


def noteworthy(row: Mapping[str, Any]) -> list[str]:
    """Return what stands out in the row of a source, the most urgent first."""
    on = {alarm["alarm"]: alarm["text"] for alarm in row["alarms"]}
    found = [f"Alarm {alarm}: {text}. {OF_SOURCES[alarm]}" for alarm, text in on.items()]
    found += _refused(row) if "refusals" not in on else []
    found += _stored(row, skip_quarantined="quarantine" in on)
    if row["oldest"] is not None and row["oldest"]["age"] > OLD:
        waiting = ago(row["oldest"]["age"])
        found.append(
            f"Event {row['oldest']['id']} has been waiting for {waiting}: is a worker running, and are its handlers "
            "neither paused nor failing?"
        )
    if row["held"]:
        found.append(f"Refused and held: {row['held']}. Correct the secret, then `inbox release {row['source']}`.")
    if row["source"] and not row["configured"]:
        found.append("It is not configured any more: its sender gets 404. Put it back into inbox.toml if it is needed.")
    return found


def _refused(row: Mapping[str, Any]) -> list[str]:
    for span in ("hour", "day"):
        counts = row["counts"][span]
        refused = counts["refused"]
        total = refused + sum(counts[name] for name in ("accepted", "duplicate", "conflict", "quarantined"))
        if not row["source"] and refused:
            return [f"Requests to addresses that no source has: {refused} in the last {span}."]
        if refused and refused >= MOST * total:
            often = max(counts["reasons"], key=lambda name: (counts["reasons"][name], name))
            code, _, reason = often.partition(":")
            word = code if reason in ("", code) else f"{code} ({reason})"
            text = f"{refused} of {total} requests in the last {span} were refused, mostly {word}."
            return [f"{text} {advice(code, reason, row['source'])}"]
    return []


def _stored(row: Mapping[str, Any], *, skip_quarantined: bool) -> list[str]:
    source, counts = row["source"], row["counts"]["day"]
    found = []
    if row["dead"]:
        found.append(
            f"Dead: {row['dead']}. A handler gave up on them. Correct it, then "
            f"`inbox replay --source {source} --status dead`."
        )
    if row["quarantined"] and not skip_quarantined:
        found.append(
            f"Quarantined: {row['quarantined']}, of which {counts['quarantined']} in the last day. They break their "
            "schema and were not run. Correct the schema and replay them."
        )
    if counts["conflict"]:
        found.append(
            f"In conflict: {counts['conflict']} in the last day had the key of another event and other content. "
            "Look at the difference, and replay the one that is right."
        )
    if counts["failing"]:
        found.append(f"Runs that went wrong: {counts['failing']} in the last day. See the last error of each handler.")
    return found
