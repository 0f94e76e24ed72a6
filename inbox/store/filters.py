"""Which events are meant, and what events and deliveries can be."""

from dataclasses import dataclass

EVENT_STATUSES = ("received", "quarantined", "conflict", "unhandled", "processing", "succeeded", "dead", "ignored")
DELIVERY_STATUSES = ("pending", "running", "retrying", "parked", "succeeded", "dead", "discarded", "cancelled")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events: every field that is not None must hold. `since` is included, `until` is not; Unix seconds.

    `before` and `after` are ids, for paging: newest first below `before`, oldest first above `after`.
    handler  events that have a delivery for it; `status` stays that of the event
    text     words that all must be in what was indexed of an event: its key, its type, and the text of its body;
             "in quotes" they must follow each other, and one that ends with * may go on
    """

    source: str | None = None
    type: str | None = None
    status: str | None = None
    since: float | None = None
    until: float | None = None
    before: int | None = None
    after: int | None = None
    handler: str | None = None
    text: str | None = None
