"""What is known of the handlers without importing them: the worker remembers them in the store.

What is waiting for a handler that is gone, and modules that do not import, are rows, too.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from inbox.core.errors import ConfigError
from inbox.core.models import HandlerSpec
from inbox.operate.metrics import RESULTS
from inbox.runtime import Runtime
from inbox.ui.services.overview import by_subject, quantiles

GOOD = ("succeeded", "discarded")


def handlers(runtime: Runtime) -> dict[str, Any]:
    """Return `handlers` and `failures`, the modules that a worker could not import.

    handlers  rows by name:
        handler, module     as remembered
        state               loaded, failed (its module does not import), gone (no module has it; work is left)
        file                path of its file, None for an installed plugin, or if it is not there
        loaded_at           when a worker last loaded it, None if it is gone
        marks               [{source, type, attempts, timeout, backoff, max_backoff, max_age}], patterns and settings
        failure             the traceback of its module's import, "" if that went well
        waiting             deliveries that have not ended
        hour, day           {runs, succeeded, went_wrong, rate, results, ended, number, p50, p99}: rate of runs that
                            went well, None without any; results and ended by name; p50, p99 in seconds
        last_failure        {event_id, delivery_id, number, worker, started_at, at, result, error}, None without any
    failures  [{module, file, failure, since, handlers}]: `handlers` are those that the module had when it last loaded
    """
    views, figures = runtime.watching.views, runtime.watching.ledger.figures(runtime.clock())
    remembered = {spec.name: spec for spec in runtime.archive.handlers()}
    waiting, loaded_at = runtime.archive.backlog(), views.loaded_at()
    counts = {"hour": by_subject(figures.hour), "day": by_subject(figures.day)}
    last = views.last_failures()
    rows = [
        {
            "handler": name,
            **_described(runtime, remembered.get(name)),
            "loaded_at": loaded_at.get(name),
            "waiting": waiting.get(name, 0),
            **{span: _figures(found.get(name, {})) for span, found in counts.items()},
            "last_failure": {key: last[name][key] for key in _LAST} if name in last else None,
        }
        for name in sorted({*remembered, *waiting})
    ]
    return {"handlers": rows, "failures": _failures(runtime, remembered)}


_LAST = ("event_id", "delivery_id", "number", "worker", "started_at", "at", "result", "error")


def _failures(runtime: Runtime, remembered: Mapping[str, HandlerSpec]) -> list[dict[str, Any]]:
    return [
        {
            "module": module,
            "file": _file(runtime, module),
            "failure": failure,
            "since": since,
            "handlers": sorted(name for name, spec in remembered.items() if spec.module == module),
        }
        for module, (failure, since) in runtime.watching.views.failed_modules().items()
    ]


def _described(runtime: Runtime, spec: HandlerSpec | None) -> dict[str, Any]:
    if spec is None:
        return {"module": None, "state": "gone", "file": None, "marks": [], "failure": ""}
    return {
        "module": spec.module,
        "state": "failed" if spec.failure else "loaded",
        "file": _file(runtime, spec.module),
        "marks": [asdict(mark) for mark in spec.marks],
        "failure": spec.failure,
    }


def _file(runtime: Runtime, module: str) -> str | None:
    try:
        path = runtime.handlers_folder / f"{module}.py"
    except ConfigError:
        return None
    return str(path) if path.is_file() else None


def _figures(mine: Mapping[str, int]) -> dict[str, Any]:
    """Return what the runs of a handler came to."""
    results = {result: mine.get(f"attempt:{result}", 0) for result in RESULTS}
    ended = {status: mine.get(f"ended:{status}", 0) for status in ("succeeded", "dead", "discarded")}
    good = sum(results[result] for result in GOOD)
    wrong = sum(results[result] for result in ("retry", "error", "timeout", "poison"))
    return {
        "runs": sum(results.values()),
        "succeeded": good,
        "went_wrong": wrong,
        "rate": good / (good + wrong) if good + wrong else None,
        "results": results,
        "ended": ended,
        **quantiles("handler", mine),
    }
