"""The sources that are configured, and those that anything is stored of. Next: `overview` has how they are."""

from collections.abc import Mapping
from typing import Any

from inbox.runtime import Runtime

COUNTS = ("events", "duplicates", "conflicts", "quarantined", "dead", "refusals", "held")


def sources(runtime: Runtime) -> list[dict[str, Any]]:
    """Return a row per source that is configured or that has events or refusals, by name.

    source            its name; "" stands for addresses that no source has
    configured, provider, address
                      whether it is in inbox.toml, the name of its provider or None, the path that it answers at or None
    events, duplicates, conflicts, quarantined, dead, refusals, held
                      what is stored of it now
    last_event_at, last_refusal_at
                      None if there was none
    secrets           [{secret, last_matched_at}]: when each secret matched last, by its place in `secrets`
    """
    stored = {row["source"]: row for row in runtime.archive.sources()}
    return [_row(runtime, name, stored.get(name, {})) for name in sorted({*runtime.sources, *stored})]


def _row(runtime: Runtime, name: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    provider = runtime.sources.get(name)
    return {
        "source": name,
        "configured": provider is not None,
        "provider": provider.name if provider is not None else None,
        "address": f"/in/{name}" if name else None,
        **{key: stored.get(key, 0) for key in COUNTS},
        "last_event_at": stored.get("last_event_at"),
        "last_refusal_at": stored.get("last_refusal_at"),
        "secrets": _secrets(runtime, name, stored.get("matches", {})),
    }


def _secrets(runtime: Runtime, name: str, matches: Mapping[int, float]) -> list[dict[str, Any]]:
    """Return when each secret matched last; one that never did may go."""
    source = runtime.settings.sources.get(name)
    numbers = range(1, len(source.secrets) + 1) if source is not None else sorted(matches)
    return [{"secret": number, "last_matched_at": matches.get(number)} for number in numbers]
