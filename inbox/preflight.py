"""Settings → whether a receiver with them could work, before one is started; without the server and its libraries."""

import structlog

from inbox import listener, tls
from inbox.errors import StoreUnavailable
from inbox.runtime import Runtime
from inbox.store import sqlite

LOOK = 1.0
"""Seconds for which a start looks for damage."""

log = structlog.get_logger("inbox.preflight")


def check(runtime: Runtime) -> None:
    """Raise ConfigError or StoreError if a receiver with these settings could not work."""
    check_settings(runtime)
    _look_for_damage(runtime)
    _probe(runtime)


def check_start(runtime: Runtime, *, inherited: bool = False) -> None:
    """Raise ConfigError or StoreError if a receiver with these settings could not even answer.

    A store that opens but is locked or full is no reason not to start: senders get a 503, and the worker makes room.
    """
    check_settings(runtime, inherited=inherited)
    _look_for_damage(runtime)
    _ = runtime.inlet
    try:
        _probe(runtime)
    except StoreUnavailable as error:
        log.error("store.unavailable", error=str(error), then="503 until it is")


def _look_for_damage(runtime: Runtime) -> None:
    """Raise StoreUnusable if a short look finds damage, before anything is written; the receiver looks for longer."""
    database = runtime.settings.database
    if not sqlite.is_there(database):
        return
    try:
        if not sqlite.look_for_damage(database, LOOK):
            log.info("store.large", file=str(database), then="the receiver goes on looking for damage")
    except StoreUnavailable as error:
        log.warning("store.not_inspected", error=str(error))


def _probe(runtime: Runtime) -> None:
    try:
        runtime.inlet.probe()
    finally:
        runtime.inlet.close()


def check_settings(runtime: Runtime, *, inherited: bool = False) -> None:
    """Raise ConfigError if the settings are wrong, without opening the store."""
    _ = runtime.sources, runtime.schemas, runtime.watching.watchman
    tls.check(runtime.settings)
    if not inherited:
        listener.check_address(runtime.settings.server)
