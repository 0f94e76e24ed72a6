"""Body bytes → payload, payload → violations of its JSON Schema. jsonschema is the validator of record.

`parsing` reads bytes, `schemas` loads a folder and checks payloads, `formats` is what "assert" checks, and `compiled`
tells most valid payloads from the rest in a hundredth of the time. Next: `inbox.ingest`. `contract` does for requests
of programs what `schemas` does for events.
"""

from inbox.validation.compiled import DIALECT
from inbox.validation.contract import Contract
from inbox.validation.formats import FORMATS
from inbox.validation.parsing import MAX_DEPTH, MAX_TEXT, parse
from inbox.validation.schemas import MAX_VIOLATIONS, Schemas

__all__ = ["DIALECT", "FORMATS", "MAX_DEPTH", "MAX_TEXT", "MAX_VIOLATIONS", "Contract", "Schemas", "parse"]
