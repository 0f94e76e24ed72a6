"""Calls a handler → how that ended, as plain text and numbers. Nothing else touches what a handler returned or raised.

Such objects may hang, or raise, whenever they are touched: all of this runs inside the handler's time-out. Next:
`inbox.deliver.runner`.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import AsyncContextDecorator, ContextDecorator
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from types import FunctionType, MethodType
from typing import Any

from inbox.core.errors import Discard, Retry, seconds
from inbox.core.models import Event
from inbox.core.tracebacks import LONGEST, described
from inbox.deliver.watchdog import HandlerTimeout, end_copy

MAX_VALUE = 4096
"""Characters of JSON that are kept of what a handler returns."""

_PLAIN = frozenset((type(None), dict, list, str, int, float, bool))
"""What most handlers return; a look at it more would cost as much as all else around a quick handler."""


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended.

    result  succeeded, discarded, retry, error, timeout or interrupted
    text    JSON of what the handler returned, its reason, or a traceback
    after   seconds until the next run; None leaves that to the handler's backoff
    """

    result: str
    text: str = ""
    after: float | None = None


TIMEOUT = End("timeout")
INTERRUPTED = End("interrupted", "the worker was told to stop at once", after=0.0)


def ended(function: Callable[[Event], Any], event: Callable[[], Event]) -> End:
    """Run a handler and return how that ended; result, exception and frames are released before it returns."""
    try:
        try:
            return End("succeeded", as_json(_run_here(function, event())))
        except Discard as error:
            return End("discarded", _reason(error))
        except Retry as error:
            return End("retry", _reason(error), seconds(error.after))
    except HandlerTimeout:
        return TIMEOUT
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:  # also SystemExit: a handler that tries to leave must not take the worker along
        return End("error", described(error))


def _run_here(function: Callable[[Event], Any], event: Event) -> Any:
    """Call a handler; a copy of this process that it forks ends here, as if the handler were all of it."""
    process = os.getpid()
    try:
        return run(function, event)
    finally:
        if os.getpid() != process:
            end_copy(sys.exc_info()[1])


def run(function: Callable[[Event], Any], event: Event) -> Any:
    """Call a handler and return what it returns; what it returns to be awaited is awaited.

    Raises TypeError if nothing of the handler ran, as with a generator.
    """
    value = function(event)
    while type(value) not in _PLAIN:
        if isawaitable(value):
            value = _awaited(value)
        elif isinstance(value, Future):
            value = value.result()
        elif how := _not_begun(value):
            raise TypeError(f"the handler returned a {type(value).__name__}, and nothing of that has run: {how}")
        else:
            break
    return value


def _awaited(value: Any) -> Any:
    """Await a coroutine, or what else can be awaited; a future of an event loop is awaited there."""
    if not asyncio.isfuture(value):
        return asyncio.run(_result(value))
    loop = value.get_loop()
    if loop.is_running():
        return asyncio.run_coroutine_threadsafe(_result(value), loop).result()
    return loop.run_until_complete(_result(value))


async def _result(value: Any) -> Any:
    while isawaitable(value):
        value = await value
    return value


def _not_begun(value: Any) -> str:
    """Return what would have to be done with a result for the handler to run, "" if it has run.

    Iterators of other kinds have done something: a database's cursor, a file.
    """
    lazy = isinstance(value, Iterator) and type(value).__module__ in ("builtins", "itertools")
    if lazy or isinstance(value, Generator | AsyncGenerator):
        return "it can only be iterated; a handler returns, or is `async def`"
    if isinstance(value, FunctionType | MethodType | partial):
        return "it can only be called; does a decorator stand without its parentheses?"
    if isinstance(value, ContextDecorator | AsyncContextDecorator):
        return "it can only be entered; a handler is no context manager"
    return ""


def as_json(value: Any) -> str:
    """Return what a handler returned as JSON text; what is no JSON, or too large, is named instead of kept.

    The handler has done its work, so nothing that its result raises counts against it.
    """
    try:
        text = json.dumps(value, allow_nan=False)
    except Exception:
        return json.dumps({"not_kept": f"{type(value).__name__:.100} is not JSON"})
    if len(text) > MAX_VALUE:
        return json.dumps({"not_kept": f"{len(text)} characters of JSON; {MAX_VALUE} are kept"})
    return text


def _reason(error: Discard | Retry) -> str:
    """Return the handler's reason as plain text, the name of the class where there is none."""
    return str.__str__(str(error))[:LONGEST] or type(error).__name__
