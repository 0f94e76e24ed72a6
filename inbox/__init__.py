"""webhook-inbox: webhooks in, durable events out, handlers run at least once, everything can be run again.

For handler authors: `from inbox import Discard, Event, Retry, handles`.
"""

from inbox.errors import Discard, Retry
from inbox.models import Event, handles

__all__ = ["Discard", "Event", "Retry", "handles"]
__version__ = "0.1.0"
