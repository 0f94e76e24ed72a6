"""Looks at what the promise rests on and this program cannot see to itself: disk, clock, permissions, settings, store.

It makes no database, removes the file that it measures the disk with, and writes to the store only as `inbox check`
does. What it cannot know, it does not claim: that a worker runs is seen only by work that gets done.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from inbox.core.config.settings import load
from inbox.core.errors import ConfigError, InboxError
from inbox.runtime import Runtime
from inbox.store.sqlite.inspect import Examined, Library, examine
from inbox.store.sqlite.marker import admit
from inbox.tools.doctor import clock, database, disk, permissions, settings
from inbox.tools.doctor.clock import Instant
from inbox.tools.doctor.finding import Finding, ok, problem

Clock = Callable[[], float]


def diagnose(path: Path, wall: Clock, monotonic: Clock) -> list[Finding]:
    """Return what there is to say about the inbox whose settings lie at `path`."""
    began = Instant(wall(), monotonic())
    found = list(database.library(Library.linked()))
    try:
        runtime = Runtime(load(path), clock=wall)
    except ConfigError as error:
        found.append(problem("settings", str(error), "`inbox init` writes a folder that works"))
        return [*found, *clock.look(began, Instant(wall(), monotonic()), None)]
    try:
        found += settings.look(runtime)
        found += disk.look(runtime.settings)
        found += permissions.look(runtime.settings, user=os.geteuid())
        examined = _examined(runtime, found)
        if examined is not None:
            found += _guarded(database.look(runtime, examined, wall()))
    finally:
        runtime.close()
    newest, passed = (examined.newest, examined.passed) if examined is not None else (None, None)
    return [*found, *clock.look(began, Instant(wall(), monotonic()), newest, passed)]


def _examined(runtime: Runtime, found: list[Finding]) -> Examined | None:
    """Return what is in the database, or say why that is not known."""
    try:
        admit(runtime.settings.database)
        if not runtime.settings.database.exists():
            found.append(ok("database", f"there is none yet: the first start makes {runtime.settings.database}"))
            return None
        return examine(runtime.settings.database, now=runtime.clock(), steady=runtime.steady())
    except InboxError as error:
        found.append(_unreadable(error))
        return None


def _guarded(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield findings until the store fails; what is wrong with the settings was said already."""
    try:
        yield from findings
    except ConfigError:
        return
    except InboxError as error:
        yield _unreadable(error)


def _unreadable(error: InboxError) -> Finding:
    return problem("database", str(error), "keep a copy of the file before anything else is tried")
