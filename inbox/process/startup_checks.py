"""Settings → whether a receiver with them could work, before one is started; without the server and its libraries."""

import os
from contextlib import suppress

import structlog

from inbox.core.config import snapshot
from inbox.core.config.settings import Settings, load, locate
from inbox.core.config.snapshot import Snapshot
from inbox.core.errors import StoreUnavailable
from inbox.process import certificates, sockets
from inbox.runtime import Runtime
from inbox.store import sqlite

LOOK = 1.0
"""Seconds for which a start looks for damage."""

log = structlog.get_logger("inbox.process.startup_checks")


def check(runtime: Runtime) -> None:
    """Raise ConfigError or StoreError if a receiver with these settings could not work."""
    check_settings(runtime)
    _look_for_damage(runtime)
    _probe(runtime)


def check_start(runtime: Runtime, *, inherited: bool = False) -> None:
    """Raise ConfigError or StoreError if a receiver with these settings could not even answer.

    A store that opens but is locked or full is no reason not to start: senders get a 503, and the worker makes room.
    """
    check_settings(runtime, inherited=inherited, starting=True)
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


def check_settings(runtime: Runtime, *, inherited: bool = False, starting: bool = False) -> None:
    """Raise ConfigError if the settings are wrong, without opening the store.

    To start, the certificate of the snapshot is enough.
    """
    _ = runtime.sources, runtime.schemas, runtime.watching.watchman
    (certificates.usable if starting else certificates.check)(runtime.settings)
    if not inherited:
        sockets.check_address(runtime.settings.server)


def take_snapshot(at: float) -> tuple[Settings, Snapshot]:
    """Return the settings on disk, and with them every file that a process reads when it starts.

    `at` is now. Raises ConfigError.
    """
    with snapshot.recording() as files:
        settings = load(locate(os.environ))
        paths = snapshot.find(settings.path(settings.inbox.schemas), ".json", deep=True)
        paths += snapshot.find(settings.path(settings.inbox.handlers), ".py", deep=True)
        for path in (*paths, *(path for path in certificates.files(settings) if path is not None)):
            with suppress(OSError):  # which the snapshot has in the place of the content
                snapshot.read(path)
    return settings, Snapshot(files, at)
