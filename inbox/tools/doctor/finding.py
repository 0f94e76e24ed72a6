"""What the doctor says: a level, what it looked at, a sentence, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    level    "ok"; "warning": works, but not as well as it could; "problem": the promise does not hold
    subject  a short stable word for programs
    found    a sentence with what was measured
    advice   what to do, "" if nothing has to be done
    """

    level: Level
    subject: str
    found: str
    advice: str = ""


def ok(subject: str, found: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding("ok", subject, found)


def warning(subject: str, found: str, advice: str) -> Finding:
    """Return a finding that the owner should know."""
    return Finding("warning", subject, found, advice)


def problem(subject: str, found: str, advice: str) -> Finding:
    """Return a finding that breaks the promise, or soon will."""
    return Finding("problem", subject, found, advice)
