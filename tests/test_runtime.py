"""The wiring: each part is made once, whichever thread asks for it first."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from inbox.core.config.settings import InboxSettings, Settings
from inbox.runtime import Runtime
from inbox.store import sqlite

THREADS = 8


@pytest.mark.parametrize("part", ["dispatcher", "inlet", "archive", "queue", "receiver"])
def test_a_part_is_made_once_by_threads_that_ask_at_the_same_time(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As huey's thread workers do: one object for all, and the store opened once, however long that takes."""
    opened: list[str] = []

    def slowly(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def open_it(*arguments: Any, **options: Any) -> Any:
            opened.append(name)
            time.sleep(0.1)
            return real(*arguments, **options)

        return open_it

    for name in ("open_inlet", "open_work", "open_archive"):
        monkeypatch.setattr(sqlite, name, slowly(name, getattr(sqlite, name)))
    for name in ("handlers", "schemas"):
        (tmp_path / name).mkdir()
    runtime = Runtime(Settings(tmp_path, InboxSettings()))
    together = threading.Barrier(THREADS)

    def ask(number: int) -> object:
        together.wait(10)
        return getattr(runtime, part)

    with ThreadPoolExecutor(THREADS) as pool:
        made = list(pool.map(ask, range(THREADS)))
    assert 1 == len({id(one) for one in made})
    assert len(opened) == len(set(opened))
    runtime.close()
