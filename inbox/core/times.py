"""Points in time as people write them. Pure."""

import re
from datetime import datetime, tzinfo

ALLOWED = "2026-01-31, 2026-01-31T09:00, 30m, 2h, 7d"
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def moment(text: str, now: float, zone: tzinfo | None = None) -> float:
    """Return Unix seconds from an ISO 8601 date or time, or from how long ago it was.

    A time that names no zone is in `zone`; None is that of this machine. Raises ValueError.
    """
    text = text.strip()
    if ago := _AGO.fullmatch(text):
        return now - float(ago[1]) * _UNITS[ago[2]]
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo is not None else found.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time; allowed: {ALLOWED}") from None
