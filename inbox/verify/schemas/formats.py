"""What `formats = "assert"` checks, by name. Next: `inbox.verify.schemas.validator`, which hands it to the validators.

Each check takes a time that grows with the text at most. What else is installed makes no difference.
"""

import re
from datetime import datetime

import jsonschema_rs
from jsonschema import Draft202012Validator, FormatChecker

_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_REGEX = jsonschema_rs.Draft202012Validator({"format": "regex"}, validate_formats=True)

FORMATS = FormatChecker(())
"""What formats = "assert" checks: some of what jsonschema itself can, and date-time and regex."""

for _name in ("date", "email", "idn-email", "ipv4", "ipv6", "uuid"):
    FORMATS.checkers[_name] = Draft202012Validator.FORMAT_CHECKER.checkers[_name]


@FORMATS.checks("regex")
def _is_regex(value: object) -> bool:
    """Tell whether text is a regular expression of ECMA-262. Python's `re` needs the square of its length."""
    try:
        return not isinstance(value, str) or _REGEX.is_valid(value)
    except UnicodeEncodeError:  # half of a character
        return False


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
