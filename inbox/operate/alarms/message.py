"""A change of an alarm → what people and programs are sent. Holds names from the configuration, and no secret."""

from dataclasses import dataclass
from typing import Any

from inbox.core.models import iso
from inbox.store.protocols_alarms import Change

TITLES = {
    "silence": "no events from {0}",
    "refusals": "requests from {0} are refused",
    "quarantine": "events from {0} are quarantined",
    "answers": "answers to {0} come close to its deadline",
    "dead": "deliveries to {0} gave up",
    "backlog": "work is waiting",
    "disk": "the disk is getting full",
    "store": "the store is getting full",
    "clock": "the clock jumped",
    "process": "the {0} is not alive",
    "test": "test message",
}
"""What each alarm says of its subject."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent: `id` is the same for each try, so that whoever gets it twice can tell."""

    id: str
    title: str
    text: str
    content: dict[str, Any]


def message(change: Change, place: str) -> Message:
    """Return the message of a change in the inbox at `place`, its host and folder."""
    title = TITLES[change.alarm].format(change.subject)
    state = {"start": "ALARM", "end": "OVER", "test": "TEST"}[change.what]
    content = {
        "type": f"inbox.alarm.{change.what}",
        "timestamp": iso(change.at),
        "data": {"alarm": change.alarm, "subject": change.subject, "title": title, "text": change.text, "inbox": place},
    }
    lines = (
        f"{state}: {title}",
        change.text,
        "",
        f"at {iso(change.at)}",
        f"inbox {place}",
        "",
        "`inbox alarms` tells more.",
    )
    return Message(f"inbox-alarm-{change.id}-{int(change.at)}", f"{state}: {title}", "\n".join(lines), content)
