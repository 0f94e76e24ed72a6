"""[retention] of inbox.toml."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RetentionSettings:
    """[retention]: seconds (or bytes) for which what is finished stays, 0 is for ever; a source can have its own.

    `keep_statuses` are never pruned; `pause` is how many times as long as it wrote pruning lets the others write.
    """

    keep_bodies: float = 0.0
    keep_body_bytes: int = 0
    keep_attempts: float = 0.0
    keep_events: float = 0.0
    keep_keys: float = 0.0
    keep_refusals: float = 0.0
    keep_statuses: tuple[str, ...] = ("quarantined", "conflict", "dead")
    pause: float = 10.0
