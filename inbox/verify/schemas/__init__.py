"""Body bytes → payload, payload → violations of its JSON Schema. jsonschema is the validator of record.

`parsing` reads bytes, `schemas` loads a folder and checks payloads, `compiled` tells most valid payloads from the rest
in a hundredth of the time, and `record` decides about the others. Both ask `patterns`, `unique` and `formats`, whose
work grows with the payload and no faster; `limits` ends what takes too long. Next: `inbox.receive.receiver`.
"""

from inbox.verify.schemas.compiled import DIALECT
from inbox.verify.schemas.formats import FORMATS
from inbox.verify.schemas.strict_json import MAX_DEPTH, MAX_TEXT, parse
from inbox.verify.schemas.validator import MAX_VIOLATIONS, NOT_IN_TIME, Schemas

__all__ = [
    "DIALECT",
    "FORMATS",
    "MAX_DEPTH",
    "MAX_TEXT",
    "MAX_VIOLATIONS",
    "NOT_IN_TIME",
    "Contract",
    "Schemas",
    "parse",
]
