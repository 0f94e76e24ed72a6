"""What becomes of a delivery whose event has nothing to give to a handler. No handler ever sees garbage."""

from inbox.core.errors import InboxError, KeyNotSet
from inbox.store.protocols import Outcome

BODILESS = Outcome("dead", "error", error="the event has no body any more")


def unopened(error: InboxError) -> Outcome:
    """Return how a delivery ends whose event does not open: it waits for a key that is only not set, else it is dead.

    What waits is parked until the worker starts anew, with other keys perhaps.
    """
    if isinstance(error, KeyNotSet):
        return Outcome("parked", "unavailable", error=str(error))
    return Outcome("dead", "error", error=str(error))
