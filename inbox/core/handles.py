"""`@handles`: which events a function is for, and how it is run. Every argument is checked where it enters."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

YEAR = 365 * 86_400.0

LIMITS: Mapping[str, tuple[float, float]] = {
    "attempts": (1, 1_000_000_000),
    "timeout": (0.001, 30 * 86_400.0),
    "backoff": (0.0, YEAR),
    "max_backoff": (0.0, YEAR),
    "max_age": (0.0, 100 * YEAR),
}
"""What is allowed for the numbers of `@handles`: lowest and highest value. `attempts` is a whole number."""


@dataclass(frozen=True)
class Handles:
    """What `@handles` says about a function, for one source and one type.

    source, type   shell globs
    attempts       runs before the delivery is dead
    timeout        seconds for one run
    backoff        seconds; the n-th retry waits a random time up to backoff * 2 ** (n - 1)
    max_backoff    seconds; the upper limit of that
    max_age        seconds since the delivery was made, after which no retry follows

    Raises TypeError or ValueError if a value is not text, or not a number within LIMITS.
    """

    source: str
    type: str = "*"
    attempts: int = 20
    timeout: float = 30.0
    backoff: float = 10.0
    max_backoff: float = 3600.0
    max_age: float = 3 * 86400.0

    def __post_init__(self) -> None:
        for name in ("source", "type"):
            object.__setattr__(self, name, _pattern(name, getattr(self, name)))
        for name, (low, high) in LIMITS.items():
            object.__setattr__(self, name, _number(name, getattr(self, name), low, high))

    def match(self, source: str, type: str) -> bool:
        """Tell whether an event of this source and type is for this handler."""
        return fnmatchcase(source, self.source) and fnmatchcase(type, self.type)


Function = TypeVar("Function", bound=Callable[..., Any])
Patterns = str | Sequence[str] | Set[str]


def handles(
    source: Patterns,
    type: Patterns = "*",
    *,
    attempts: int = Handles.attempts,
    timeout: float = Handles.timeout,
    backoff: float = Handles.backoff,
    max_backoff: float = Handles.max_backoff,
    max_age: float = Handles.max_age,
) -> Callable[[Function], Function]:
    """Mark a function (`def` or `async def`, taking an Event) as handler for matching sources and types.

    Patterns are shell globs, or lists of them. Can be used several times on one function; the settings of the first
    mark that matches an event apply. The function itself is not changed. Raises TypeError or ValueError (see Handles).
    """
    new = tuple(
        Handles(one, other, attempts, timeout, backoff, max_backoff, max_age)
        for one in _each("source", source)
        for other in _each("type", type)
    )

    def tag(function: Function) -> Function:
        marks: Sequence[Handles] = getattr(function, "__inbox_handles__", ())
        function.__inbox_handles__ = (*new, *marks)  # type: ignore[attr-defined]
        return function

    return tag


def _each(name: str, patterns: Any) -> tuple[Any, ...]:
    """Return the patterns one by one; `Handles` looks at each. Raises TypeError or ValueError."""
    if isinstance(patterns, str):
        return (patterns,)
    if callable(patterns):
        raise TypeError('@handles stands without its parentheses; write @handles("SOURCE")')
    if not isinstance(patterns, list | tuple | set | frozenset):
        raise TypeError(f"@handles: {name} must be text, or a list of texts; this is {patterns!r:.100}")
    if not patterns:
        raise ValueError(f"@handles: {name} is an empty list: nothing would match")
    return tuple(sorted(patterns)) if isinstance(patterns, Set) else tuple(patterns)


def _pattern(name: str, value: object) -> str:
    """Return a shell glob as plain text. Raises TypeError or ValueError."""
    if not isinstance(value, str):
        raise TypeError(f"@handles: {name} must be text, or a list of texts; this is {value!r:.100}")
    if not value and name == "source":
        raise ValueError("@handles: source must not be empty: no source has that name")
    return str.__str__(value)


def _number(name: str, value: object, low: float, high: float) -> float:
    """Return a number as plain int or float. Raises TypeError or ValueError."""
    kind, called = (int, "a whole number") if name == "attempts" else (float, "a number")
    if isinstance(value, bool) or not isinstance(value, int | kind):
        raise TypeError(f"@handles: {name} must be {called}; this is {value!r:.100}")
    if not low <= value <= high:
        raise ValueError(f"@handles: {name} is out of range; allowed: {low:,.10g} to {high:,.10g}")
    return kind(value)
