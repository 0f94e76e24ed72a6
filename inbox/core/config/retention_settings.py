"""[retention] of inbox.toml."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RetentionSettings:
    """[retention]: seconds for which what is finished stays, or how much; 0 is for ever. A source can have its own.

    Refusals are limited always: strangers send them. `keep_statuses` are never pruned; `pause` is how many times as
    long as it wrote pruning lets the others write.
    """

    keep_bodies: float = 0.0
    keep_body_bytes: int = 0
    keep_attempts: float = 0.0
    keep_attempt_count: int = 0
    keep_events: float = 0.0
    keep_event_count: int = 0
    keep_event_keys: float = 0.0
    keep_refusals: float = 0.0
    keep_refusal_count: int = 500
    keep_refusal_bytes: int = 524_288
    keep_statuses: tuple[str, ...] = ("quarantined", "conflict", "dead")
    pause: float = 10.0

    def of(self, source: object, setting: str) -> Any:
        """Return a setting as it is for a source: its own, else what is set here; None is a source without settings."""
        own = getattr(source, setting, None)
        return getattr(self, setting) if own is None else own

    def refusal_limits(self, source: object) -> tuple[int, int]:
        """Return how many refusals of a source stay, and how many bytes of them."""
        return self.of(source, "keep_refusal_count"), self.of(source, "keep_refusal_bytes")


REFUSAL_LIMITS = {"keep_refusal_count": (1, 10_000), "keep_refusal_bytes": (1024, 64 * 1024 * 1024)}
"""What is allowed: never none, and no more than can be counted with each refusal that comes."""
