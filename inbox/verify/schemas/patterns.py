"""Regular expressions of schemas, run with bounded work. JSON Schema's are those of ECMA-262, not Python's.

Python's `re` needs minutes for `^(a+)+$` and 35 characters, nothing can interrupt it, and meanwhile no other thread
runs. The engine of jsonschema-rs reads each character once. What it cannot run, lookaround and references to groups,
runs in one that goes back, and gives up after a number of steps. Next: `inbox.verify.schemas.reference_validator` and
`compiled` ask.
"""

from functools import cache
from math import inf

import jsonschema_rs
from jsonschema_rs import FancyRegexOptions, RegexOptions

from inbox.verify.schemas.time_limit import NotInTime

WORK = 2**34
"""Bytes of the compiled pattern × characters of the text that one search may cost: at the very worst half a second."""
SMALL = 2**14
"""Bytes of a compiled pattern up to which it may be run on any text of a quick test."""
_SIZES = (2**12, SMALL, 2**16, 2**18, 2**20, 2**22, 2**24)

STEPS = ((4096, 20_000), (2**20, 200))
"""(characters, steps back): each step may read the whole text again, so a long text is allowed few."""


class Pattern:
    """One regular expression. Raises ValueError if neither engine can run it.

    size   bytes of it, compiled, at most; it decides how long a text may be. Infinite if it goes back
    """

    def __init__(self, text: str) -> None:
        self.size = next((size for size in _SIZES if _linear(text, size)), inf)
        if self.size < inf:
            self._engines = [(int(WORK / self.size), _made(text, RegexOptions(size_limit=int(self.size))))]
        else:
            self._engines = [(length, _made(text, FancyRegexOptions(backtrack_limit=most))) for length, most in STEPS]

    def search(self, text: str) -> bool:
        """Tell whether it matches somewhere in the text; half of a character (a lone surrogate) counts as U+FFFD.

        Raises NotInTime if that would take too long.
        """
        length, engine = self._engines[0] if len(text) <= self._engines[0][0] else self._engines[-1]
        if len(text) > length:
            raise NotInTime(f"a text of {len(text)} characters is too long for one of its patterns")
        try:
            found = engine.is_valid(text)
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            found = engine.is_valid(text)
        if not found and self.size == inf and not _finished(engine, text):
            raise NotInTime("one of its patterns goes back too often")
        return found


@cache
def pattern(text: str) -> Pattern:
    """Return a pattern of a schema, compiled once. Raises ValueError."""
    return Pattern(text)


def _made(text: str, options: RegexOptions | FancyRegexOptions) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({"pattern": text}, pattern_options=options)


def _linear(text: str, size: int) -> bool:
    """Tell whether the linear engine can run it, compiled, in so many bytes."""
    try:
        _made(text, RegexOptions(size_limit=size))
    except ValueError:
        return False
    return True


def _finished(engine: jsonschema_rs.Draft202012Validator, text: str) -> bool:
    """Tell whether an engine that found nothing came to the end, and did not give up."""
    return all(isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Pattern) for error in engine.iter_errors(text))
