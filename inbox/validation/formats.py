"""What `formats = "assert"` checks, by name. Next: `inbox.validation.schemas`, which hands it to the validators."""

import re
from datetime import datetime

from jsonschema import Draft202012Validator, FormatChecker

_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)

FORMATS = FormatChecker(Draft202012Validator.FORMAT_CHECKER.checkers)
"""What formats = "assert" checks: what jsonschema checks with the packages that are installed, and date-time."""


@FORMATS.checks("date-time")
def _is_date_time(value: object) -> bool:
    """Tell whether text is a date-time of RFC 3339; jsonschema itself leaves this format to an optional package."""
    match = _DATE_TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return not isinstance(value, str)
    try:
        datetime.fromisoformat(f"{match[1]}T{match[2]}")
    except ValueError:
        return False
    return int(match[3]) <= 60
