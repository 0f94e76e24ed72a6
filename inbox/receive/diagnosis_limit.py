"""How often the cause of a wrong signature is looked for: that takes milliseconds, and any stranger can ask for it."""

from collections import Counter
from threading import Lock

PER_SECOND = 5
"""Causes that are looked for in one second, for each source."""

NOT_LOOKED_FOR = (
    f"the signature fits none of the configured secrets; {PER_SECOND} like it came in the same second, so nothing more "
    "was looked for"
)


class Diagnoses:
    """Counts the causes that are looked for, per source and second."""

    def __init__(self) -> None:
        self._mutex = Lock()
        self._second = 0
        self._found: Counter[str] = Counter()

    def may(self, source: str, at: float) -> bool:
        """Count one at this time, in Unix seconds, and tell whether it is one of the first PER_SECOND."""
        with self._mutex:
            if int(at) != self._second:
                self._second = int(at)
                self._found.clear()
            self._found[source] += 1
            return self._found[source] <= PER_SECOND
