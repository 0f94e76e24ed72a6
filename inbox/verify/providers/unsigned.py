"""A sender without any authentication: every request to this source is believed. It has to be said in so many words.

Needs       nothing; `secrets` is an error here. Keep the address private, or let a proxy in front decide who may send
Proves      nothing
Answers     200 accepted, duplicate, conflict or quarantined · 400/422 with on_invalid = "reject" · 405 not in
            `methods` · 413 over max_body · 503 store not available
Failure     depends on the sender; the key is a digest of the body and counts for an hour, because anybody could use up
            the ids of events to come, and because the same short body may be meant twice
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from inbox.verify.providers.base import Provider
from inbox.verify.schemes.base import Verifier
from inbox.verify.schemes.unsigned import UnsignedScheme


@dataclass(frozen=True, kw_only=True)
class Unsigned(Provider):
    """Webhooks that nobody signed."""

    name: ClassVar[str] = "unsigned"
    needs_secret: ClassVar[bool] = False

    event_type: tuple[str, ...] = ("json:/type", "json:/event")
    dedupe_for: float = 3600.0

    @cached_property
    def verifier(self) -> Verifier:
        """Return the scheme that believes everything."""
        return UnsignedScheme()

    def warnings(self) -> tuple[str, ...]:
        """Return a warning, always."""
        return ("whoever knows the address can send events: nothing proves where they come from",)
